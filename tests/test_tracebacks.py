"""Whoever is on call learns where it failed, and nothing of what it worked on."""

from __future__ import annotations

import importlib
import logging
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from messaging import Consumer, Event, RetryPolicy, handles
from messaging.outcome import Outcome
from messaging.testing import deliver
from messaging.tracebacks import ErrorReport, Frame, ReportErrors, causes_of, frames_of

SECRET = "Maria-529.982.247-25"


class Enrolled(Event, type="student.enrolled", version=1):
    name: str = SECRET


class Service(Consumer):
    retry = RetryPolicy(max_attempts=3)

    def __init__(self, does: Any) -> None:
        self.does = does

    @handles
    def enrolled(self, event: Enrolled) -> None:
        self.does(event.name)


def charge(name: str) -> None:
    fetch({name: 1}, name)


def fetch(found: dict[str, int], name: str) -> None:
    try:
        found[name + "x"]
    except KeyError as error:
        raise ValueError(name) from error


def in_a_library(name: str) -> None:
    importlib.import_module(f"{name}.nowhere")  # raises deep in Python's own code


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Any:
    def run(does: Any, **changes: Any) -> str:
        kind = type(
            "Service", (Service,), {"service": "service", "__module__": __name__, **changes}
        )
        assert deliver(kind(does), Enrolled()).retried
        (message,) = caplog.messages
        return message

    return run


def test_the_log_has_the_frames_of_the_service_and_the_chain_of_causes(told, caplog) -> None:
    said = told(charge)
    assert "service.enrolled raised ValueError from KeyError on event " in said
    assert "test_tracebacks.py:" in said
    assert " in fetch < " in said
    assert " in charge < " in said
    assert " in Service.enrolled; again in " in said
    assert SECRET not in logging.Formatter().format(caplog.records[0])


def test_the_innermost_frame_is_the_service_s_and_not_the_library_s(told) -> None:
    said = told(in_a_library)
    assert "raised ModuleNotFoundError" in said
    assert " in in_a_library < " in said
    assert "importlib" not in said


def test_no_path_tells_whose_home_it_is(told) -> None:
    assert str(Path(__file__).parent.parent) not in told(charge)


def test_a_service_that_is_installed_as_a_package_is_its_own_code(tmp_path, monkeypatch) -> None:
    package = tmp_path / "site-packages" / "escola_servicos" / "financeiro"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text(
        textwrap.dedent("""
            def cobrar():
                raise ValueError("Maria")
        """)
    )
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    try:
        from escola_servicos import financeiro  # type: ignore[import-not-found]  # made above

        with pytest.raises(ValueError, match="Maria") as caught:
            financeiro.cobrar()
    finally:
        for name in ("escola_servicos", "escola_servicos.financeiro"):
            sys.modules.pop(name, None)
    mine = frames_of(caught.value, "escola_servicos")
    assert mine[-1] == Frame("escola_servicos/financeiro/__init__.py", 3, "cobrar")
    assert frames_of(caught.value)[-1].function != "cobrar"


