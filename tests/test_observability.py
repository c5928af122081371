"""`make observability`: what exporters of OpenTelemetry send, and that what is missing is told."""

from __future__ import annotations

import pytest

from consumers import TOPOLOGY
from examples import observability
from examples._otlp import Seen
from messaging.metrics import METRICS

TREE = (
    ("publish alunos", "PRODUCER", "cadastro", ""),
    ("receive alunos-bi", "CLIENT", "bi", "publish alunos"),
    ("process alunos-bi", "CONSUMER", "bi", "publish alunos"),
    ("delete alunos-bi", "CLIENT", "bi", "process alunos-bi"),
)


def seen(name: str, kind: str, service: str, parent: str) -> Seen:
    return Seen(service, name, kind, "t", name, parent, (), 1.0, 2.0, False, {})


def test_one_whole_trace_and_every_metric_reach_a_receiver_of_otlp(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert observability.main([]) == 0
    said = capsys.readouterr().out
    assert "nothing is missing" in said
    assert "MISSING" not in said
    for service in TOPOLOGY.services:
        assert f"process alunos-{service}" in said
    for metric in METRICS:
        assert metric.name in said
    assert "example.com" not in said


def test_a_whole_trace_lacks_nothing() -> None:
    assert list(observability.missing_in_trace([seen(*one) for one in TREE], ["bi"])) == []


@pytest.mark.parametrize("lost", [name for name, *_ in TREE])
def test_a_span_that_did_not_arrive_is_told(lost: str) -> None:
    spans = [seen(*one) for one in TREE if one[0] != lost]
    missing = list(observability.missing_in_trace(spans, ["bi"]))
    assert any(lost in one for one in missing)


def test_a_span_in_the_wrong_place_is_told() -> None:
    spans = [seen(*one) for one in TREE[:3]]
    spans.append(seen("delete alunos-bi", "CLIENT", "bi", "publish alunos"))
    (missing,) = observability.missing_in_trace(spans, ["bi"])
    assert missing == "CLIENT span 'delete alunos-bi' of bi, below 'process alunos-bi'"
