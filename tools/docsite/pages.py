"""What a built page has to be: links that lead somewhere, nothing from another host, searchable.

This reads HTML and knows nothing of the tool that wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .sources import DOCS, ROOT, SITE_URL

SITE = ROOT / "site"
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}
NOT_PAGES = {"404.html"}


class Page(HTMLParser):
    """One built page: where it links to, what it fetches, its anchors and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.fetches: list[str] = []
        self.anchors: set[str] = set()
        self.text: list[str] = []
        self.language = ""
        self.switches: list[str] = []
        self.alternates: dict[str, str] = {}
        self.meta: dict[str, str] = {}
        self.feed(path.read_text())

    @cached_property
    def name(self) -> str:
        return self.path.relative_to(SITE).as_posix()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "html":
            self.language = found.get("lang", "")
        if tag == "meta":
            self.meta[found.get("name") or found.get("property", "")] = found.get("content", "")
        if tag == "link" and found.get("rel") == "canonical":
            self.meta["canonical"] = found["href"]
        if tag == "a" and "hreflang" in found:
            self.switches.append(found["href"])
        if tag == "link" and found.get("rel") == "alternate":
            self.alternates[found["hreflang"]] = found["href"]
        if tag in FETCHED and found.get("rel") not in NOT_FETCHED:
            self.fetches.append(found.get(FETCHED[tag], ""))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@cache
def read() -> dict[Path, Page]:
    """The pages of the site that stands."""
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def top(path: Path) -> Path:
    """The folder of the language that a page is in."""
    return SITE / "pt" if path.is_relative_to(SITE / "pt") else SITE


def complaints() -> Iterator[str]:
    """What is wrong with the built site."""
    pages = read()
    if not pages:
        yield "no page was built"
        return
    linked = {SITE / "index.html", SITE / "pt" / "index.html"}
    for page in pages.values():
        for link in page.links:
            target, anchor = _target(page, link)
            if target is None:
                continue
            if not target.exists():
                yield f"{page.name}: links to {link}, which is not there"
            elif anchor and target in pages and anchor not in pages[target].anchors:
                yield f"{page.name}: links to {link}, and {target.name} has no such anchor"
            if (
                target != page.path
                and page.path.name not in NOT_PAGES
                and top(target) == top(page.path)
            ):
                linked.add(target)
        yield from _fetches_elsewhere(page)
        if "::: " in "".join(page.text):  # an ARN of S3 has three colons and no space
            yield f"{page.name}: shows ':::' where a docstring was meant: leave a line before it"
        if re.search(r"\b(Args|Raises): \w+: ", " ".join("".join(page.text).split())):
            yield f"{page.name}: shows a docstring's section as a paragraph, not as a table"
    for path in pages.keys() - linked:
        if path.name not in NOT_PAGES:
            yield f"{pages[path].name}: no page leads here: add it to nav in zensical.toml"
    yield from _unsearchable()
    yield from _languages()
    yield from _shown_elsewhere()


def _fetches_elsewhere(page: Page) -> Iterator[str]:
    for url in page.fetches:
        target, _ = _target(page, url)
        if target is None and not url.startswith("data:"):
            yield f"{page.name}: fetches {url} from another host: put it into docs/assets"
        elif target is not None and not target.exists():
            yield f"{page.name}: fetches {url}, which is not there"


def _target(page: Page, link: str) -> tuple[Path | None, str]:
    """The file that a link of a page means, None for another host; and the anchor in it."""
    parts = urlsplit(link.removeprefix(SITE_URL))
    if parts.scheme or parts.netloc:
        return None, ""
    path, base = unquote(parts.path), page.path.parent
    if link.startswith((SITE_URL, "/")):
        path, base = path.removeprefix(urlsplit(SITE_URL).path).lstrip("/"), SITE
    elif not path:
        return page.path, unquote(parts.fragment)
    target = (base / path).resolve()
    return (target / "index.html" if target.is_dir() else target), unquote(parts.fragment)


def _unsearchable() -> Iterator[str]:
    for folder in (SITE, SITE / "pt"):
        index = json.loads((folder / "search.json").read_text())
        known = {item["location"].partition("#")[0] for item in index["items"]}
        for path, page in read().items():
            name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else ""
            if top(path) == folder and path.name not in NOT_PAGES and name not in known:
                yield f"{page.name}: the search does not know this page"


def _languages() -> Iterator[str]:
    """Each page says its language, and leads to itself in the other one, if it is there."""
    for path, page in read().items():
        if path.name in NOT_PAGES:
            continue
        home, language = top(path), "en" if top(path) == SITE else "pt-BR"
        name = path.relative_to(home)
        other = (SITE / "pt" if home == SITE else SITE) / name
        if page.language != language:
            yield f"{page.name}: is in {language} and says {page.language!r}"
        if DOCS.is_english_only(name.as_posix()):
            other = SITE / "pt" / "index.html"
        if other not in [_target(page, link)[0] for link in page.switches]:
            yield f"{page.name}: its switch of languages leads not to {other.relative_to(SITE)}"
        waits = name.with_suffix(".md").as_posix() in DOCS.listed()
        named = {_target(page, link)[0] for link in page.alternates.values()}
        wanted = {SITE / name, SITE / "pt" / name}
        if named != (set() if DOCS.is_english_only(name.as_posix()) or waits else wanted):
            yield f"{page.name}: names as its languages {sorted(page.alternates)}"


def _shown_elsewhere() -> Iterator[str]:
    """What a search engine and a shared link show of each page is there."""
    for path, page in read().items():
        if path.name in NOT_PAGES:
            continue
        for name in ("description", "og:title", "og:description"):
            if len(page.meta.get(name, "")) < 3:
                yield f"{page.name}: has no {name}"
        for name, wanted in (("canonical", path), ("og:url", path), ("og:image", None)):
            target, _ = _target(page, page.meta.get(name, ""))
            there = name in page.meta and target is not None and target.exists()
            if not there or wanted not in (None, target):
                yield f"{page.name}: its {name} is {page.meta.get(name)!r}"


def write_sitemap() -> None:
    """One map of both languages, without the pages that wait for a translation."""
    waiting = {SITE / "pt" / page.replace(".md", ".html") for page in DOCS.listed()}
    paths = [path for path in read() if path not in waiting and path.name not in NOT_PAGES]
    urls = (
        f"<url><loc>{SITE_URL}{path.relative_to(SITE).as_posix()}</loc></url>" for path in paths
    )
    (SITE / "pt" / "sitemap.xml").unlink(missing_ok=True)
    (SITE / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        + "\n".join(urls)
        + "\n</urlset>\n"
    )
