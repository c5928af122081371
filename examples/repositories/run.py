"""Runs four repositories of four teams, and a fifth, against one local server.

    python -m examples.repositories.run            # or: make repositories
    python -m examples.repositories.run --json     # or: make repositories ARGS=--json
    python -m examples.repositories.run --broker rabbitmq    # or: make repositories BROKER=rabbitmq

Each repository is copied out of this clone, gets its own environment with the library's wheel, and
runs its own commands in its own folder. Each step prints the expected and the actual result; the
exit code is 1 if any differ. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from examples.repositories._story import Story
from examples.repositories._teams import Workshop
from messaging import MessagingError
from messaging.local import LocalRabbitMQ, LocalServer

__all__ = ["Account", "main"]

BROKERS = {"sqs": LocalServer, "rabbitmq": LocalRabbitMQ}


@dataclass(frozen=True, slots=True)
class Tried:
    """One step: who took it, what it was, and its expected and actual result."""

    who: str
    what: str
    expected: str
    came: str

    @property
    def right(self) -> bool:
        """True if the result is as expected."""
        return self.expected == self.came


@dataclass
class Account:
    """All steps."""

    steps: list[Tried] = field(default_factory=list)
    tell: Callable[[Tried], None] = lambda step: None

    def expect(self, who: str, what: str, expected: object, came: object) -> None:
        """Record one step."""
        self.steps.append(Tried(who, what, str(expected), str(came)))
        self.tell(self.steps[-1])

    @property
    def wrong(self) -> list[Tried]:
        """The steps whose result differs."""
        return [step for step in self.steps if not step.right]


def main(arguments: list[str] | None = None) -> int:
    """Run all steps; return 0 if every result is as expected, 1 if not, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m examples.repositories.run")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--broker", choices=BROKERS, default="sqs", help="what carries the events")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _as_ctrl_c)
    account = Account(tell=_progress)
    began = time.monotonic()
    try:
        with TemporaryDirectory(prefix="messaging-repositories-") as folder, ExitStack() as ends:
            print("the wheels, and an environment for each repository ...", file=sys.stderr)
            workshop = Workshop(Path(folder))
            server = ends.enter_context(BROKERS[given.broker]())
            story = Story(workshop, server.environment, account.expect)
            ends.callback(story.kill)
            story.play()
    except KeyboardInterrupt:
        print("stopped; nothing is left behind", file=sys.stderr)
        return 130
    except (MessagingError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print(account, round(time.monotonic() - began, 1), as_json=given.json)
    return int(bool(account.wrong))


def _progress(step: Tried) -> None:
    print(f"{'ok   ' if step.right else 'WRONG'} {step.who}: {step.what}", file=sys.stderr)


def _print(account: Account, seconds: float, *, as_json: bool) -> None:
    if as_json:
        steps = [{**asdict(step), "right": step.right} for step in account.steps]
        said: dict[str, Any] = {"steps": steps, "wrong": len(account.wrong), "seconds": seconds}
        print(json.dumps(said, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("who", "what was tried", "came out"):
        table.add_column(name, overflow="fold")
    for step in account.steps:
        came = step.came if step.right else f"{step.came}, and not: {step.expected}"
        table.add_row(step.who, step.what, came)
    Console().print(table)
    right = len(account.steps) - len(account.wrong)
    print(f"{right} of {len(account.steps)} came out as they should, in {seconds} s")


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
