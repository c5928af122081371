"""What only a browser can say of the site: contrast, axe's findings, copied text, weight, search.

One headless Chromium opens one page of ours, `browser.js`, which opens the site's pages in a frame,
asks its questions, and posts the answers. It needs Chromium on the PATH and no driver.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from .pages import SITE
from .searches import SEARCHES
from .sources import SITE_URL

HERE = Path(__file__).parent
HOMES = {"en": "next/index.html", "pt": "next/pt/index.html"}
HEAVIEST = 300_000
"""Bytes of the home page at its first load, compressed as every server sends them."""
PATIENCE = 300
"""Seconds after which the browser is taken to be stuck."""
PHONE, DESK = 390, 1400
LOOKS = (
    ("stable/index.html", DESK, "light"),
    ("next/index.html", DESK, "dark"),
    ("next/pt/index.html", PHONE, "dark"),
    ("next/pt/tutorial.html", PHONE, "light"),
    ("next/how-to/leases-and-time-limits.html", PHONE, "dark"),
    ("next/how-to/dead-letters.html", DESK, "dark"),
    ("next/pt/explanation/cost.html", DESK, "light"),
    ("next/reference/glossary.html", PHONE, "light"),
    ("next/reference/api/services.html", DESK, "light"),
    ("404.html", DESK, "light"),
)
"""Pages of each kind: axe needs some seconds for one, and the rest is made of the same parts."""


PRINTS = (
    ("next/index.html", "dark"),
    ("next/pt/tutorial.html", "light"),
    ("next/how-to/fifo.html", "dark"),
    ("next/pt/explanation/comparison.html", "light"),
    ("next/reference/settings.html", "light"),
    ("next/reference/api/services.html", "dark"),
)
"""Pages that are looked at as they are printed, whichever scheme they are read in."""
NOT_PRINTED = (
    ".md-header, .md-sidebar, .md-footer, .md-banner, .md-top, .md-skip, .md-content__button, "
    ".md-code__nav, .md-clipboard, .headerlink"
)
PHOTOGRAPHED = ("index.html", "tutorial.html", "how-to/fifo.html", "reference/settings.html")
PHOTOGRAPHS = (
    *product(
        (f"next/{language}{page}" for page in PHOTOGRAPHED for language in ("", "pt/")),
        (DESK, PHONE),
        ("light", "dark"),
    ),
    ("next/reference/api/services.html", DESK, "light"),
    ("next/reference/api/services.html", PHONE, "dark"),
)
"""What is kept of each run of CI for people to look at."""
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage "
    "--force-prefers-reduced-motion"
).split()


class Answers(SimpleHTTPRequestHandler):
    """The site's files; what the page asks, and where it posts what it found."""

    def __init__(self, *arguments: Any, answers: Queue[dict[str, Any]], **named: Any) -> None:
        self.answers = answers
        super().__init__(*arguments, directory=str(SITE), **named)

    def do_GET(self) -> None:
        own = {
            "/__check/": (HERE / "browser.html", "text/html"),
            "/__check/browser.js": (HERE / "browser.js", "text/javascript"),
            "/__check/axe.js": (HERE / "vendor" / "axe.min.js", "text/javascript"),
        }
        if self.path == "/__check/questions":
            self._send(json.dumps(questions()).encode(), "application/json")
        elif self.path in own:
            path, kind = own[self.path]
            self._send(path.read_bytes(), kind)
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        """A page that is shown for any address names its own files from the top of the site."""
        return super().translate_path("/" + path.removeprefix(urlsplit(SITE_URL).path).lstrip("/"))

    def do_POST(self) -> None:
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._send(b"", "text/plain")

    def _send(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what matters is in the answers."""


def questions() -> dict[str, Any]:
    """What the page is to look at."""
    looks = [{"page": page, "width": width, "scheme": scheme} for page, width, scheme in LOOKS]
    prints = [{"page": page, "scheme": scheme} for page, scheme in PRINTS]
    searches = {language: list(wanted) for language, wanted in SEARCHES.items()}
    asked = {"looks": looks, "prints": prints, "notPrinted": NOT_PRINTED}
    return {**asked, "homes": HOMES, "searches": searches}


def complaints() -> Iterator[str]:
    """What a browser finds wrong with the site that stands."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        yield "the site is looked at in a browser: apt-get install chromium"
        return
    for answer in _asked(chromium):
        yield from _judged(answer)


def photograph(folder: Path) -> None:
    """Pictures of some pages, as they are on a desk and on a phone, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(4) as beside:  # a browser waits for most of its time
        list(beside.map(lambda one: _photograph(folder, *one), PHOTOGRAPHS))


def _photograph(folder: Path, page: str, width: int, scheme: str) -> None:
    chromium = shutil.which("chromium") or "google-chrome"
    name = f"{page.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.png"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        subprocess.run(
            [chromium, *OPTIONS, "--hide-scrollbars", f"--user-data-dir={profile}",
             f"--window-size={width},1400", f"--screenshot={folder / name}",
             f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
             (SITE / page).as_uri()],
            check=True, capture_output=True, timeout=PATIENCE,
        )  # fmt: skip


def _asked(chromium: str) -> list[dict[str, Any]]:
    answers: Queue[dict[str, Any]] = Queue()
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, answers=answers)) as server,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [chromium, *OPTIONS, "--window-size=1500,1000", f"--user-data-dir={profile}",
             f"http://127.0.0.1:{server.server_port}/__check/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        got: list[dict[str, Any]] = []
        try:
            while not got or not got[-1].get("end"):
                got.append(answers.get(timeout=PATIENCE))
        except Empty:
            got.append({"error": f"the browser said nothing for {PATIENCE} seconds"})
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
    return got


def _judged(answer: dict[str, Any]) -> Iterator[str]:
    where = answer.get("where", "")
    if "error" in answer:
        yield f"{where}: {answer['error']}"
    for finding in answer.get("axe", []):
        yield f"{where}: {finding}"
    for problem in ("printed", "cut", "dark"):
        for what in answer.get(problem, []):
            yield f"{where}: {problem}: {what}"
    if answer.get("wider"):
        yield f"{where}: is {answer['wider']} pixels wide: it has to be moved sideways"
    for text in answer.get("copied", []):
        if text.startswith("$ ") or "\n$ " in text:
            yield f"{where}: the copy button takes the prompt: {text[:60]!r}"
    if "fetched" in answer:
        paths = {urlsplit(url).path.lstrip("/") for url in answer["fetched"]}
        paths = {path for path in paths if (SITE / path).is_file()}
        weight = sum(len(gzip.compress((SITE / path).read_bytes())) for path in paths)
        if weight > HEAVIEST:
            yield f"{where}: weighs {weight:,} bytes at its first load: {sorted(paths)}"
    for words, first in answer.get("searches", {}).items():
        wanted = SEARCHES[answer["language"]][words]
        if first.partition(".html")[0] != wanted:
            yield f"search ({answer['language']}): {words!r} finds {first} first, and not {wanted}"
