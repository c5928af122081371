"""The command of `make chaos`: runs seeds with services of its own and prints the result.

python -m tests.chaos.scenarios --seeds 1000
python -m tests.chaos.scenarios --seed 17 --verbose
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from messaging.testing.chaos.observed import Count
from messaging.testing.chaos.plan import ScenarioPlan, draw
from messaging.testing.chaos.scenario import Summary, play, shortest
from tests.chaos.sample import EVENTS, SERVICES, sample_setup
from tests.chaos.table import table, to_dict

__all__ = ["main", "plan_of"]

CHUNK = 25
"""Seeds that a process plays before it tells."""


def plan_of(seed: int) -> ScenarioPlan:
    """What the command plays for `seed`."""
    return draw(
        seed,
        services=len(SERVICES),
        events=EVENTS,
        modes=("at least once", "idempotent", "transactional"),
        fifo=(False, False, True),
        hosts=("worker", "worker", "worker", "lambda"),
        producers=("direct", "direct", "buffered", "outbox"),
        all_services=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """0: every promise was kept; 1: one was broken, and the shortest scenario was printed."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _one(options.seed, verbose=options.verbose)
    seeds = range(options.first, options.first + options.seeds)
    summary = _many(seeds, options.jobs, _progress(len(seeds)))
    if options.json:
        _say(json.dumps(to_dict(summary)))
    else:
        _say(table(summary))
    for scenario in summary.failed[:3]:
        _say(f"\npython -m tests.chaos.scenarios --seed {scenario.plan.seed} --verbose")
        _one(scenario.plan.seed, verbose=False)
    return 1 if summary.failed else 0


def _one(seed: int, *, verbose: bool) -> int:
    scenario = play(plan_of(seed), sample_setup)
    if verbose:
        _say(scenario.plan.title())
        _say(scenario.text)
    if not scenario.breaches:
        _say(f"seed {seed}: every promise was kept; {scenario.digest}")
        return 0
    _say(f"seed {seed} breaks a promise:")
    for breach in scenario.breaches[:10]:
        _say(f"  {breach}")
    found = shortest(scenario, sample_setup)
    _say(f"\nthe shortest scenario found ({len(found.faults)} faults):\n{found.plan.title()}")
    _say(found.text)
    return 1


def _many(seeds: range, jobs: int, tell: Callable[[int], None]) -> Summary:
    summary = Summary(count=Count(), injected=Counter())
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for played in pool.map(_chunk, chunks):
            summary += played
            tell(summary.count.scenarios)
    return summary


def _chunk(seeds: range) -> Summary:
    logging.disable(logging.CRITICAL)
    summary = Summary(count=Count(), injected=Counter())
    for seed in seeds:
        scenario = play(plan_of(seed), sample_setup)
        failed = (scenario,) if scenario.breaches else ()
        summary += Summary(count=scenario.count, injected=scenario.injected, failed=failed)
    return summary


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _progress(most: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {most} scenarios" + ("\n" if done == most else ""))

    return tell


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.scenarios",
        description="Tries to break the promises of delivery, by schedules of faults from seeds.",
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="play this one, and shorten it if it fails")
    parser.add_argument("--verbose", action="store_true", help="print the whole scenario of --seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
