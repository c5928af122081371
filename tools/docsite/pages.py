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

from .sources import CONFIG, DOCS, ROOT, SITE_URL, STABLE_URL
from .versions import NEXT, STABLE, VERSIONS

SITE = ROOT / "site"
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
EDIT = f"{CONFIG['repo_url']}/edit/main/"
CODE = re.compile(r"<pre[^>]*>(?P<code><code[^>]*>.*?)</code>", flags=re.DOTALL)
PROMPT = re.compile(r"^(?:<[^>]+>)*\$ ", flags=re.MULTILINE)
NOT_FETCHED = {"canonical", "next", "prev", "alternate"}


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
        self.versions: dict[str, str] = {}
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
            if "data-version" in found:
                self.versions[found["data-version"]] = found["href"]
        if tag == "html":
            self.language = found.get("lang", "")
        if tag == "meta":
            self.meta[found.get("name") or found.get("property", "")] = found.get("content", "")
        if tag == "link" and found.get("rel") == "canonical":
            self.meta["canonical"] = found["href"]
        if tag == "meta" and found.get("http-equiv") == "refresh":
            self.links.append(found["content"].partition("url=")[2])
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
    """The pages of the site that stands, with the redirects to them."""
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def of(version: str) -> dict[Path, Page]:
    """The pages of a version."""
    return {path: page for path, page in read().items() if path.is_relative_to(SITE / version)}


def top(path: Path) -> Path:
    """The folder of the version and language that a page is in."""
    parts = path.relative_to(SITE).parts
    return SITE.joinpath(*parts[: 2 if parts[1] == "pt" else 1])


def complaints() -> Iterator[str]:
    """What is wrong with the built site.

    Links are looked at everywhere. The rest is asked of this tree's pages only: a release was asked
    by the rules of its day, and cannot be mended.
    """
    if not of(NEXT):
        yield "no page was built"
        return
    for page in read().values():
        yield from _dead_links(page)
        yield from _fetches_elsewhere(page)
    for page in of(NEXT).values():
        if "::: " in "".join(page.text):  # an ARN of S3 has three colons and no space
            yield f"{page.name}: shows ':::' where a docstring was meant: leave a line before it"
        if re.search(r"\b(Args|Raises): \w+: ", " ".join("".join(page.text).split())):
            yield f"{page.name}: shows a docstring's section as a paragraph, not as a table"
        yield from _unedited(page)
        yield from _code(page)
    yield from _unlinked()
    yield from _unsearchable()
    yield from _languages()
    yield from _shown_elsewhere()
    yield from _versions()


def _dead_links(page: Page) -> Iterator[str]:
    for link in page.links:
        target, anchor = _target(page, link)
        if target is None:
            continue
        if not target.exists():
            yield f"{page.name}: links to {link}, which is not there"
        elif anchor and target in read() and anchor not in read()[target].anchors:
            yield f"{page.name}: links to {link}, and {target.name} has no such anchor"


def _unedited(page: Page) -> Iterator[str]:
    """The link for editing leads to the page's source; none where a translation is awaited."""
    links = [link.removeprefix(EDIT) for link in page.links if link.startswith(EDIT)]
    if "robots" not in page.meta and not links:
        yield f"{page.name}: has no link for editing"
    for link in links:
        if not (ROOT / link).exists():
            yield f"{page.name}: its link for editing leads to {link}, which is not there"


def _code(page: Page) -> Iterator[str]:
    """Every block of code is moved with the keyboard, and its copy has no prompt."""
    for found in CODE.finditer(page.path.read_text()):
        if not found["code"].startswith('<code tabindex="0">'):
            yield f"{page.name}: has code that the keyboard cannot move: {found['code'][:60]!r}"
        copied = re.sub(r'<span class="g[op]">[^<]*</span>', "", found["code"])
        if PROMPT.search(copied):
            yield f"{page.name}: the copy button takes the prompt: name the block console"


