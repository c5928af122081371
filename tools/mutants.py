"""Plants one small bug after another, and tells which of them the tests of that room notice.

    python tools/mutants.py [ROOM ...]         every mutant of these rooms; no name: of all
        --sample 100                           so many of each room, drawn with --seed (default 1);
                                               "places" counts what there was to draw from
        --module messaging/runtime/wedge.py    only of this module (may be given again)
        --json PATH                            the result as JSON, too
        --again PATH                           only what such a result lists as left or as timed
                                               out, with four times the time, and its figures
                                               brought up to date; for modules that have not
                                               changed since

    killed     a test failed, or the process ended
    timeout    no answer in time: noticed as well, and counted as killed; the JSON lists them, as
               a machine that was busy meanwhile may be the reason, and --again tries them again
    survived   every test passed
    no test    no test runs the line: counted as survived, without a run
    accepted   survived, and tools/mutants.toml says why it may

A PostgreSQL and a MariaDB are started once for all mutants of the rooms that have tests for them.
Other tests that need a server are left out: each would add seconds to each mutant.
Works on a copy in a temporary folder: the working tree is only read. A process that has imported
the third-party packages is forked for each mutant, imports the copy with the mutant in it, and
runs the tests of that module until the first fails, those that run the changed line first. Ctrl-C
ends the run and prints what is known.
Exit code: 0, 1 where a room is below 95 %, 2 where the tests are red without a mutant, 130.
"""

from __future__ import annotations

import argparse
import compileall
import gc
import importlib
import itertools
import json
import os
import py_compile
import random
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = Path(__file__).with_suffix(".toml")
AIM = 0.95
PRELOADED = (
    "pytest hypothesis pydantic tenacity psutil boto3 botocore.session coverage sqlite3 psycopg "
    "sqlalchemy.orm redis.asyncio pika pymysql opentelemetry.trace anyio"
)
GUARDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    room: {f"messaging/{module}.py": tuple(f"tests/{test}.py" for test in tests.split())
           for module, tests in modules.items()}
    for room, modules in {
        "settlement": {"settlement": "test_settlement"},
        "attempts": {"consuming/attempts": "consuming/test_attempts consuming/test_witnesses"},
        "runtime": {
            "runtime/breaker": "runtime/test_breaker",
            "runtime/isolation": "runtime/test_suspects runtime/test_isolation",
            "runtime/wedge": "runtime/test_wedge runtime/test_hung_handlers",
            "runtime/postponed": "runtime/test_postponed",
            "runtime/backpressure": "runtime/test_backpressure runtime/test_rate",
            "runtime/in_flight": "runtime/test_in_flight_cases runtime/test_in_flight",
            "runtime/ready_queue": "runtime/test_ready_queue runtime/test_fifo_groups",
            "runtime/lifecycle": "runtime/test_stop_sequence",
            "runtime/receive_window": "runtime/test_receive_window",
            "runtime/receives": "runtime/test_receives",
            "runtime/under_way": "runtime/test_under_way",
            "runtime/rate": "runtime/test_rate",
            "runtime/handled": "runtime/test_handled",
        },
        "publishing": {
            "publishing/sender": "publishing/test_sender",
            "publishing/pending": "publishing/test_pending publishing/test_buffered",
            "publishing/roundtrip": "publishing/test_roundtrip_cases publishing/test_roundtrip "
            "test_versions",
            "publishing/results": "publishing/test_results publishing/test_sender",
            "publishing/limits": "publishing/test_encoder publishing/test_sender",
            "publishing/buffered": "publishing/test_pending publishing/test_buffered",
            "publishing/many": "publishing/test_many publishing/test_publisher "
            "aws/fast/test_under_way",
            "publishing/under_way": "publishing/test_many aws/fast/test_under_way",
            "publishing/senders": "publishing/test_senders",
            "window": "test_window",
        },
        "idempotency": {
            "idempotency/marks": "idempotency/test_sql_store contracts/test_idempotency_store",
            "idempotency/memory": "idempotency/test_memory",
            "idempotency/sql": "idempotency/test_sql_store contracts/test_idempotency_store",
            "idempotency/middleware": "idempotency/test_middleware",
            "idempotency/renewal": "idempotency/test_renewal",
        },
        "fast": {
            "aws/fast/requests": "aws/fast/test_requests aws/fast/test_signing",
            "aws/fast/responses": "aws/fast/test_responses",
            "aws/fast/signing": "aws/fast/test_signing",
            "aws/fast/http": "aws/fast/test_pool",
            "aws/fast/pool": "aws/fast/test_pool",
        },
        "outbox": {
            "outbox/rows": "outbox/test_writing outbox/test_relay outbox/test_rules",
            "outbox/writing": "outbox/test_writing outbox/test_rules",
            "outbox/relay": "outbox/test_relay outbox/test_rules outbox/test_under_way",
            "outbox/lanes": "outbox/test_under_way outbox/test_relay outbox/test_rules",
            "outbox/under_way": "outbox/test_under_way",
            "outbox/claims": "outbox/test_relay outbox/test_rules",
        },
    }.items()
}  # fmt: skip
SERVERS = ("postgres", "mariadb")
SERVED: Mapping[str, str] = {
    "messaging/idempotency/marks.py": "tests/idempotency/test_sql_store.py",
    "messaging/idempotency/sql.py": "tests/idempotency/test_sql_store.py",
    "messaging/outbox/claims.py": "tests/outbox/test_relay.py",
}
"""The modules whose lines for a database are tried, too, and the tests that may use its server.
Others that need one are left out: they cost seconds, or wait for the server's own clock."""


