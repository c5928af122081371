"""Builds the documentation into site/ and looks at what was built; any complaint is an error.

    python tools/docs.py build     build, then check
    python tools/docs.py check     only check the site that stands

The check reads HTML and knows nothing of the tool that wrote it: every link and anchor leads
somewhere, no page fetches anything from another host, every page is in the navigation, and the
search knows every page.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "site"
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
NOT_PAGES = {"404.html"}
OUTPUT_LINE = re.compile(r'<span class="go">([^<]*)</span>\n')
"""A line that a command printed. Its end goes into the element, which the copy button skips."""
SEARCHES = {
    "troubleshooting": "how-to/troubleshooting",
    "runbook": "how-to/runbook",
    "IAM": "how-to/service-repository",
    "LGPD": "explanation/security",
    "encryption": "explanation/security",
    "Django": "how-to/django",
    "FastAPI": "how-to/web-frameworks",
    "OpenTelemetry": "how-to/observability",
    "Prometheus": "how-to/observability",
    "install": "how-to/install",
    "upgrade": "how-to/upgrade",
    "glossary": "reference/glossary",
    "FAQ": "reference/glossary",
    "DLQ": "how-to/dead-letters",
    "redrive": "how-to/dead-letters",
    "idempotency": "how-to/handle-once",
    "circuit breaker": "how-to/circuit-breaker",
    "visibility timeout": "how-to/leases-and-time-limits",
    "outbox": "how-to/outbox",
    "FIFO": "how-to/fifo",
    "Celery": "how-to/from-celery",
    "boto3": "how-to/from-boto3",
    "Kubernetes": "how-to/deploy",
    "Fargate": "how-to/deploy",
    "autoscaling": "how-to/tuning",
    "pricing": "explanation/cost",
    "middleware": "how-to/middleware",
    "Sentry": "how-to/errors-and-tracebacks",
}
"""What a user would type, and the page that must have it in its title or a heading."""


class Page(HTMLParser):
    """One built page: where it links to, what it fetches, its anchors and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.fetches: list[str] = []
        self.anchors: set[str] = set()
        self.text: list[str] = []
        self.feed(path.read_text())

    @cached_property
    def name(self) -> str:
        return self.path.relative_to(SITE).as_posix()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in FETCHED and found.get("rel") not in {"canonical", "next", "prev"}:
            self.fetches.append(found.get(FETCHED[tag], ""))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def build() -> None:
    """Write the site. What the tool would load from another host is put beside the pages."""
    zensical = Path(sys.executable).with_name("zensical")
    subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT, check=True)
    for path in SITE.rglob("*.html"):
        up = "../" * (len(path.relative_to(SITE).parts) - 1)
        shim = re.compile(r'src="https://unpkg\.com/iframe-worker/shim"')
        text = shim.sub(f'src="{up}assets/worker-from-disk.js"', path.read_text())
        path.write_text(OUTPUT_LINE.sub(r'<span class="go">\1\n</span>', text))


def complaints(pages: dict[Path, Page]) -> Iterator[str]:
    """What is wrong with the built site."""
    linked = {SITE / "index.html"}
    for page in pages.values():
        for link in page.links:
            target, anchor = _target(page, link)
            if target is None:
                continue
            if not target.exists():
                yield f"{page.name}: links to {link}, which is not there"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{page.name}: links to {link}, and {target.name} has no such anchor"
            if target != page.path and page.path.name not in NOT_PAGES:
                linked.add(target)
        for url in page.fetches:
            target, _ = _target(page, url)
            if target is None and not url.startswith("data:"):
                yield f"{page.name}: fetches {url} from another host: put it into docs/assets"
            elif target is not None and not target.exists():
                yield f"{page.name}: fetches {url}, which is not there"
        if "::: " in "".join(page.text):  # an ARN of S3 has three colons and no space
            yield f"{page.name}: shows ':::' where a docstring was meant: leave a line before it"
    for path in pages.keys() - linked:
        if path.name not in NOT_PAGES:
            yield f"{pages[path].name}: no page leads here: add it to nav in zensical.toml"
    yield from _unsearchable(pages)


def _target(page: Page, link: str) -> tuple[Path | None, str]:
    """The file that a link of a page means, None for another host; and the anchor in it."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None, ""
    path = unquote(parts.path)
    base = SITE if path.startswith("/") else page.path.parent
    target = (base / path.lstrip("/")).resolve() if path else page.path
    return (target / "index.html" if target.is_dir() else target), unquote(parts.fragment)


def _unsearchable(pages: dict[Path, Page]) -> Iterator[str]:
    index = json.loads((SITE / "search.json").read_text())
    known = {item["location"].partition("#")[0] for item in index["items"]}
    for page in pages.values():
        names = {page.name, page.name.removesuffix("index.html")}
        if page.path.name not in NOT_PAGES and not names & known:
            yield f"{page.name}: the search does not know this page"
    for words, wanted in SEARCHES.items():
        found = {
            item["location"].partition(".html")[0]
            for item in index["items"]
            if words.lower() in re.sub("<[^>]+>", "", item["title"]).lower()
        }
        if wanted not in found:
            yield f"{wanted}: has {words!r} in no title or heading, so that a search misses it"


def main(command: str) -> None:
    if command == "build":
        build()
    pages = {path: Page(path) for path in sorted(SITE.rglob("*.html"))}
    found = list(complaints(pages))
    print(f"{len(pages)} pages in {SITE.name}/, {len(found)} complaints")
    if found or not pages:
        sys.exit("\n".join(found) or "no page was built")


if __name__ == "__main__":
    if sys.argv[1:] not in (["build"], ["check"]):
        sys.exit(__doc__)
    main(sys.argv[1])
