"""Console sessions of the pages: typed again in a prepared folder, and compared with what is shown.

What `$ ` begins is typed; what follows is its output, in which a line "..." stands for any lines.
What differs from run to run (ids, times, ports, durations) is masked before the two are compared.
Commands run in this process, one page after the other, against one local server; each page has a
region of its own there, so that none sees another's queues. A command that is not run has a reason.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import re
import runpy
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .sources import DOCS, ROOT

BLOCK = re.compile(
    r"^(?P<indent> *)```console[^\n]*\n(?P<text>.*?)^(?P=indent)```", flags=re.S | re.M
)
REGIONS = "sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2 eu-west-1 eu-west-2 eu-west-3".split()
MASKS = (
    (re.compile(r"\b[0-9a-f]{8}-(…|[0-9a-f]{4}(-[0-9a-f]{4,12}){3})"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b|\b\d\d:\d\d:\d\dZ?"), "TIME"),
    (re.compile(r"\b127\.0\.0\.1:\d+"), "SERVER"),
    (re.compile(r"\b\d+(\.\d+)? (s|ms|seconds)\b"), "DURATION"),
    (re.compile("|".join(REGIONS)), "REGION"),
)

STAYS = "it runs until Ctrl-C; tests/cli starts and stops it"
SLOW = "it waits for seconds at an empty queue, and shows nothing here; tests/cli runs it"
RABBITMQ = "it needs RabbitMQ; tests/rabbitmq and tests/cli run it there"
NOT_RUN = {  # page, command as a pattern, why it is not run
    ("*", "make *"): "a target of the Makefile, which CI runs",
    ("*", "pip *"): "it installs from an index; tests/test_wheel.py installs the wheel",
    ("*", "PIP_NO_INDEX=* *"): "it installs; tests/test_local_installation.py does that",
    ("*", "messaging local --install"): "it installs; tests/test_local_installation.py does that",
    ("*", "python3 -m venv *"): "it makes an environment; tests/test_first_service.py does",
    ("*", ". *"): "it is for the shell: activates an environment",
    ("*", "cd *"): "it is for the shell",
    ("*", "pytest *"): "tests/test_first_service.py types it",
    ("*", "python -m *"): "minutes of chaos tests, which CI runs shorter",
    ("*", "docker *"): "it needs Docker",
    ("*", "kubectl *"): "it needs a cluster; tests/test_deploy_files.py reads the file",
    ("*", "aws *"): "it needs an AWS account; tests/test_deploy_files.py reads the file",
    ("*", "systemctl *"): "it needs systemd; tests/test_deploy_files.py reads the unit",
    ("*", "journalctl *"): "it needs systemd",
    ("*", "rabbitmqctl *"): RABBITMQ,
    ("how-to/rabbitmq.md", "*"): RABBITMQ,
    ("how-to/dead-letters.md", "messaging dlq list --*"): SLOW,
    ("how-to/dead-letters.md", "messaging dlq drop * --yes"): SLOW,
    ("how-to/dead-letters.md", "messaging dlq show *"): "its id is made up; tests/cli shows one",
    ("how-to/dead-letters.md", "messaging where *"): "its id is made up; tests/cli traces one",
    ("how-to/change-an-event.md", "messaging contract *"): "tests/test_new_field.py types it",
    ("first-service.md", "*"): "tests/test_first_service.py types it in an empty environment",
    ("*", "messaging local*"): "it is the server; tests/test_first_service.py starts it",
    ("*", "messaging run *--health*"): STAYS,
    ("*", "messaging run *--reload*"): STAYS,
    ("*", "messaging run * --log-format json"): STAYS,
    ("*", "messaging outbox relay*"): STAYS,
}


LOGGED = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) ")
OPTIONAL_2 = ("--detailed-exitcode", "--check")
"""With these, 2 and 1 are answers and no failures."""


@dataclass(frozen=True)
class Session:
    """One command of a page; where in the text its output stands, and the output without indent."""

    page: str
    line: int
    command: str
    start: int
    end: int
    indent: str
    shown: tuple[str, ...]

    @property
    def why_not(self) -> str | None:
        """Why it is not run, or None if it is."""
        for (page, pattern), why in NOT_RUN.items():
            if fnmatch.fnmatchcase(self.page, page) and fnmatch.fnmatchcase(self.command, pattern):
                return why
        return None


@dataclass(frozen=True)
class Answer:
    """What a command printed, log lines left out, and how it ended."""

    lines: tuple[str, ...]
    exit_code: int


def sessions(page: str, text: str) -> list[Session]:
    """The commands of a page. A block without a command goes on with the last one's output."""
    found: list[Session] = []
    for block in BLOCK.finditer(text):
        indent, place = block["indent"], block.start("text")
        for raw in block["text"].splitlines(keepends=True):
            end = place + len(raw)
            line = raw.removeprefix(indent).rstrip("\n")
            if line.startswith("$ "):
                number = text.count("\n", 0, place) + 1
                found.append(Session(page, number, line[2:], end, end, indent, ()))
            elif found and found[-1].command.endswith("\\"):
                joined = found[-1].command[:-1] + line.strip()
                found[-1] = replace(found[-1], command=joined, start=end, end=end)
            elif found:
                last = found[-1]
                start = last.start if last.shown else place
                found[-1] = replace(last, start=start, end=end, shown=(*last.shown, line))
            place = end
    return found


