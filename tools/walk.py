"""Which modules one event passes through, and how many lines of code the library has.

    python tools/walk.py            a table: publish, and delivery from the receive to the delete
    python tools/walk.py --path     the sequence of modules as well
    python tools/walk.py --lines    lines of code by folder: no blank line, comment or docstring;
                                    of another checkout with --lines=FOLDER

Measured with the interpreter's own profiler on the in-process broker, in the thread that does the
work, after a few messages of the same kind (what is done once per class is not on the way). The
broker itself (`messaging.memory`) and modules that only hold words (`transport`, `clock`, `errors`)
count like all others, except that the walk ends where the transport begins.
"""

import ast
import sys
import threading
import tokenize
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from messaging import (
    Consumer,
    Event,
    MemoryBroker,
    Projection,
    Publisher,
    Topology,
    Worker,
    handles,
)

WARM = 30


class Enrolled(Event, type="walk.enrolled", version=1):
    name: str
    fee: int


class EnrolledForBilling(Projection, of=Enrolled, audience="billing"):
    fee: int


class Billing(Consumer):
    def __init__(self) -> None:
        self.handled = threading.Semaphore(0)

    @handles
    def charge(self, enrolled: EnrolledForBilling) -> None:
        self.handled.release()


class Walk:
    """Records the modules of the library that a thread is in, one entry for each change."""

    def __init__(self, begin: tuple[str, str, str], end: tuple[str, str, str]) -> None:
        self._begin, self._end = begin, end
        self.path: list[str] = []
        self._on = False
        self.done = False

    def __call__(self, frame, event, argument) -> None:
        if event not in ("call", "return") or self.done:
            return
        module = frame.f_globals.get("__name__", "")
        what = (event, module, frame.f_code.co_name)
        if not self._on and what == self._begin and (event == "call" or argument):
            self._on = True
        elif self._on and what == self._end:
            self.done = True
            return
        if not self._on:
            return
        if event == "return":  # on its way back the thread is in the caller's module
            module = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
        ours = module.startswith("messaging.") and not module.startswith("messaging.memory")
        if ours and self.path[-1:] != [module]:
            self.path.append(module)


def publish() -> Walk:
    broker = MemoryBroker(Topology.of(Billing, topic="walk"))
    publisher = Publisher(broker.topic(), source="/walk")
    for number in range(WARM):
        publisher.publish(Enrolled(name="n", fee=number))
    event = Enrolled(name="n", fee=1)
    home = Publisher.publish.__module__
    walk = Walk(("call", home, "publish"), ("call", "messaging.memory.topic", "publish"))
    sys.setprofile(walk)
    try:
        publisher.publish(event)
    finally:
        sys.setprofile(None)
    return walk


def deliver() -> Walk:
    broker = MemoryBroker(Topology.of(Billing, topic="walk"))
    publisher = Publisher(broker.topic(), source="/walk")
    consumer = Billing()
    walk = Walk(
        ("return", "messaging.memory.queue", "receive"),
        ("call", "messaging.memory.queue", "delete"),
    )
    armed = threading.Event()

    def profile(frame, event, argument) -> None:
        if armed.is_set():
            walk(frame, event, argument)

    threading.setprofile(profile)
    try:
        with Worker(consumer, broker=broker, wait=0.05) as worker:
            for number in range(WARM):
                publisher.publish(Enrolled(name="n", fee=number))
                consumer.handled.acquire()
            while worker.stats.acknowledged < WARM:
                pass
            armed.set()
            publisher.publish(Enrolled(name="n", fee=1))
            consumer.handled.acquire()
            while worker.stats.acknowledged < WARM + 1:
                pass
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]  # None takes it off
    return walk


def told(walks: Iterable[tuple[str, Walk]], *, path: bool) -> str:
    lines = ["| | modules | changes |", "|---|--:|--:|"]
    for name, walk in walks:
        lines.append(f"| {name} | {len(set(walk.path))} | {len(walk.path) - 1} |")
    if path:
        lines += [f"\n{name}: {' > '.join(short(walk.path))}" for name, walk in walks]
    return "\n".join(lines)


def short(path: list[str]) -> list[str]:
    return [module.removeprefix("messaging.") for module in path]


def code_lines(path: Path) -> int:
    """Lines of one file that hold code: no blank line, comment or docstring."""
    lines: set[int] = set()
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in (*beside, tokenize.ENDMARKER):
                lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def lines_told(package: Path) -> str:
    count: Counter[str] = Counter()
    for path in package.rglob("*.py"):
        count[path.relative_to(package).parts[0]] += code_lines(path)
    rows = [f"{lines:7,}  {name}" for name, lines in count.most_common()]
    return "\n".join([*rows, f"{count.total():7,}  {package.name}"])


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        if argument.startswith("--lines"):
            home = Path(argument.partition("=")[2] or Path(__file__).parent.parent)
            print(lines_told(home / "messaging"))
            sys.exit()
    print(told([("publish", publish()), ("delivery", deliver())], path="--path" in sys.argv))
