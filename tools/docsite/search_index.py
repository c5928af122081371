"""The index of the site's search, so that guides come before the names of the API.

The search ranks a page by how early the words stand in its title, and then in its path. So a page
is entered by its title in the navigation, which begins with the term, and a name of the API by its
whole dotted name, which does not.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .sources import DOCS, PORTUGUESE

DOTTED = re.compile(r"#(messaging(?:\.\w+)+)$")
NAME = re.compile(r"^[\w.]+")


def improve(site: Path) -> None:
    """Write a language's index again, for the search and for the one that is read from disk."""
    path = site / "search.json"
    index = json.loads(path.read_text())
    for item in index["items"]:
        _improve(item)
    text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text)
    (site / "search.js").write_text(f"var __index = {text};")


def translate(site: Path) -> None:
    """Put Portuguese where the theme's script has English words of its own."""
    (script,) = site.glob("assets/javascripts/bundle.*.js")
    text = script.read_text()
    for english, portuguese in PORTUGUESE["search"].items():
        found = json.dumps(english)
        if found not in text:
            raise SystemExit(f"docs/pt/site.toml: the theme's search no longer says {found}")
        text = text.replace(found, json.dumps(portuguese))
    script.write_text(text)


def _improve(item: dict[str, Any]) -> None:
    page, _, anchor = item["location"].partition("#")
    if DOCS.is_english_only(page):
        if found := DOTTED.search(item["location"]):
            item["title"] = NAME.sub(found[1], item["title"], count=1)
    elif not anchor and len(item["path"]) > 1 and item["path"][-1] != item["title"]:
        item["text"] = f"<p>{item['title']}</p> {item['text']}"
        item["title"] = item["path"][-1]
