"""The troubleshooting page and the findings are one list."""

from __future__ import annotations

import json
import re
from pathlib import Path

from messaging.aws import looks
from messaging.doctor import KINDS
from tests.aws.conftest import Wire
from tests.doctor.conftest import School

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md"


def test_each_finding_stands_on_the_page_once_and_nothing_else_does() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(KINDS)


def test_the_findings_in_the_pages_example_are_as_the_code_says_them() -> None:
    shown = re.findall(r"^(error|warning) ([a-z-]+): ", PAGE.read_text(), flags=re.M)
    assert len(set(shown)) >= 2
    assert [KINDS[name].severity for _, name in shown] == [severity for severity, _ in shown]
    assert "raw delivery is off: SNS wraps each body, and drops the message attributes. " in (
        PAGE.read_text()
    )


def test_the_pages_policy_is_what_doctor_calls(school: School) -> None:
    (text,) = re.findall(r'```json title="doctor"\n(.*?)```', PAGE.read_text(), flags=re.S)
    granted = {one["Sid"]: set(one["Action"]) for one in json.loads(text)["Statement"]}
    wire = Wire(school.url)
    try:
        assert school.examined(wire.url) == []
    finally:
        wire.close()
    called = {action for action, _ in wire.requests} - {"GetCallerIdentity"}
    asked = {name.partition(":")[2] for name in granted["Topic"] | granted["Queues"]}
    assert asked == called
    # The others are asked by another way than the wire's; each stands with its call in the code.
    source = Path(looks.__file__).read_text()
    permissions = set(re.findall(r'"((?:cloudwatch|lambda):\w+)"', source))
    assert permissions == granted["AgeAndMappings"]
