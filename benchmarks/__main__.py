"""Runs one sitting, and writes its figures as tables, JSON and a picture.

python -m benchmarks                      everything; half an hour
python -m benchmarks --quick              one round of fewer events; about two minutes
python -m benchmarks --smoke              only whether it runs: its figures mean nothing
python -m benchmarks --only messaging     subjects whose name holds that
python -m benchmarks --delay 10 --delay 30   far queues only: answers that take so many ms
python -m benchmarks --work outbox --work transactions   a database at one end
python -m benchmarks --work tls           HTTPS beside HTTP
python -m benchmarks --docs               and write docs/explanation/performance.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.databases import WORKS as OF_DATABASES
from benchmarks.databases import database_tables, databases
from benchmarks.environment import ROOT
from benchmarks.far import far, far_tables
from benchmarks.machine import machine
from benchmarks.picture import draw
from benchmarks.real import end_to_end
from benchmarks.report import markdown, ratios
from benchmarks.roster import environments
from benchmarks.secure import SECURE, secure, secure_tables
from benchmarks.sitting import Plan, sit
from benchmarks.starting import starts

QUICK = Plan(events=5_000, rounds=1, growth=4, starts=3)
SMOKE = Plan(events=300, rounds=1, growth=3, starts=1, real=False, only=("messaging", "raw"))
PAGE = ROOT / "docs" / "explanation" / "performance.md"
PICTURES = [ROOT / folder / "assets" / "performance.svg" for folder in ("docs", "docs/pt")]
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write what was asked for."""
    said = _parse(arguments)
    plan = _plan(said)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["make bench", *_shown(said)]),
        "machine": machine(),
        "versions": {one.name: one.versions for one in environments()},
        "runs": far(plan, said.delay, _tell, said.jitter) if said.delay else sit(plan, _tell),
    }
    if said.delay:
        plan = replace(plan, works=("far",))
    if plan.real and plan.wants("end-to-end"):
        results["runs"] += end_to_end(plan, _tell)
    # Only where they are asked for: they need PostgreSQL's programs.
    if set(said.work) & set(OF_DATABASES):
        results["runs"] += databases(plan, _tell)
    if SECURE in said.work:
        results["runs"] += secure(plan, _tell)
    results["starts"] = starts(plan.starts) if plan.wants("start") else {}
    results["ratios"] = ratios(results["runs"])
    tables = markdown(results) + far_tables(results["runs"], said.delay)
    tables += database_tables(results["runs"]) + secure_tables(results["runs"])
    print(tables)
    if said.json:
        said.json.write_text(json.dumps(results, indent=1) + "\n")
    if said.svg:
        said.svg.write_text(draw(results["runs"]))
    if said.docs:
        for language, picture in enumerate(PICTURES):
            picture.write_text(draw(results["runs"], language))
        PAGE.write_text(_inserted(PAGE.read_text(), tables))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="CPU, requests, latency and memory of this library beside others.",
    )
    parser.add_argument("--quick", action="store_true", help="one round of fewer events")
    parser.add_argument("--smoke", action="store_true", help="only whether it runs")
    parser.add_argument("--only", action="append", default=[], help="subjects that hold this")
    parser.add_argument("--work", action="append", default=[], help="this work only: publish, ...")
    parser.add_argument(
        "--delay", action="append", type=float, default=[], metavar="MS",
        help="far queues only: every answer so much later; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--jitter", type=float, default=0.0, metavar="MS",
        help="with --delay: every answer up to so much later still, as chance has it",
    )  # fmt: skip
    parser.add_argument("--events", type=int, help="events of the quickest subject in one run")
    parser.add_argument("--rounds", type=int, help="how often each subject runs each work")
    parser.add_argument("--growth", type=int, help="up to ten to this power (6)")
    parser.add_argument("--json", type=Path, help="write every run there")
    parser.add_argument("--svg", type=Path, help="write the picture there")
    parser.add_argument("--docs", action="store_true", help="write the page of the docs")
    return parser.parse_args(arguments)


def _plan(said: argparse.Namespace) -> Plan:
    plan = SMOKE if said.smoke else QUICK if said.quick else Plan()
    return Plan(
        events=plan.events if said.events is None else said.events,
        rounds=plan.rounds if said.rounds is None else said.rounds,
        growth=plan.growth if said.growth is None else said.growth,
        starts=plan.starts,
        real=plan.real,
        only=tuple(said.only) or plan.only,
        works=tuple(said.work),
    )


def _shown(said: argparse.Namespace) -> list[str]:
    words = []
    for name in ("quick", "smoke"):
        words += [f"--{name}"] if getattr(said, name) else []
    for name in ("events", "rounds", "growth"):
        given = getattr(said, name)
        words += [] if given is None else [f"--{name} {given}"]
    for name in ("delay", "only", "work"):
        words += [
            f"--{name} {given:g}" if name == "delay" else f"--{name} {given}"
            for given in getattr(said, name)
        ]
    words += [f"--jitter {said.jitter:g}"] if said.jitter else []
    return [f'ARGS="{" ".join(words)}"'] if words else []


def _inserted(page: str, tables: str) -> str:
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        sys.exit(f"{PAGE.name} has lost its marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
