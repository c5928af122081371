"""What the site's generator reads, for each language: a configuration, and a folder of pages.

Both are written from `zensical.toml`, `docs/` and `docs/pt/`. A page gets what its author need not
write: a description, and in Portuguese the anchors and the links of the English page.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .translations import Docs, headings, join, split
from .versions import STABLE

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "build" / "docs"
CONFIG = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
PORTUGUESE = tomllib.loads((ROOT / "docs" / "pt" / "site.toml").read_text())
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
SITE_URL = os.environ.get("DOCS_URL", URLS["Documentation"]).rstrip("/") + "/"
STABLE_URL = f"{SITE_URL}{STABLE}/"
DOCS = Docs(ROOT / "docs", tuple(CONFIG["extra"]["english_only"]))
LINK = re.compile(r"(?P<start>\]\()(?P<path>[^)\s:#]+\.md)(?P<rest>[^)]*\))")
PICTURE = re.compile(
    r"^!\[(?P<alt>[^\]]*)\]\((?:\.\./)*assets/(?P<name>[\w-]+)\.svg\)$", flags=re.M
)
LENGTH = 160
"""Of a description, in characters: what a search engine shows."""


def write(version: str, release: str) -> dict[str, Path]:
    """Write the sources anew, and say where: the folder of each language.

    `release` is the number of the stable version, empty before there is one.
    """
    shutil.rmtree(SOURCES, ignore_errors=True)
    return {language: _write(language, version, release) for language in ("en", "pt")}


def _write(language: str, version: str, release: str) -> Path:
    folder = SOURCES / language
    pages = folder / "docs"
    for page in DOCS.pages():
        text = english(page) if language == "en" else portuguese(page)
        if text is not None:
            (pages / page).parent.mkdir(parents=True, exist_ok=True)
            (pages / page).write_text(text)
    shutil.copytree(DOCS.folder / "assets", pages / "assets")
    if language == "pt" and (DOCS.portuguese / "assets").exists():
        shutil.copytree(DOCS.portuguese / "assets", pages / "assets", dirs_exist_ok=True)
    (folder / "zensical.toml").write_text(
        f"project = {toml(settings(language, version, release))}\n"
    )
    return folder


def english(page: str) -> str:
    """An English page as the generator reads it."""
    fields, body = split((DOCS.folder / page).read_text())
    if DOCS.is_english_only(page) or page in DOCS.listed():
        fields["only"] = "true"
    return join({"description": json.dumps(description(body)), **fields}, _drawn(body, DOCS.folder))


def portuguese(page: str) -> str | None:
    """A page of the Portuguese site; one that nobody has translated is the English one."""
    if DOCS.is_english_only(page):
        return None
    path = DOCS.portuguese / page
    _, original = split((DOCS.folder / page).read_text())
    if path.exists():
        fields, body = split(path.read_text())
        body = _with_anchors(body, original)
    else:
        fields, body = {"untranslated": "true"}, original
    body = LINK.sub(lambda found: _to_english(page, found), body)
    fields = {"description": json.dumps(description(body)), **fields}
    return join(fields, _drawn(body, DOCS.portuguese))


def description(body: str) -> str:
    """A page's first paragraph, without its markup."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", body))
    prose = (part for part in paragraphs if re.match(r"[\w`*\"'(\[]", part) and "```" not in part)
    text = next(prose, CONFIG["site_description"])
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[`*]|<[^>]+>", "", text).replace('"', "'")  # it will stand in an attribute
    if len(text) <= LENGTH:
        return text
    sentences = text[: LENGTH + 1].rpartition(". ")[0]
    return (
        f"{sentences}."
        if len(sentences) > LENGTH / 2
        else text[: LENGTH - 2].rpartition(" ")[0] + " …"
    )


def _with_anchors(body: str, original: str) -> str:
    """The body, whose headings have the anchors of the English ones: a link leads to either."""
    import markdown  # comes with the generator, which the tests do not need

    reader = markdown.Markdown(extensions=["attr_list", "toc"])
    reader.convert("\n\n".join(f"{'#' * one.level} {one.text}" for one in headings(original)))
    anchors = list(_anchors(reader.toc_tokens))
    lines = body.split("\n")
    for heading, anchor in zip(headings(body), anchors, strict=True):
        lines[heading.line] += f" {{#{anchor}}}"
    return "\n".join(lines)


def _drawn(body: str, folder: Path) -> str:
    """The body with the pictures of `tools/pictures.py` in it, so that they follow the page's
    switch of light and dark, which an image cannot."""

    def draw(found: re.Match[str]) -> str:
        path = folder / "assets" / f"{found['name']}.svg"
        if not path.exists() or 'class="picture"' not in (text := path.read_text().strip()):
            return found[0]
        text = re.sub("<style>.*?</style>", "", text)
        label = html.escape(found["alt"])
        text = text.replace('role="img"', f'role="img" aria-label="{label}"', 1)
        return f'<figure class="drawing" tabindex="0">{text}</figure>'

    return PICTURE.sub(draw, body)


def _anchors(tokens: list[dict[str, Any]]) -> Iterator[str]:
    for token in tokens:
        yield token["id"]
        yield from _anchors(token["children"])


def _to_english(page: str, found: re.Match[str]) -> str:
    """A link of a Portuguese page; one to a page that is in English only leads to that site."""
    target = os.path.normpath(PurePosixPath(page).parent / found["path"])
    if not DOCS.is_english_only(target):
        return found[0]
    up = "../" * len(PurePosixPath(page).parts)
    return f"{found['start']}{up}{target.removesuffix('.md')}.html{found['rest']}"


def settings(language: str, version: str, release: str) -> dict[str, Any]:
    """The generator's configuration for a language. Addresses are those of the stable version."""
    theme = {**CONFIG["theme"], "custom_dir": str(ROOT / "tools/docsite/theme")}
    extra = {**CONFIG["extra"], "alternate": True, "scope": urlsplit(SITE_URL).path}
    extra |= {"edition": version, "release": release}
    plugins = {**CONFIG["plugins"]}
    python = plugins["mkdocstrings"]["handlers"]["python"]
    handler = {**python, "paths": [str(ROOT)]}
    handler["options"] = {**python["options"], "extensions": [str(ROOT / "tools/docstrings.py")]}
    plugins["mkdocstrings"] = {"handlers": {"python": handler}}
    made = {**CONFIG, "site_url": STABLE_URL, "theme": theme, "extra": extra, "plugins": plugins}
    made["exclude_docs"] = ""
    if language == "pt":
        made["site_url"] = f"{STABLE_URL}pt/"
        made["edit_uri"] = f"{CONFIG['edit_uri']}/pt"
        made["site_description"] = PORTUGUESE["description"]
        made["theme"] = {**theme, "language": "br", "palette": list(_palette(theme["palette"]))}
        made["nav"] = portuguese_nav(CONFIG["nav"])
        del plugins["mkdocstrings"]  # what it documents is in English
    return made


def _palette(palette: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for entry in palette:
        toggle = entry["toggle"]
        yield {**entry, "toggle": {**toggle, "name": PORTUGUESE["titles"][toggle["name"]]}}


def portuguese_nav(nav: list[Any]) -> list[Any]:
    """The navigation with Portuguese titles; pages in English only are linked where they are."""
    made: list[Any] = []
    for entry in nav:
        title, target = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        if isinstance(target, list):
            target = portuguese_nav(target)
        elif DOCS.is_english_only(target):
            target = f"../{target.removesuffix('.md')}.html"
        made.append({portuguese_title(title): target} if title else target)
    return made


def portuguese_title(title: str) -> str:
    if title not in PORTUGUESE["titles"]:
        raise SystemExit(f"docs/pt/site.toml: has no Portuguese for the title {title!r}: add it")
    return str(PORTUGUESE["titles"][title])


def llms_txt() -> str:
    """What a language model is told of the site: each page, in the navigation's order."""
    lines = [
        f"# {CONFIG['site_name']}",
        f"> {CONFIG['site_description']}",
        f"A short guide for writing code with it: {SITE_URL}agents.md (in the wheel: "
        "messaging/AGENTS.md). The same pages in Portuguese: " + STABLE_URL + "pt/index.html",
    ]
    return "\n\n".join([*lines, *_listed(CONFIG["nav"], "Start")]) + "\n"


def _listed(nav: list[Any], section: str) -> Iterator[str]:
    here: list[str] = []
    below: list[str] = []
    for entry in nav:
        title, target = next(iter(entry.items())) if isinstance(entry, dict) else (section, entry)
        if isinstance(target, list):
            below += _listed(target, title)
        elif not target.startswith("http"):
            _, body = split((DOCS.folder / target).read_text())
            url = STABLE_URL + target.removesuffix(".md") + ".html"
            here.append(f"- [{title}]({url}): {description(body)}")
    if here:
        yield f"## {section}\n\n" + "\n".join(here)
    yield from below


def toml(value: Any) -> str:
    """A value as TOML writes it, all in one line."""
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
