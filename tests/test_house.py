"""The rules of the house, read from the source: each rule tells what is wrong and what to do.

A rule is a function from one module's source to its complaints. `test_rule_bites` gives every rule
a small bad source and wants a complaint, so that no rule can pass because it looks at nothing.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = (  # bottom first; nothing imports from a floor above its own
    "errors clock closing deadline readiness window stores backoff printable logs personal",
    "redis_client histogram addresses variables",
    "event envelope outcome transport handling settings subtyping declaration foreign sql",
    (
        "projection codec tracebacks observed idempotency rates "
        "settlement answers batching lambda_records"
    ),
    "dead_letters",
    "publishing consuming claimcheck contract",
    "topology outbox log_context changes",
    "runtime aws memory rabbitmq lambda_handler csvfile problems",
    "connecting",
    "fastapi flask metrics tracing doctor export emf",
    "__init__ local testing",
    "cli django pytest_plugin",
    "__main__",
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}

DOORS = {  # a foreign thing, and the rooms that may know it
    "boto3 botocore s3transfer": {"aws"},
    "mypy_boto3_dynamodb mypy_boto3_s3 mypy_boto3_sns mypy_boto3_sqs": {"aws"},
    "threading _thread concurrent multiprocessing": {
        "runtime",  # the worker's threads
        "publishing.publisher",  # a pool for requests that need a thread each
        "publishing.many",  # several requests in flight
        "publishing.under_way",  # some of which a thread waits for
        "publishing.sender",  # only the lock under which it counts
        "publishing.pending",  # a future that threads wait for
        "publishing.buffered",  # somebody must send when the linger is over
        "publishing.senders",  # its threads
        "memory",  # a queue is shared by threads
        "local",  # watches the server's process
        "testing",  # the fake clock and the recording topic are shared by threads
        "idempotency.memory",  # marks are shared by threads
        "rates.memory",  # a bucket is shared by threads
        "tracing.processing",  # a span is started once, whoever looks at it first
        "idempotency.renewal",  # somebody must renew the claim of a handler that runs
        "aws.bounded",  # a call that cannot be told a time limit runs beside whoever waits
        "rabbitmq.link",  # the client's connection belongs to one thread
        "rabbitmq.session",  # only futures: whoever asks waits for that thread
        "rabbitmq.broker",  # only the lock over the queues that it gave out
        "aws.clients",  # only the lock under which clients are made
    },
    "pika": {"rabbitmq"},
    "django asgiref": {"django"},
    "moto ministack": {"local"},
    "psycopg sqlalchemy": {"sql"},
    "sqlite3": {"sql"},
    "redis": {"redis_client"},
    "fastapi starlette": {"fastapi"},
    "flask": {"flask"},
    "opentelemetry": {"metrics", "tracing"},
    "prometheus_client": {"metrics"},
    "rich typer click": {"cli"},
    "pytest _pytest": {"pytest_plugin"},
    "unittest": set(),
}
ENVIRONMENT = {"settings", "local"}  # `local` composes that of the server it starts
PRINTERS = {"cli", "__main__"}
# All but the first set levels only.
LOGGERS = {"logs", "cli.screen", "local.child", "testing.chaos", "rabbitmq.link"}
NO_NAMES = {"utils", "util", "base", "core", "common", "helpers", "helper", "misc"}
MUTABLE = set("list dict set bytearray defaultdict deque OrderedDict Counter Lock RLock".split())
READ_ONLY = set("Mapping Sequence Collection Set AbstractSet Iterable".split())

ROOM_LINES, FUNCTION_LINES, CLASS_METHODS, EXPORTS = 300, 50, 12, 27
# About 250, 40 and 10 are meant; beyond these numbers it is no longer "about".


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name without the package, and its text."""

    name: str
    text: str
    package: bool = False

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and dotted name of whatever is imported, anywhere in the file."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = "." * node.level + (node.module or "")
                if source == "messaging":  # `from messaging import event` is the room event
                    yield from ((node.lineno, f"messaging.{alias.name}") for alias in node.names)
                elif source == "os":
                    yield from ((node.lineno, f"os.{alias.name}") for alias in node.names)
                else:
                    yield node.lineno, source

    def lives_in(self, rooms: set[str]) -> bool:
        return any(self.name == room or self.name.startswith(room + ".") for room in rooms)


FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITION = ast.ClassDef | FUNCTION
Rule = Callable[[Module], Iterator[str]]


def floors(module: Module) -> Iterator[str]:
    if module.room not in FLOOR:
        yield "1: stands on no floor: write its name into FLOORS"
        return
    for line, name in module.imports():
        if name.startswith("."):
            yield f"{line}: imports {name}: write the whole name, so that everybody sees the floor"
        if name.partition(".")[0] != "messaging":
            continue
        there = name.split(".")[1] if "." in name else "__init__"
        there = there if there in FLOOR else "__init__"  # a name that the package exports
        if FLOOR[there] > FLOOR[module.room]:
            yield (
                f"{line}: imports {name}, which stands above it (floor {FLOOR[there]} over "
                f"{FLOOR[module.room]}): move down what both need, or have it handed in"
            )


def doors(module: Module) -> Iterator[str]:
    for line, name in module.imports():
        for foreign, rooms in DOORS.items():
            if name.partition(".")[0] in foreign.split() and not module.lives_in(rooms):
                said = ", ".join(sorted(rooms)) or "nobody"
                yield f"{line}: imports {name}, which only {said} may know: ask that room for it"


def environment(module: Module) -> Iterator[str]:
    forbidden = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    found = [(line, name[3:]) for line, name in module.imports() if name.startswith("os.")]
    found += [
        (node.lineno, node.attr)
        for node in module.nodes
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os"
    ]
    for line, name in found:
        if name in forbidden and not module.lives_in(ENVIRONMENT):
            yield f"{line}: reads os.{name}: add a field to Settings, and have those handed in"


def silence(module: Module) -> Iterator[str]:
    for node in module.nodes if not module.lives_in(PRINTERS) else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"{node.lineno}: prints: use the module's log, a library owns no terminal"


def logs(module: Module) -> Iterator[str]:
    for node in module.nodes if not module.lives_in(LOGGERS) else ():
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger"):
            yield (
                f"{node.lineno}: takes a bare logger: use messaging.logs.logger, which makes "
                "foreign text printable"
            )


def docstrings(module: Module) -> Iterator[str]:
    doc = ast.get_docstring(module.tree)
    if not doc:
        yield "1: has no docstring: say in one sentence what the module is"
    elif not doc.splitlines()[0].endswith((".", ":", "?")):
        yield "1: its docstring's first line is no sentence: say in one what the module is"
    for node in module.tree.body:
        if not isinstance(node, DEFINITION) or node.name not in _exported(module):
            continue
        overloaded = "overload" in map(ast.unparse, node.decorator_list)
        if ast.get_docstring(node) is None and not overloaded:
            yield f"{node.lineno}: {node.name} is public: its docstring is missing"


KNOW_BROKERS = {
    "rabbitmq aws memory": "the transports",
    "connecting settings": "the door that goes by the environment",
    "doctor local lambda_handler testing": "what looks at, starts or stands for one broker",
    "cli.local cli.export": "their commands",
}


def brokers(module: Module) -> Iterator[str]:
    """Nothing above the transports asks which broker it is: what differs is a value of theirs."""
    if module.lives_in(set(" ".join(KNOW_BROKERS).split())):
        return
    for node in module.nodes:
        asked = node.test if isinstance(node, ast.If | ast.IfExp | ast.While) else None
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = node.args[1]
        if asked is not None and re.search(
            r"rabbit|amqp|\bSqs|\bSns|\bMemoryB", ast.unparse(asked)
        ):
            yield f"{asked.lineno}: asks which broker it is: let the transport say what it can do"