class Baseline(NamedTuple):
    """What the tests of a module do without a mutant."""

    seconds: float
    tests_of: Mapping[int, list[str]]
    """The lines of the module that run, and for each the tests that run it, the quickest first."""


class Red(Exception):
    """The tests fail without a mutant."""


def run_room(
    room: str, modules: list[str], copy: Path, options: argparse.Namespace
) -> dict[str, Any]:
    drawn, places = draw(copy, modules, options)
    baselines: dict[str, Baseline] = {}
    accepted = accepted_survivors()
    outcomes: Counter[str] = Counter()
    if options.again:
        earlier = earlier_result(options.again, room)
        drawn = [one for one in drawn if str(one) in earlier.left]
        outcomes.update(earlier.outcomes)
    left: list[str] = []
    timed_out: list[str] = []
    excused: set[tuple[str, str, str]] = set()
    patience = 16.0 if options.again else 4.0
    result = {"room": room, "places": places, "drawn": len(drawn), "ran": 0}
    try:
        for number, mutant in enumerate(drawn, 1):
            tests = GUARDS[room][mutant.path]
            if mutant.path not in baselines:
                baselines[mutant.path] = baseline(copy, mutant.path, tests)
                say(f"{mutant.path}: {baselines[mutant.path].seconds:.1f} s without a mutant")
            outcome = try_mutant(copy, mutant, tests, baselines[mutant.path], patience)
            key = (mutant.path, mutant.was, mutant.becomes)
            if outcome in ("survived", "no test") and key in accepted:
                outcome = "accepted"
                excused.add(key)
            outcomes[outcome] += 1
            if outcome in ("survived", "no test"):
                left.append(f"{outcome}: {mutant}")
                say(left[-1])
            if outcome == "timeout":
                timed_out.append(str(mutant))
            if number % 25 == 0:
                say(f"{room}: {number} of {len(drawn)}")
    except KeyboardInterrupt:
        result["interrupted"] = True
    killed = outcomes["killed"] + outcomes["timeout"]
    counted = outcomes.total() - outcomes["accepted"]
    names = ("killed", "timeout", "survived", "no test", "accepted")
    if not options.sample and not options.again and "interrupted" not in result:
        # A reason for what no longer survives, or is no longer there, misleads.
        mine = {key for key in accepted if key[0] in modules}
        result["stale"] = [" | ".join(key) for key in sorted(mine - excused)]
    score = round(killed / counted, 4) if counted else 1.0
    figures = {name: outcomes[name] for name in names}
    return (
        result
        | figures
        | {"ran": outcomes.total(), "score": score, "left": left, "timed out": timed_out}
    )


class Earlier(NamedTuple):
    """An earlier result of a room: what was left or timed out, and the figures without that."""

    left: frozenset[str]
    outcomes: Mapping[str, int]


def earlier_result(path: Path, room: str) -> Earlier:
    [found] = [one for one in json.loads(path.read_text()) if one["room"] == room]
    left = frozenset(text.split(": ", 1)[1] for text in found["left"]) | {*found["timed out"]}
    return Earlier(left, {name: found[name] for name in ("killed", "accepted")})