def test_in_lambda_what_lies_beside_the_service_is_still_a_library(tmp_path, monkeypatch) -> None:
    (tmp_path / "lib_x").mkdir()
    (tmp_path / "lib_x/__init__.py").write_text("def call(x):\n    return x()\n")
    (tmp_path / "lib_x-1.dist-info").mkdir()
    (tmp_path / "lib_x-1.dist-info/METADATA").write_text("Name: lib-x\nVersion: 1\n")
    (tmp_path / "lib_x-1.dist-info/RECORD").write_text("lib_x/__init__.py,,\n")
    (tmp_path / "servico_x.py").write_text(
        "import lib_x\ndef cobrar():\n    lib_x.call(calcular)\ndef calcular():\n    {}['cpf']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        from servico_x import cobrar  # type: ignore[import-not-found]  # made above

        with pytest.raises(KeyError) as caught:
            cobrar()
    finally:
        for name in ("servico_x", "lib_x"):
            sys.modules.pop(name, None)
    mine = [one for one in frames_of(caught.value, "financeiro") if "x.py" in one.file]
    assert mine == [Frame("servico_x.py", 3, "cobrar"), Frame("servico_x.py", 5, "calcular")]


def test_code_under_the_name_of_another_module_does_not_tell_its_folder() -> None:
    made: dict[str, Any] = {"__name__": "a.b.c.d"}
    exec(compile("def f(): 1 / 0", "/srv/maria/made.py", "exec"), made)
    with pytest.raises(ZeroDivisionError) as caught:
        made["f"]()
    assert frames_of(caught.value)[-1] == Frame("made.py", 1, "f")


def test_a_consumer_that_opts_in_logs_the_whole_traceback(told, caplog) -> None:
    told(charge, log_tracebacks=True)
    assert SECRET in logging.Formatter().format(caplog.records[0])


def test_a_recursion_without_an_end_is_told_in_a_few_frames(told) -> None:
    def down(name: str) -> None:
        down(name)

    assert told(down).count(" in ") <= 23


def test_groups_and_contexts_are_told_by_type() -> None:
    def fail() -> None:
        try:
            raise ExceptionGroup(SECRET, [KeyError(SECRET), ValueError(SECRET)])
        except ExceptionGroup:
            raise LookupError(SECRET)  # noqa: B904 - the context is what is looked at

    with pytest.raises(LookupError) as caught:
        fail()
    assert causes_of(caught.value) == ("LookupError", "ExceptionGroup[KeyError, ValueError]")


def test_a_monitoring_service_hears_of_errors_without_their_values() -> None:
    heard: list[ErrorReport] = []
    deliver(Service(charge), Enrolled(), id="e1", middleware=[ReportErrors(heard.append)])
    (report,) = heard
    assert (report.service, report.handler, report.event_id) == ("service", "enrolled", "e1")
    assert (report.event_type, report.receive_count) == ("student.enrolled", 1)
    assert report.causes == ("ValueError", "KeyError")
    assert [one.function for one in report.frames] == ["Service.enrolled", "charge", "fetch"]
    assert report.exception is None
    assert str(report).startswith("service.enrolled raised ValueError from KeyError at ")
    assert SECRET not in f"{report} {report!r}"


def test_it_hears_of_the_whole_exception_where_that_was_asked_for() -> None:
    heard: list[ErrorReport] = []
    deliver(Service(charge), Enrolled(), middleware=[ReportErrors(heard.append, whole=True)])
    assert isinstance(heard[0].exception, ValueError)
    assert SECRET not in repr(heard[0]), "still not by accident"


def test_a_monitoring_service_that_is_away_is_told_once_each_time_it_goes(caplog) -> None:
    away = iter([True, True, False, True])

    def breaks(report: ErrorReport) -> None:
        if next(away):
            raise ConnectionError(SECRET)

    reports = ReportErrors(breaks)
    for _ in range(4):
        assert deliver(Service(charge), Enrolled(), middleware=[reports]).retried
    first, again = [one for one in caplog.messages if one.startswith("errors cannot be reported")]
    assert first == again
    assert "ConnectionError from ValueError from KeyError at " in first
    assert SECRET not in caplog.text


@pytest.mark.parametrize("raised", [SystemExit(3), type("Maybe", (Outcome,), {})()])
def test_whatever_fails_a_message_is_reported(raised: BaseException) -> None:
    def fails(name: str) -> None:
        raise raised

    heard: list[ErrorReport] = []
    assert deliver(Service(fails), Enrolled(), middleware=[ReportErrors(heard.append)]).retried
    assert heard[0].causes == (type(raised).__name__,)


def test_outcomes_are_no_errors_and_a_broken_hook_fails_no_message() -> None:
    from messaging import Retry

    def retry(name: str) -> None:
        raise Retry(1)

    def breaks(report: ErrorReport) -> None:
        raise RuntimeError("the monitoring service is away")

    heard: list[ErrorReport] = []
    assert deliver(Service(retry), Enrolled(), middleware=[ReportErrors(heard.append)]).delay == 1
    assert heard == []
    result = deliver(Service(charge), Enrolled(), middleware=[ReportErrors(breaks)])
    assert isinstance(result.error, ValueError)
