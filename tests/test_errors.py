"""One tree of errors, as its docstring draws it."""

from __future__ import annotations

import re

import pytest

from messaging import errors

DRAWN = [
    (line.index(name) // 4, name)
    for line in (errors.__doc__ or "").splitlines()
    if (found := re.match(r"[ │├└─]*([A-Z]\w+)(?:  |$)", line))
    for name in found.groups()
    if hasattr(errors, name)
]


def test_the_drawing_shows_every_error() -> None:
    assert sorted(name for _, name in DRAWN) == sorted(errors.__all__)


def test_the_tree_is_as_drawn() -> None:
    above: dict[int, str] = {}
    for depth, name in DRAWN:
        above[depth] = name
        if depth > 1:
            parent = getattr(errors, above[depth - 1])
            assert issubclass(getattr(errors, name), parent), f"{name} is no {parent.__name__}"


@pytest.mark.parametrize("name", errors.__all__)
def test_one_except_catches_all(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.MessagingError)


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (errors.TransportError, True),
        (errors.Throttled, True),
        (errors.NotFound, False),
        (errors.AccessDenied, False),
    ],
)
def test_a_transport_error_says_whether_later_will_do(
    kind: type[errors.TransportError], retryable: bool
) -> None:
    assert kind("m").retryable is retryable
    assert kind("m", code="C").code == "C"
    assert kind("m", retryable=not retryable).retryable is not retryable


def test_a_missing_extra_is_an_import_error_and_a_bad_setting_a_value_error() -> None:
    assert issubclass(errors.MissingExtra, ImportError)
    assert issubclass(errors.SettingsError, ValueError)
    assert issubclass(errors.CodecError, ValueError)


def test_a_codec_error_and_a_publish_error_carry_what_they_know() -> None:
    assert errors.CodecError("data.nome: missing").reason == "data.nome: missing"
    assert errors.PublishError("m", result="r").result == "r"
    assert errors.PublishError("m").result is None
