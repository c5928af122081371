"""Console sessions of the pages: what a page shows is what the commands print."""

from __future__ import annotations

import fnmatch
import shlex
import subprocess
import sys
from pathlib import Path

from tools.docsite import consoles
from tools.docsite.consoles import agrees, masked, sessions
from tools.docsite.sources import DOCS

ROOT = Path(__file__).parents[1]
TYPED = [
    session for page in DOCS.pages() for session in sessions(page, (DOCS.folder / page).read_text())
]


def test_pages_show_what_the_commands_print() -> None:
    # A process of its own: commands install signal handlers and log, and import the page's modules.
    ended = subprocess.run(
        [sys.executable, ROOT / "tools" / "docs.py", "consoles", "--short"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_command_that_is_not_run_has_a_reason() -> None:
    runnable = {"messaging", "python", "export"}
    left = [
        f"{one.page}, line {one.line}: {one.command}"
        for one in TYPED
        if one.why_not is None
        and not {word for word in shlex.split(one.command) if "=" not in word} & runnable
    ]
    assert not left, "give each a reason in tools/docsite/consoles.py:\n" + "\n".join(left)


def test_each_reason_is_needed() -> None:
    unused = [
        (page, pattern)
        for page, pattern in consoles.NOT_RUN
        if not any(
            fnmatch.fnmatchcase(one.page, page) and fnmatch.fnmatchcase(one.command, pattern)
            for one in TYPED
        )
    ]
    assert not unused


def test_pages_with_output_are_walked() -> None:
    walked = {one.page for one in TYPED if one.shown and one.why_not is None}
    assert {"tutorial.md", "how-to/dead-letters.md", "how-to/troubleshooting.md"} <= walked


PAGE = """# A page

```console
$ messaging status
Topic alunos

 bi   3
$ docker run \\
    image
```

It says:

1. in a list

    ```console title="later"
    $ messaging run
    ```

    ```console
    done
    ```
"""


def test_a_session_is_read_with_its_output() -> None:
    status, docker, run = sessions("page.md", PAGE)
    assert (status.command, status.line) == ("messaging status", 4)
    assert status.shown == ("Topic alunos", "", " bi   3")
    assert PAGE[status.start : status.end] == "Topic alunos\n\n bi   3\n"
    assert (docker.command, docker.shown) == ("docker run image", ())
    assert docker.why_not is not None
    assert (run.command, run.shown, run.indent) == ("messaging run", ("done",), "    ")
    assert PAGE[run.start : run.end] == "    done\n"


def test_what_differs_each_time_is_masked() -> None:
    assert masked("event 2be872fa-26d0-489f-94aa-7d6348562bfa after 0.030 s") == masked(
        "event 090b379c-…   after 1 s"
    )
    assert masked("2026-11-29 16:30:34Z at http://127.0.0.1:4566") == masked(
        "2027-01-02 00:00:01Z at http://127.0.0.1:37115"
    )
    assert masked("received 3") != masked("received 4")


def test_another_output_is_told() -> None:
    printed = ["Topic alunos", "", " bi   3", " marketing   0"]
    assert agrees(["Topic alunos", " bi   3", " marketing   0"], printed)
    assert agrees(["Topic alunos", "...", " marketing   0"], printed)
    assert not agrees(["Topic alunos", " bi   4", " marketing   0"], printed)
    assert not agrees(["Topic alunos", " bi   3"], printed)
