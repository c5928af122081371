"""The table of the mutation run names what is there, and its exceptions have reasons."""

from __future__ import annotations

import pytest

from tools.mutants import GUARDS, ROOT, SERVED, accepted_survivors


@pytest.mark.parametrize("room", GUARDS)
def test_each_room_names_modules_and_tests_that_are_there(room: str) -> None:
    for module, tests in GUARDS[room].items():
        missing = [name for name in (module, *tests) if not (ROOT / name).is_file()]
        assert not missing, f"tools/mutants.py, {room}"
        assert tests, f"nothing guards {module}"


def test_the_tests_that_may_use_a_server_are_among_those_of_their_module() -> None:
    tests_of = {module: tests for room in GUARDS.values() for module, tests in room.items()}
    for module, tests in SERVED.items():
        assert tests in tests_of[module]


def test_each_accepted_survivor_is_a_line_of_a_module_in_a_room() -> None:
    modules = {module for room in GUARDS.values() for module in room}
    for (path, was, becomes), reason in accepted_survivors().items():
        assert path in modules
        lines = " ".join(line.strip() for line in (ROOT / path).read_text().splitlines())
        assert was in lines, f"tools/mutants.toml: {path} has no {was!r} any more"
        assert was != becomes
        assert reason.endswith("."), f"{was}: why may it survive?"
