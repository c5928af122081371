"""Bugs in the library are found: by scenarios of the kit, or by the test that is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from messaging.testing.chaos.scenario import play
from tests.chaos import test_finds_bugs
from tests.chaos.planting import Plant, planted
from tests.chaos.plants import BUGS, KIT, SEEDS
from tests.chaos.sample import sample_setup
from tests.chaos.scenarios import plan_of

ROOT = Path(__file__).resolve().parents[2]
BY_THE_KIT = [name for name, bug in BUGS.items() if bug.found_by == KIT]
BY_A_TEST = [name for name, bug in BUGS.items() if bug.found_by != KIT]


def first_breach(seeds: int) -> str:
    """The first promise that a scenario of the kit's command breaks; "" if none does."""
    for seed in range(seeds):
        breaches = play(plan_of(seed), sample_setup).breaches
        if breaches:
            return breaches[0].promise
    return ""


@pytest.mark.parametrize("bug", BY_THE_KIT)
def test_the_kit_finds_it(bug: str) -> None:
    with planted(BUGS[bug].plant):
        assert first_breach(SEEDS)


@pytest.mark.parametrize("bug", BY_A_TEST)
def test_the_test_that_is_named_finds_it(bug: str) -> None:
    # Without the plugins that lie about here: importing them is a third of what a run takes.
    plugins = "-p no:cacheprovider -p pytest_timeout -p tests.chaos.planting"
    command = f"-m pytest -x -q {plugins} {BUGS[bug].found_by}"
    ran = subprocess.run(
        [sys.executable, *command.split()],
        cwd=ROOT,
        env={**os.environ, "PLANTED_BUG": bug, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    assert "failed" in ran.stdout


def test_what_was_planted_is_taken_out_again() -> None:
    bug = BUGS["counts a refused release as released"]
    for _ in range(2):
        with planted(bug.plant):
            assert first_breach(SEEDS)
        assert not first_breach(10)


def test_a_bug_that_cannot_be_planted_any_more_is_told() -> None:
    with (
        pytest.raises(LookupError, match=r"messaging\.settlement has 0 places"),
        planted(Plant("messaging.settlement", "no such code", "")),
    ):
        pass


def test_there_are_forty_beside_those_at_the_seams() -> None:
    assert len(BUGS) >= 40
    assert not set(BUGS) & set(test_finds_bugs.BUGS)
