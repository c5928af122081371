"""What is exported for Prometheus and Grafana, against Prometheus's own tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric as Family

from messaging.export import grafana, prometheus_rules
from messaging.export.grafana import prometheus_name
from messaging.memory import MemoryBroker
from messaging.metrics import METRICS, Metrics
from messaging.metrics.prometheus import Collector
from messaging.publishing.publisher import Publisher
from messaging.topology import Topology
from tests.export.conftest import TOPOLOGIES, Um

WHOLE = TOPOLOGIES["the whole map"]
ONE = Topology.of(Um, topic="alunos", owns_topic=True)


def promtool(*arguments: str | Path, sound: bool = True) -> str:
    """What it says of something that is sound, or is not."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is needed: apt-get install prometheus"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is sound, done.stdout + done.stderr
    return done.stdout + ("" if sound else done.stderr)


def families() -> dict[str, Family]:
    """By name, what Prometheus is given."""
    broker = MemoryBroker(WHOLE)
    with Publisher(broker.topic(), source="/x") as publisher:
        given = list(Collector(Metrics(publisher)).describe())
    broker.close()
    return {one.name + ("_total" if one.type == "counter" else ""): one for one in given}


def asked_for(expression: str) -> set[tuple[str, frozenset[str]]]:
    """The metrics that an expression names, and with each the labels by which it is asked."""
    by = {
        label
        for labels in re.findall(r"by \(([\w, ]+)\)", expression)
        for label in labels.split(", ")
    }
    found = set()
    for name, selected in re.findall(r"(messaging_\w+)(\{[^}]*\})?", expression):
        labels = set(re.findall(r"(\w+)!?=~?\"", selected)) | by
        found.add((name, frozenset(labels)))
    return found


def check_names(expressions: list[str]) -> set[str]:
    """Every name and label is one that Prometheus has; the names."""
    given = families()
    labels = {prometheus_name(one.name): {*one.labels, "le"} for one in METRICS}
    assert set(labels) == set(given)
    named = set()
    for expression in expressions:
        for name, used in asked_for(expression):
            family = name.removesuffix("_bucket")
            assert family in given, expression
            assert used <= labels[family], expression
            assert name.endswith("_bucket") is (given[family].type == "histogram"), expression
            called = f"{name}{{" in expression or name in expression
            grows = given[family].type in ("counter", "histogram") and "absent(" not in expression
            assert called
            assert bool(re.search(rf"(rate|increase)\({name}", expression)) is grows, expression
            named.add(family)
    return named


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("canary", [0, 60], ids=["no canaries", "canaries"])
def test_promtool_has_nothing_to_say_of_the_rules(name: str, canary: int, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(prometheus_rules(TOPOLOGIES[name], canary=canary)))
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expr": "sum by (service (up)"}, "could not parse expression"),
        ({"fore": "5m"}, "fore"),
        ({"for": "soon"}, "duration"),
        ({"labels": {"severity": ["page"]}}, "cannot unmarshal"),
        ({"annotations": {"summary": "{{ $lables.service }}"}}, "undefined variable"),
    ],
    ids=["no expression", "no field", "no duration", "no text", "no variable"],
)
def test_promtool_would_refuse_a_rule_with(change: Any, said: str, tmp_path: Path) -> None:
    rules = prometheus_rules(ONE)
    rules["groups"][0]["rules"][0] |= change
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(rules))
    assert said in promtool("check", "rules", "--lint-fatal", path, sound=False)


def test_rules_ask_for_metrics_and_labels_that_prometheus_has() -> None:
    (group,) = prometheus_rules(WHOLE, canary=60)["groups"]
    assert check_names([one["expr"] for one in group["rules"]])