def _unlinked() -> Iterator[str]:
    linked = {SITE / NEXT / "index.html", SITE / NEXT / "pt" / "index.html"}
    for path, page in of(NEXT).items():
        targets = {_target(page, link)[0] for link in page.links} & of(NEXT).keys() - {path}
        linked |= {target for target in targets if top(target) == top(path)}
    for path in of(NEXT).keys() - linked:
        yield f"{of(NEXT)[path].name}: no page leads here: add it to nav in zensical.toml"


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
    for folder in (SITE / NEXT, SITE / NEXT / "pt"):
        index = json.loads((folder / "search.json").read_text())
        known = {item["location"].partition("#")[0] for item in index["items"]}
        for path, page in of(NEXT).items():
            if top(path) == folder and path.relative_to(folder).as_posix() not in known:
                yield f"{page.name}: the search does not know this page"


def _languages() -> Iterator[str]:
    """Each page says its language, and leads to itself in the other one, if it is there."""
    english, portuguese = SITE / NEXT, SITE / NEXT / "pt"
    for path, page in of(NEXT).items():
        home, language = top(path), "en" if top(path) == english else "pt-BR"
        name = path.relative_to(home)
        other = (portuguese if home == english else english) / name
        if page.language != language:
            yield f"{page.name}: is in {language} and says {page.language!r}"
        if DOCS.is_english_only(name.as_posix()):
            other = portuguese / "index.html"
        if other not in [_target(page, link)[0] for link in page.switches]:
            yield f"{page.name}: its switch of languages leads not to {other.relative_to(SITE)}"
        alone = name.with_suffix(".md").as_posix() in DOCS.listed()
        alone = alone or DOCS.is_english_only(name.as_posix()) or "robots" in page.meta
        named = {_target(page, link)[0] for link in page.alternates.values()}
        stable = SITE / STABLE
        if named != (set() if alone else {stable / name, stable / "pt" / name}):
            yield f"{page.name}: names as its languages {sorted(page.alternates.values())}"


def _shown_elsewhere() -> Iterator[str]:
    """What a search engine and a shared link show of each page is there.

    A page that stable has, too, is shown as that one. Search engines do not list one that it lacks.
    """
    for path, page in of(NEXT).items():
        for name in ("description", "og:title", "og:description"):
            if len(page.meta.get(name, "")) < 3:
                yield f"{page.name}: has no {name}"
        shown = SITE / STABLE / path.relative_to(SITE / NEXT)
        if not shown.exists():
            shown = path
            if page.meta.get("robots") != "noindex":
                yield f"{page.name}: no release has it, and search engines may list it"
        for name, wanted in (("canonical", shown), ("og:url", shown), ("og:image", None)):
            target, _ = _target(page, page.meta.get(name, ""))
            there = name in page.meta and target is not None and target.exists()
            if not there or wanted not in (None, target):
                yield f"{page.name}: its {name} is {page.meta.get(name)!r}"


def _versions() -> Iterator[str]:
    """Each page leads to itself in every version, or to the start where that lacks it."""
    for path, page in (of(STABLE) | of(NEXT)).items():
        name = path.relative_to(top(path))
        for version in VERSIONS:
            home = SITE / version / top(path).relative_to(SITE / path.relative_to(SITE).parts[0])
            wanted = home / name if (home / name).exists() else home / "index.html"
            target, _ = _target(page, page.versions.get(version, ""))
            if version not in page.versions or target != wanted:
                yield f"{page.name}: its switch to {version} leads not to {wanted.name}"
    for path in of(STABLE):
        if not (SITE / path.relative_to(SITE / STABLE)).exists():
            yield f"{read()[path].name}: the address without a version does not lead here"


def write_sitemap() -> None:
    """One map of both languages of the stable version, without what engines are not to list."""
    paths = (path for path, page in of(STABLE).items() if "robots" not in page.meta)
    urls = (
        f"<url><loc>{STABLE_URL}{path.relative_to(SITE / STABLE).as_posix()}</loc></url>"
        for path in paths
    )
    (SITE / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        + "\n".join(urls)
        + "\n</urlset>\n"
    )