def sizes(module: Module) -> Iterator[str]:
    code = _code_lines(module)
    if len(code) > ROOM_LINES:
        yield f"1: has {len(code)} lines of code (at most {ROOM_LINES}): make two rooms of it"
    for node in module.nodes:
        if isinstance(node, FUNCTION):
            length = sum(node.lineno <= line <= (node.end_lineno or 0) for line in code)
            if length > FUNCTION_LINES:
                yield (
                    f"{node.lineno}: {node.name} has {length} lines of code (at most "
                    f"{FUNCTION_LINES}): give its parts names"
                )
        if isinstance(node, ast.ClassDef):
            methods = [
                member.name
                for member in node.body
                if isinstance(member, FUNCTION)
                and not member.name.startswith("_")
                and "property" not in map(ast.unparse, member.decorator_list)
            ]
            if len(set(methods)) > CLASS_METHODS:
                yield (
                    f"{node.lineno}: {node.name} has {len(set(methods))} public methods (at most "
                    f"{CLASS_METHODS}): it is two things"
                )


def names(module: Module) -> Iterator[str]:
    for part in module.name.split("."):
        if part in NO_NAMES:
            yield f"1: {part} says nothing: call the module what you would call the thing"


def state(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield f"{node.lineno}: global: hold it in an object that somebody owns and closes"
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign):
            targets, annotation = [ast.unparse(target) for target in statement.targets], ""
        elif isinstance(statement, ast.AnnAssign):
            targets, annotation = [ast.unparse(statement.target)], ast.unparse(statement.annotation)
        else:
            continue
        read_only = re.split(r"[\[.]", annotation.removeprefix("Final["))[0] in READ_ONLY
        if targets != ["__all__"] and not read_only and _is_mutable(statement.value):
            yield (
                f"{statement.lineno}: {targets[0]} is mutable state of the module: make it a tuple "
                "or a frozenset, annotate it as a Mapping or Sequence, or put it into an object"
            )


def reasons(module: Module) -> Iterator[str]:
    silenced = re.compile(r"#\s*(noqa\b|type:\s*ignore|pyright:\s*ignore|pragma:\s*no cover)(.*)")
    codes = re.compile(r"\s*(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|\[[\w, -]+\])")
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        found = silenced.search(token.string) if token.type == tokenize.COMMENT else None
        if found and len(re.findall(r"\w+", codes.sub("", found[2], count=1))) < 2:
            yield f"{token.start[0]}: {found[1]} without its reason: write it behind, in words"
        elif found and not found[1].startswith("pragma") and not codes.match(found[2]):
            yield f"{token.start[0]}: {found[1]} silences everything: name the one rule"


ONE_PAUSE = {"backoff", "publishing.roundtrip"}  # the latter doubles how many events it skips


def pauses(module: Module) -> Iterator[str]:
    """Powers of two, doubling, tenacity's exponential waits, and jitter of one's own."""
    for node in module.nodes if not module.lives_in(ONE_PAUSE) else ():
        found = (
            (isinstance(node, ast.BinOp) and _doubles_by_power(node))
            or (isinstance(node, ast.AugAssign | ast.Assign) and _doubles_itself(node))
            or (isinstance(node, ast.Call) and _caps_a_doubled_value(node))
            or (isinstance(node, ast.Call) and ast.unparse(node.func) == "random.uniform")
            or (isinstance(node, ast.alias) and re.match(r"wait_.*exponential", node.name))
            or (isinstance(node, ast.Attribute) and re.match(r"wait_.*exponential", node.attr))
        )
        if found:
            line = getattr(node, "lineno", 1)
            yield f"{line}: an exponential or random pause of its own: use messaging.backoff"