def draw(copy: Path, modules: list[str], options: argparse.Namespace) -> tuple[list[Any], int]:
    """The mutants to try, and how many places there were to choose from."""
    from mutations import mutants_at, places_of

    places = [place for path in modules for place in places_of(copy, path)]
    if options.sample:  # nothing is spent on those that are not drawn
        random.Random(options.seed).shuffle(places)
    mutants = list(itertools.islice(mutants_at(copy, places), options.sample))
    order = {path: number for number, path in enumerate(modules)}
    mutants.sort(key=lambda one: (order[one.path], one.line, one.was, one.becomes))
    return mutants, len(places)


def baseline(copy: Path, path: str, tests: tuple[str, ...]) -> Baseline:
    """Run the tests on the copy as it is; `Red` if they fail."""
    data = copy.parent / "lines.json"
    begun = time.monotonic()
    code, said = fork_tests(
        copy, tests, served=SERVED.get(path), timeout=600, lines_of=(path, data)
    )
    if code != 0:
        raise Red(f"{' '.join(tests)} fail without a mutant (exit code {code}):\n{said[-3000:]}")
    ran = {int(line): tests for line, tests in json.loads(data.read_text()).items()}
    return Baseline(time.monotonic() - begun, ran)


def try_mutant(
    copy: Path, mutant: Any, tests: tuple[str, ...], known: Baseline, patience: float
) -> str:
    if mutant.line not in known.tests_of:
        return "no test"
    file = copy / mutant.path
    source = file.read_text()
    file.write_text(mutant.code)
    try:
        served = SERVED.get(mutant.path)
        code, _ = fork_tests(
            copy,
            tests,
            served=served,
            timeout=5 + patience * known.seconds,
            first=known.tests_of[mutant.line],
        )
    finally:
        file.write_text(source)
    return {0: "survived", None: "timeout"}.get(code, "killed")


def fork_tests(
    copy: Path,
    tests: tuple[str, ...],
    *,
    served: str | None,
    timeout: float,
    lines_of: tuple[str, Path] | None = None,
    first: Sequence[str] = (),
) -> tuple[int | None, str]:
    """pytest's exit code on the copy in a process of its own (None: out of time), and its words."""
    output = copy.parent / "output"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            code = _tests(copy, tests, Selection(served, first), output, lines_of)
        except BaseException:  # noqa: BLE001 - this process ends here
            with output.open("a") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(code)
    deadline = time.monotonic() + timeout
    ended = status = 0
    try:
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0 if ended else 0.02)
    finally:
        end_all(child, waiting=not ended)
    if not ended:
        return None, ""
    return os.waitstatus_to_exitcode(status), output.read_text(errors="replace")


def _tests(
    copy: Path,
    tests: tuple[str, ...],
    selection: Selection,
    output: Path,
    lines_of: tuple[str, Path] | None,
) -> int:
    """In the forked process: the copy is the only `messaging` that it knows."""
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
    sys.dont_write_bytecode = lines_of is None
    coverage = None
    import pytest

    if lines_of is not None:
        from coverage import Coverage

        coverage = Coverage(data_file=None, include=[str(copy / lines_of[0])], config_file=False)
        coverage.start()
        selection.coverage = coverage
    # Hypothesis is loaded before pytest would rewrite the assertions in it.
    preloaded = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = int(pytest.main([*quiet, *preloaded, *tests], plugins=[selection]))
    if coverage is not None and lines_of is not None:
        coverage.stop()
        ran = _lines(coverage, copy / lines_of[0], selection.seconds)
        lines_of[1].write_text(json.dumps(ran))
    import messaging

    if not str(messaging.__file__).startswith(str(copy)):
        print(f"messaging was imported from {messaging.__file__}")
        code = 70
    sys.stdout.flush()
    return code


