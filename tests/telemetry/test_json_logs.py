"""`messaging run --log-format json`, as whoever collects its stderr reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3

from messaging import Publisher
from messaging.aws import apply, connect
from messaging.local import LocalServer
from tests.programs import SERVICE

ROOT = Path(__file__).resolve().parents[2]
LOGS = "import logging" + SERVICE.replace(
    "pass", 'logging.getLogger("school").warning("two\\nlines")'
)


def test_each_line_is_an_object_and_a_handlers_line_names_its_message(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(LOGS)
    names: dict[str, Any] = {"__name__": "service"}
    exec(compile(LOGS, "service", "exec"), names)
    with LocalServer() as server:
        session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
        settings = server.settings(topic="t")
        apply(names["TOPOLOGY"], settings, session=session)
        with (
            closing(connect(settings, session=session)) as broker,
            Publisher(broker.topic(), source="/x") as publisher,
        ):
            published = publisher.publish(names["Happened"](number=1))
        done = subprocess.run(
            [
                sys.executable,
                *"-m messaging run service:Mail --until-empty --log-format json".split(),
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "MESSAGING_TOPIC": "t",
                **server.environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (handled,) = (line for line in lines if line["logger"] == "school")
    assert (handled["level"], handled["message"]) == ("WARNING", "two\nlines")
    assert (handled["service"], handled["event_id"]) == ("mail", published.id)
    assert (handled["event_type"], len(handled["message_id"]) > 0) == ("happened", True)
    assert "trace_id" not in handled