def _is_two(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 2


def _doubles_by_power(node: ast.BinOp) -> bool:
    constant = isinstance(node.right, ast.Constant)
    return isinstance(node.op, ast.Pow) and _is_two(node.left) and not constant


def _doubled(node: ast.expr) -> str | None:
    """What is multiplied by two there."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for two, other in ((node.left, node.right), (node.right, node.left)):
            if _is_two(two):
                return ast.unparse(other)
    return None


def _doubles_itself(node: ast.AugAssign | ast.Assign) -> bool:
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ast.Mult) and _is_two(node.value)
    targets = [ast.unparse(target) for target in node.targets]
    return any(
        isinstance(inside, ast.expr) and _doubled(inside) in targets
        for inside in ast.walk(node.value)
    )


def _caps_a_doubled_value(node: ast.Call) -> bool:
    return ast.unparse(node.func) == "min" and any(_doubled(one) for one in node.args)


OPENERS = re.compile(
    r"\b(sqlite3|psycopg|aiosqlite|asyncpg)(\.\w+)*\.connect$|\bcreate_(async_)?engine$"
)


def sql(module: Module) -> Iterator[str]:
    for node in module.nodes if not module.lives_in({"sql"}) else ():
        if isinstance(node, ast.Call) and OPENERS.search(ast.unparse(node.func)):
            yield f"{node.lineno}: opens a database: messaging.sql.opening sets the time limits"


def snapshots(module: Module) -> Iterator[str]:
    """Without the GIL, and when the garbage collector comes in between, another thread may change
    a dict while `tuple` reads it; `dict.copy()` is one step."""
    for node in module.nodes if module.lives_in({"runtime", "publishing"}) else ():
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("tuple", "sorted")
            and any(re.search(r"\.(values|items|keys)\(\)$", ast.unparse(one)) for one in node.args)
            and ".copy()." not in ast.unparse(node)
        ):
            yield f"{node.lineno}: reads a dict that another thread may change: read its copy()"


RULES: dict[Rule, Module] = {  # and for each a source that breaks it
    floors: Module("event", "if TYPE_CHECKING:\n    from messaging.topology import Topology\n"),
    doors: Module("consuming.dispatch", "def late():\n    import boto3.session\n"),
    environment: Module("codec", "import os\nkey = os.getenv('KEY')\n"),
    silence: Module("codec", "def show(x):\n    print(x)\n"),
    logs: Module("codec", "import logging\nlog = logging.getLogger('messaging')\n"),
    docstrings: Module("codec", '"""A module."""\n__all__ = ["f"]\ndef f(): ...\n'),
    brokers: Module("runtime.worker", "if isinstance(queue, RabbitQueue) or amqp:\n    pass\n"),
    sizes: Module("codec", "def long():\n" + "    x = 1\n" * (FUNCTION_LINES + 1)),
    names: Module("aws.utils", ""),
    state: Module("codec", "_CACHE: dict[str, int] = {}\n"),
    reasons: Module("codec", "x = y  # type: ignore[name-defined]\n"),
    pauses: Module("aws.sqs", "def f(n):\n    return min(30.0, 0.5 * 2.0 ** (n - 1))\n"),
    snapshots: Module("runtime.settler", "x = tuple(self._under_way.items())\n"),
    sql: Module("outbox", "import psycopg\nconnection = psycopg.connect('dbname=school')\n"),
}
MORE_BAD: dict[Rule, list[Module]] = {
    floors: [
        Module("nowhere", ""),
        Module("event", "from messaging import Worker\n"),
        Module("event", "from . import codec\n"),
        Module("consuming.dispatch", "import messaging.runtime.worker\n"),
    ],
    doors: [
        Module("codec", "from threading import Lock\n"),
        Module("aws.sqs", "import threading\n"),
        Module("cli", "import moto.server\n"),
        Module("publishing.publisher", "from rich.progress import Progress\n"),
    ],
    environment: [Module("codec", "from os import environ\n")],
    docstrings: [Module("codec", ""), Module("codec", '"""no sentence"""\n')],
    sizes: [
        Module("codec", "x = 1\n" * (ROOM_LINES + 1)),
        Module("codec", "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(13))),
    ],
    state: [
        Module("codec", "seen = set()\n"),
        Module("codec", "names = [n for n in 'abc']\n"),
        Module("codec", "lock = threading.Lock()\n"),
        Module("codec", "def f():\n    global x\n    x = 1\n"),
    ],
    pauses: [
        Module("aws.sqs", "pause *= 2\n"),
        Module("aws.sqs", "pause = min(30, 2 * pause)\n"),
        Module("aws.sqs", "pause = pause * 2\n"),
        Module("aws.sqs", "sleep(min(longest, first * 2))\n"),
        Module("aws.sqs", "sleep(random.uniform(pause / 2, pause))\n"),
        Module("aws.sqs", "from tenacity import wait_random_exponential\n"),
        Module("aws.sqs", "wait = tenacity.wait_exponential_jitter()\n"),
    ],
    sql: [
        Module("outbox", "import sqlite3\nsqlite3.connect('x')\n"),
        Module("outbox", "engine = sqlalchemy.create_engine('sqlite://')\n"),
        Module("outbox", "psycopg.Connection.connect(url)\n"),
    ],
    reasons: [
        Module("codec", "x = 1  # noqa: E731\n"),
        Module("codec", "x = 1  # noqa\n"),
        Module("codec", "x = 1  # type: ignore  # for some reason\n"),
    ],
}
GOOD = Module(
    "codec",
    '"""A good example."""\n'
    "from collections.abc import Mapping\n"
    "from messaging.envelope import Envelope\n"
    '__all__ = ["f"]\n'
    "TABLE: Mapping[str, int] = {}\n"
    "def f(x: int) -> int:\n"
    '    """x."""\n'
    "    return x  # noqa: E731 - tenacity wants it so\n",
)


def _exported(module: Module) -> set[str]:
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return {ast.literal_eval(name) for name in getattr(node.value, "elts", [])}
    return set()


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE
    return isinstance(
        value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    )


def _code_lines(module: Module) -> set[int]:
    """Numbers of the lines that hold code: no blank line, comment or docstring."""
    lines: set[int] = set()
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in (*beside, tokenize.ENDMARKER):
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in module.nodes:
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


def _modules() -> list[Module]:
    found = []
    for path in sorted((ROOT / "messaging").rglob("*.py")):
        parts = path.relative_to(ROOT / "messaging").with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        found.append(Module(".".join(parts), path.read_text(), path.name == "__init__.py"))
    return found


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    if listed.returncode:  # an unpacked archive
        files = [path for path in ROOT.rglob("*") if not any(p[0] == "." for p in path.parts[1:])]
    return [path for path in files if path.is_file()]


MODULES = _modules()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    complaints = [f"messaging/{m.name}:{said}" for m in MODULES for said in rule(m)]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_bites(rule: Rule) -> None:
    for bad in [RULES[rule], *MORE_BAD.get(rule, [])]:
        assert list(rule(bad)), f"{rule.__name__} lets this pass:\n{bad.text}"
    assert not list(rule(GOOD))


DJANGOS_NAMES = {"Command", "Meta", "Migration"}  # by these it finds what is asked for


def _names_twice(modules: list[Module]) -> list[str]:
    found: dict[str, list[str]] = {}
    for module in modules:
        for node in module.nodes:
            prescribed = module.lives_in({"django"}) and isinstance(node, ast.ClassDef)
            if prescribed and node.name in DJANGOS_NAMES:
                continue
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(f"{module.name}:{node.lineno}")
    return [f"{name}: {', '.join(there)}" for name, there in found.items() if len(there) > 1]


def test_no_class_name_stands_for_two_things() -> None:
    bad = [Module("a", "class Line: ..."), Module("b", "def f():\n    class Line: ...\n")]
    assert _names_twice(bad) == ["Line: a:1, b:2"]
    complaints = _names_twice(MODULES)
    assert not complaints, "one name, one thing:\n" + "\n".join(complaints)


def test_the_rules_name_only_rooms_that_exist() -> None:
    there = {module.name for module in MODULES} | {module.room for module in MODULES}
    named = {*FLOOR, *ENVIRONMENT, *PRINTERS, *LOGGERS, *ONE_PAUSE}.union(*DOORS.values())
    assert not named - there, "rooms that are gone: take them out of this file"


def test_the_whole_library_is_read() -> None:
    assert {"event", "codec", "consuming.dispatch", "__init__"} <= {
        module.name for module in MODULES
    }


def test_a_consumer_knows_the_library_and_no_aws() -> None:
    complaints = [
        f"consumers/{path.name}:{line}: imports {name}"
        for path in sorted((ROOT / "consumers").glob("*.py"))
        for line, name in Module(path.stem, path.read_text()).imports()
        if name.partition(".")[0] in {"boto3", "botocore", "moto", "ministack"}
    ]
    assert not complaints, "a service does not know AWS:\n" + "\n".join(complaints)


IMPORTED_LATER = (
    "django boto3 botocore typer rich click moto ministack tenacity pytest asyncio".split()
)


def test_importing_the_library_is_light() -> None:
    code = (
        "import sys, messaging; print(len(messaging.__all__)); "
        f"print(*[name for name in {IMPORTED_LATER!r} if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert int(printed[0]) <= EXPORTS, "the front door has room for 27 names: export from a module"
    assert printed[1] == "", f"importing messaging loads {printed[1]}: import it where it is used"


def test_every_exported_name_is_there_and_works_everywhere() -> None:
    import messaging

    for name in messaging.__all__:
        assert getattr(messaging, name).__doc__, f"messaging.{name} has no docstring"
    assert set(messaging.__all__) <= set(dir(messaging))


def test_no_file_names_a_registry_or_this_machine() -> None:
    # Put together here, so that this file does not name them either.
    hosts = [r"pypi\.", "python" + "hosted", "registry" + r"\.npmjs", "npm" + r"js\."]
    machine = [r"(?<![\w.$}>-])/" + name + r"/\w" for name in ("work", "root", "home")]
    pattern = re.compile("|".join([*(h + "(org|com)" for h in hosts), hosts[1], *machine]))
    complaints = []
    for path in _tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # data in another encoding, or a picture
        complaints += [
            f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]}"
            for found in pattern.finditer(text)
        ]
    assert not complaints, "say it without the host or the path:\n" + "\n".join(complaints)


def test_no_test_is_skipped_or_mocks_aws() -> None:
    complaints = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        module = Module(path.stem, path.read_text())
        complaints += [
            f"{path.name}:{node.lineno}: {ast.unparse(node)}"
            for node in module.nodes
            if isinstance(node, ast.Attribute)
            and node.attr in {"skip", "skipif", "xfail", "importorskip"}
            # A machine without PostgreSQL or Redis is told so; where CI is set, it fails there.
            and path.name != "servers.py"
        ]
        complaints += [
            f"{path.name}:{line}: {name}"
            for line, name in module.imports()
            if name.startswith(("unittest.mock", "pytest_mock"))
        ]
    assert not complaints, "a test runs, on something real:\n" + "\n".join(complaints)


def test_the_lock_and_the_requirements_agree() -> None:
    import tomllib

    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    locked: dict[str, dict[str, set[str]]] = {}
    for package in lock["package"]:
        files = [*package.get("wheels", []), package.get("sdist")]
        versions = locked.setdefault(package["name"], {})
        versions[package["version"]] = {file["hash"] for file in files if file}
    pinned = 0
    for path in (ROOT / "requirements").glob("*.txt"):
        for entry in re.split(r"\n(?=\w)", path.read_text()):
            found = re.match(r"([\w.-]+)==([^\s;\\]+)", entry)
            if found is None:
                continue
            pinned += 1
            hashes = set(re.findall(r"--hash=(\S+)", entry))
            known = locked.get(found[1], {}).get(found[2], set())
            assert hashes, f"{found[1]} in {path.name} has no hash: run `make lock`"
            assert hashes <= known, f"{found[1]} in {path.name} is not the locked one: `make lock`"
    assert pinned > 50


def test_the_architecture_page_names_what_there_is() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    named = re.findall(r"`((?:messaging/)?(?:\w+/)*\w+\.py)`", page)
    assert len(set(named)) > 30
    places = (ROOT, ROOT / "messaging")
    gone = [name for name in named if not any((place / name).exists() for place in places)]
    assert not gone, "these have moved: mend the page"
    floors = page.partition("## Floors")[2].partition("##")[0]
    left_out = [room for room in FLOOR if room != "__init__" and f"`{room}`" not in floors]
    assert not left_out, "the page's table of floors lacks these"