SOUND = {
    'messaging_worker_received_total{service="um"}': "0+60x40",
    'messaging_worker_settled_total{service="um",outcome="acknowledged"}': "0+60x40",
    'messaging_worker_settled_total{service="um",outcome="dead_lettered"}': "0x40",
    'messaging_worker_retries_total{service="um",attempt="1"}': "0+1x40",
    'messaging_worker_state{service="um",state="receiving"}': "1x40",
    'messaging_worker_state{service="um",state="circuit_open"}': "0x40",
    'messaging_worker_state{service="um",state="wedged"}': "0x40",
    'messaging_worker_receive_failing{service="um"}': "0x40",
    'messaging_worker_rate_failing{service="um"}': "0x40",
    'messaging_worker_stuck{service="um"}': "0x40",
    'messaging_worker_leases_lost_total{service="um"}': "0x40",
    'messaging_worker_oldest_seconds{service="um"}': "5x40",
    'messaging_worker_probe_age_seconds{service="um"}': "30x40",
    'messaging_worker_probe_delay_seconds{service="um"}': "1x40",
    'messaging_publisher_refused_total{topic="alunos"}': "0x40",
    'messaging_outbox_age_seconds{table="outbox"}': "0x40",
    'messaging_outbox_parked{table="outbox"}': "0x40",
}
BROKEN = {
    "NoWorker": ("messaging_worker_received_total", ""),
    "CircuitOpen": ('state="circuit_open"', "1x40"),
    "Wedged": ('state="wedged"', "1x40"),
    "QueueUnreached": ("receive_failing", "1x40"),
    "RateStoreUnreached": ("rate_failing", "1x40"),
    "HandlersGivenUp": ("stuck", "2x40"),
    "Behind": ("oldest", "901x40"),
    "DeadLetters": ('outcome="dead_lettered"', "0x25 1x15"),
    "LeasesLost": ("leases_lost", "0x25 1x15"),
    "MostComeAgain": ("retries", "0+40x40"),
    "NoCanary": ("probe_age", "181x40"),
    "CanaryLate": ("probe_delay", "61x40"),
    "PublishRefused": ("refused", "0x25 3x15"),
    "OutboxBehind": ("outbox_age", "901x40"),
    "OutboxParked": ("parked", "1x40"),
}


def test_each_alert_fires_for_what_it_is_for_and_none_for_what_is_sound(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    made = prometheus_rules(ONE, canary=60)
    rules.write_text(json.dumps(made))
    assert {one["alert"] for one in made["groups"][0]["rules"]} == {
        f"Messaging{name}" for name in BROKEN
    }
    tests = []
    for alert, (which, values) in {"": ("", ""), **BROKEN}.items():
        series = dict(SOUND)
        changed = [one for one in series if alert and which in one]
        assert len(changed) == bool(alert), alert
        for one in changed:
            series[one] = values
        fires = {"labels": f'{{alertname="Messaging{alert}"}}', "value": 1}
        tests.append(
            {
                "name": alert or "sound",
                "interval": "1m",
                "input_series": [
                    {"series": one, "values": said} for one, said in series.items() if said
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "30m",
                        "exp_samples": [fires] if alert else [],
                    }
                ],
            }
        )
    path = tmp_path / "tests.json"
    path.write_text(json.dumps({"rule_files": [str(rules)], "tests": tests}))
    assert "SUCCESS" in promtool("test", "rules", path)


def panels(topology: Topology) -> list[dict[str, Any]]:
    return [one for one in grafana(topology)["panels"] if one["type"] != "row"]


def queries(topology: Topology) -> list[str]:
    return [target["expr"] for panel in panels(topology) for target in panel["targets"]]


def test_every_metric_stands_on_a_panel_of_grafana_by_labels_that_prometheus_has() -> None:
    assert check_names(queries(WHOLE)) == {prometheus_name(one.name) for one in METRICS}


def test_prometheus_takes_every_query_of_grafana(tmp_path: Path) -> None:
    expressions = [
        one.replace("$__rate_interval", "5m").replace("$service", "um|dois")
        for one in queries(WHOLE)
    ]
    assert not any("$" in one for one in expressions)
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(expressions)]
    path = tmp_path / "panels.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", path)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_no_panel_of_grafana_lies_on_another(name: str) -> None:
    taken: list[tuple[int, int]] = []
    made = grafana(TOPOLOGIES[name])["panels"]
    for panel in made:
        at = panel["gridPos"]
        taken += [
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert [one["id"] for one in made] == list(range(1, len(made) + 1))