class Selection:
    """A plugin of pytest that leaves out the tests that need a server, but for those of a file.

    first     the tests that run first, by their ids.
    coverage  is told which test runs, where it is set.
    """

    def __init__(self, served: str | None, first: Sequence[str]) -> None:
        self._served = served
        self._first = {test: number for number, test in enumerate(first)}
        self.coverage: Any = None
        self.seconds: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        known = self._first
        items[:] = [item for item in items if self._may_run(item)]
        items.sort(key=lambda item: known.get(item.nodeid, len(known)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration

    def _may_run(self, item: Any) -> bool:
        params = getattr(item, "callspec", None)
        values = params.params.values() if params else ()
        names = [*item.fixturenames, *(value for value in values if isinstance(value, str))]
        served = self._served is not None and item.nodeid.startswith(self._served)
        never = ("redis", "dynamo")
        words = never if served else (*never, "postgres", "mysql", "mariadb")
        return not any(word in name for name in names for word in words)


def _lines(coverage: Any, path: Path, seconds: Mapping[str, float]) -> dict[int, list[str]]:
    """The lines that ran, and the tests that ran them; a statement of several lines is one."""
    import ast

    ran = {
        line: {test for test in tests if test}
        for line, tests in coverage.get_data().contexts_by_lineno(str(path)).items()
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno
            lines = range(node.lineno, max(node.lineno, end or 0) + 1)
        elif isinstance(node, ast.expr):
            lines = range(node.lineno, (node.end_lineno or 0) + 1)
        else:
            continue
        tests = [ran[line] for line in lines if line in ran]
        for line in lines if tests else ():
            ran[line] = ran.get(line, set()).union(*tests)
    return {line: sorted(tests, key=lambda test: seconds[test]) for line, tests in ran.items()}


def end_all(child: int, *, waiting: bool) -> None:
    """End the process and whatever its tests started."""
    import psutil

    started = []
    if waiting:
        with suppress(psutil.Error):
            started = psutil.Process(child).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    for process in started:
        with suppress(psutil.Error):
            process.kill()
    if waiting:
        os.waitpid(child, 0)


def accepted_survivors() -> dict[tuple[str, str, str], str]:
    """Why each survivor of tools/mutants.toml may stay, by path and lines."""
    entries = tomllib.loads(ACCEPTED.read_text()).get("accepted", [])
    return {(one["path"], one["was"], one["becomes"]): one["reason"] for one in entries}


@contextmanager
def servers_of(modules: list[str]) -> Iterator[None]:
    """The servers run if one of `modules` needs them, and the environment tells its tests where."""
    # Not `import tests.servers`: the forks are to import that from the copy.
    servers = runpy.run_path(str(ROOT / "tests/servers.py"))
    with ExitStack() as stack:
        for name in SERVERS if SERVED.keys() & set(modules) else ():
            address = stack.enter_context(servers[f"running_{name}"]())
            os.environ[variable := f"TESTS_{name.upper()}"] = address
            stack.callback(os.environ.pop, variable, None)
        yield


@contextmanager
def copy_of_the_tree() -> Iterator[Path]:
    """What git would commit, elsewhere, and compiled so that a changed file is always noticed."""
    listed = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"],  # noqa: S607 - the machine's git
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder).resolve() / "copy"
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, copy / name)
        compileall.compile_dir(
            str(copy / "messaging"),
            quiet=2,
            invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )
        yield copy


def table(results: list[dict[str, Any]]) -> str:
    head = ("room", "places", "mutants", "killed", "timeout", "survived", "no test", "accepted")
    rows = [(*head, "score")]
    for one in results:
        figures = [one["room"], one["places"], one["ran"], *(one[name] for name in head[3:])]
        rows.append((*map(str, figures), f"{one['score']:.1%}"))
    return "\n".join("  ".join(cell.rjust(8) for cell in row) for row in rows)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("room", nargs="*", choices=[*GUARDS, []])
    parser.add_argument("--module", action="append", default=[])
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--again", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    for name in PRELOADED.split():
        importlib.import_module(name)
    gc.freeze()  # what is loaded is not looked at again in each fork
    rooms = options.room or list(GUARDS)
    results: list[dict[str, Any]] = []
    with copy_of_the_tree() as copy:
        for room in rooms:
            modules = [path for path in GUARDS[room] if path in (options.module or GUARDS[room])]
            try:
                with servers_of(modules):
                    results.append(run_room(room, modules, copy, options))
            except Red as red:
                say(str(red))
                return 2
            except KeyboardInterrupt:  # before the first mutant of the room
                break
            if "interrupted" in results[-1]:
                break
    print(table(results))
    for stale in (text for one in results for text in one.get("stale", ())):
        print(f"accepted, and not among the survivors any more: {stale}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    if len(results) < len(rooms) or any("interrupted" in one for one in results):
        return 130
    return int(any(one["score"] < AIM or one.get("stale") for one in results))


if __name__ == "__main__":
    sys.exit(main())