def masked(line: str, *, figures: bool = True) -> str:
    """The line without what differs from run to run, and without its figures if need be."""
    for pattern, word in MASKS:
        line = pattern.sub(word, line)
    if not figures:
        line = re.sub(r"\d+", "N", line)
    return " ".join(line.split())


def agrees(shown: Sequence[str], answered: Sequence[str], *, figures: bool = True) -> bool:
    """Whether the page shows what was printed; "..." stands for any lines, and blank ones do not
    count."""
    wanted = [masked(line, figures=figures) for line in shown if line.strip()]
    printed = [masked(line, figures=figures) for line in answered if line.strip()]
    pattern = "".join(
        "(?:.*\n)*" if line == "..." else re.escape(line).replace("\\.\\.\\.", ".*") + "\n"
        for line in wanted
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


class Terminal:
    """Types commands in this process, in one folder and with the environment of one page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, command: str) -> None:
        """Run what a page takes for granted; it must end well."""
        answer = self.type(command)
        if answer.exit_code:
            raise RuntimeError(f"{command} ended with {answer.exit_code}: {answer.lines}")

    def type(self, command: str) -> Answer:
        """Run one command to its end. Workers stop when their queues are empty."""
        words = shlex.split(command, comments=True)
        given: dict[str, str] = {}
        if words[0] == "export":
            os.environ.update(word.split("=", 1) for word in words[1:])
            return Answer((), 0)
        while "=" in words[0]:
            name, _, given[name] = words.pop(0).partition("=")
        if words[:2] == ["messaging", "run"] and "--until-empty" not in words:
            words.append("--until-empty")
        printed = io.StringIO()
        with (
            _environment(given),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            code = self._run(words)
        lines = (line.rstrip() for line in printed.getvalue().splitlines())
        kept = [line for line in lines if not LOGGED.match(line)]
        while kept and not kept[-1]:
            kept.pop()
        return Answer(tuple(kept), code)

    def _run(self, words: list[str]) -> int:
        if words[0] == "messaging":
            from messaging.cli.app import run

            return run(words[1:])
        if words[0] == "python":
            runpy.run_path(str(self.folder / words[1]), run_name="__main__")
            return 0
        raise ValueError(f"{words[0]}: nobody knows how to run it; NOT_RUN may say why it is not")


@contextlib.contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        if given:
            os.environ.clear()
            os.environ.update(before)


def complaints(pages: Sequence[str], *, record: bool = False, short: bool = False) -> Iterator[str]:
    """What the pages show and the commands do not print; with `record` it is written instead.

    With `short` the tutorial's file has few rows, and its figures are not compared.
    """
    from messaging.local import LocalServer

    regions = iter(REGIONS)
    with LocalServer() as server:
        for page in pages:
            text = (DOCS.folder / page).read_text()
            typed = [one for one in sessions(page, text) if one.why_not is None]
            if not any(one.shown for one in typed):
                continue  # nothing to compare; tests/test_docs.py parses the commands' options
            with (
                _clone(text, short=short) as folder,
                _environment({**server.environment, "COLUMNS": "80"}),
            ):
                region = next(regions)
                os.environ.update(AWS_REGION=region, AWS_DEFAULT_REGION=region)
                os.environ["MESSAGING_TOPIC"] = "alunos"
                os.environ["MESSAGING_WAIT"] = "0.2"  # a worker that ends waits for its polls
                terminal = Terminal(folder)
                for command in BEFORE.get(page, (APPLY,)):
                    terminal.prepare(command)
                answers = []
                for one in typed:
                    for command in BETWEEN.get((page, one.command), ()):
                        terminal.prepare(command)
                    answers.append((one, terminal.type(one.command)))
            wrong = [(one, answer) for one, answer in answers if _differs(one, answer, short=short)]
            if record:
                _write(page, wrong)
            else:
                yield from (_told(one, answer) for one, answer in wrong)


def _differs(one: Session, answer: Answer, *, short: bool) -> bool:
    if one.shown:
        whole = not short or one.page != "tutorial.md"
        return not agrees(one.shown, answer.lines, figures=whole)
    return answer.exit_code != 0 and not any(word in one.command for word in OPTIONAL_2)


def _told(one: Session, answer: Answer) -> str:
    printed = "\n".join(f"    {line}" for line in answer.lines)
    return (
        f"docs/{one.page}, line {one.line}: `{one.command}` ended with {answer.exit_code} and "
        f"printed\n{printed}\nwrite it with: python tools/docs.py record {one.page}"
    )


def _write(page: str, wrong: Sequence[tuple[Session, Answer]]) -> None:
    """Put what was printed into the English page and its translation, which has the same blocks."""
    pages = [DOCS.folder / page, DOCS.portuguese / page]
    for path in filter(Path.exists, pages):
        text = path.read_text()
        here = {one.command: one for one in sessions(page, text)}
        for one, answer in reversed(wrong):
            place = here[one.command]
            lines = [_as_on_a_desk(line) for line in answer.lines]
            printed = "".join(f"{place.indent}{line}".rstrip() + "\n" for line in lines)
            text = text[: place.start] + printed + text[place.end :]
        path.write_text(text)
    if pages[1].exists():
        DOCS.stamp(page)


def _as_on_a_desk(line: str) -> str:
    """With the port and the region that `messaging local` has, as the page tells the reader."""
    line = re.sub(r"\b127\.0\.0\.1:\d+", "127.0.0.1:4566", line)
    return re.sub("|".join(REGIONS), REGIONS[0], line)


APPLY = "messaging topology apply"
SERVICES = "consumers:Plataforma consumers:Financeiro consumers:Marketing consumers:BI"
FEW = ("messaging publish few.csv", f"messaging run {SERVICES}")
"""Afterwards there are three dead letters in financeiro's queue, and nothing else anywhere."""
BROKEN = "broken.py"
BREAK = """
import boto3

sns = boto3.client("sns")
for topic in sns.list_topics()["Topics"]:
    for one in sns.list_subscriptions_by_topic(TopicArn=topic["TopicArn"])["Subscriptions"]:
        if one["Endpoint"].endswith("alunos-bi"):
            sns.set_subscription_attributes(
                SubscriptionArn=one["SubscriptionArn"],
                AttributeName="RawMessageDelivery",
                AttributeValue="false",
            )
"""
BEFORE = {
    "how-to/dead-letters.md": (APPLY, *FEW),
    "how-to/troubleshooting.md": (APPLY, *FEW, f"python {BROKEN}"),
}
"""What is typed before a page's first command; elsewhere the topic and queues of `consumers/`."""
SEND = "messaging doctor --send --topology consumers:TOPOLOGY"
SHORT = 120
"""Lines of the tutorial's file where its figures are not compared."""
BETWEEN = {("how-to/troubleshooting.md", SEND): (APPLY,)}
"""What is typed before one command of a page."""


@contextlib.contextmanager
def _clone(text: str, *, short: bool) -> Iterator[Path]:
    """A folder like a clone, with the page's files in it; the process is there meanwhile."""
    before, modules = Path.cwd(), set(sys.modules)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("consumers", "pyproject.toml"):
            (folder / part).symlink_to(ROOT / part)
        shutil.copytree(ROOT / "examples" / "data", folder / "examples" / "data")
        rows = (ROOT / "examples" / "data" / "alunos.csv").read_bytes().splitlines(keepends=True)
        if short:
            some = b"".join(rows[:SHORT])
            (folder / "examples" / "data" / "alunos.csv").write_bytes(some)
        refused = [row for row in rows[1:] if b";-" in row][:3]  # negative fees
        (folder / "few.csv").write_bytes(b"".join([rows[0], *refused]))
        (folder / BROKEN).write_text(BREAK)
        for title, code in re.findall(r'```python title="([\w.]+)"\n(.*?)```', text, flags=re.S):
            (folder / title).write_text(code)
        os.chdir(folder)
        sys.path.insert(0, name)
        try:
            yield folder
        finally:
            sys.path.remove(name)
            os.chdir(before)
            for module in set(sys.modules) - modules:
                file = getattr(sys.modules[module], "__file__", None)
                if file is None or file.startswith(name):
                    del sys.modules[module]
