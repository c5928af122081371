"""The Portuguese pages: which English page each translates, and whether it still does.

`docs/pt/` holds a page at the path that its English page has in `docs/`. Its front matter bears
the hash of the English text it translates, so that a later change of that text shows. A page that
has no translation yet is listed in `docs/pt/untranslated.txt`; the site shows it in English.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

FRONT_MATTER = re.compile(r"\A---\n(?P<fields>.*?)^---\n+", flags=re.S | re.M)
FENCE = re.compile(r"^ *(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)$")
HEADING = re.compile(r"^(?P<level>#{1,6}) +(?P<text>.+?) *$")
COMMENT = re.compile(r"(^|\s)(#|//|--)(\s.*)?$")
PROSE = {"", "text", "mermaid"}
"""Blocks that people read and no machine does: pictures in letters. They may be translated."""
README = ("README.md", "README.pt-BR.md")
README_STAMP = re.compile(r"\A<!-- translates: (?P<hash>\w+) -->\n+")
STAMP = "python tools/docs.py stamp"


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    body: str


class Heading(NamedTuple):
    """A heading of a page, with the line that it stands on, counted from zero."""

    line: int
    level: int
    text: str


def split(text: str) -> tuple[dict[str, str], str]:
    """A page's front matter, as names and values of one line each, and the rest."""
    found = FRONT_MATTER.match(text)
    if found is None:
        return {}, text
    fields = (line.partition(": ") for line in found["fields"].splitlines() if line.strip())
    return {name: value.strip() for name, _, value in fields}, text[found.end() :]


def join(fields: dict[str, str], body: str) -> str:
    """A page again, of what `split` made of it."""
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"---\n{lines}---\n\n{body}" if fields else body


def fingerprint(text: str) -> str:
    """Twelve digits of the hash of an English page."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def headings(body: str) -> list[Heading]:
    """The headings of a page, in order, without what stands in its code."""
    return [part for part in _parts(body) if isinstance(part, Heading)]


def blocks(body: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [part for part in _parts(body) if isinstance(part, Block)]


def _parts(body: str) -> Iterator[Block | Heading]:
    marks, language, first, inside = "", "", 0, list[str]()
    for number, line in enumerate(body.splitlines()):
        fence = FENCE.match(line)
        if marks:
            if fence and fence["marks"].startswith(marks) and not fence["info"].strip():
                yield Block(first, language, "\n".join(inside))
                marks, inside = "", []
            else:
                inside.append(line.strip() if language != "python" else line)
        elif fence:
            marks, first = fence["marks"], number
            language = fence["info"].strip().split(" ")[0].split("{")[0]
        elif heading := HEADING.match(line):
            yield Heading(number, len(heading["level"]), heading["text"])


class Docs(NamedTuple):
    """The folder of the English pages, and the pages that are in English only."""

    folder: Path
    english_only: tuple[str, ...]

    @property
    def portuguese(self) -> Path:
        return self.folder / "pt"

    @property
    def untranslated(self) -> Path:
        return self.portuguese / "untranslated.txt"

    def pages(self) -> list[str]:
        """The English pages, by their path below the folder."""
        paths = (path.relative_to(self.folder) for path in sorted(self.folder.rglob("*.md")))
        return [path.as_posix() for path in paths if path.parts[0] != "pt"]

    def is_english_only(self, page: str) -> bool:
        return page.startswith(self.english_only)

    def listed(self) -> list[str]:
        """The pages that are listed as not translated yet."""
        lines = self.untranslated.read_text().splitlines() if self.untranslated.exists() else []
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def complaints(self) -> Iterator[str]:
        """What is wrong with the Portuguese pages, each with its remedy."""
        pages, listed = self.pages(), self.listed()
        here = self.untranslated.relative_to(self.folder.parent)
        for page in listed:
            if page not in pages:
                yield f"{here}: lists {page}, and there is no such page: remove the line"
            elif self.is_english_only(page):
                yield f"{here}: lists {page}, which stays in English: remove the line"
            elif (self.portuguese / page).exists():
                yield f"{here}: lists {page}, which has a translation: {STAMP} docs/pt/{page}"
        for page in pages:
            if self.is_english_only(page):
                continue
            if (self.portuguese / page).exists():
                english, text = ((top / page).read_text() for top in (self.folder, self.portuguese))
                yield from _differences(
                    f"docs/pt/{page}", f"docs/{page}", english, text, *split(text)
                )
            elif page not in listed:
                yield (
                    f"docs/{page} has no translation: write docs/pt/{page} (TRANSLATING.md says "
                    f"how), or list {page} in {here} until somebody does"
                )
        yield from self._complaints_of_readme()
        for path in sorted(self.portuguese.rglob("*.md")):
            page = path.relative_to(self.portuguese).as_posix()
            if page not in pages or self.is_english_only(page):
                yield (
                    f"docs/pt/{page}: translates no page: docs/{page} is not there, or stays in "
                    "English"
                )

    def stamp(self, page: str) -> None:
        """Record that a page's translation is one of its English text as it is now."""
        if page == README[0]:
            stamp = fingerprint((self.folder.parent / page).read_text())
            path = self.folder.parent / README[1]
            body = README_STAMP.sub("", path.read_text())
            path.write_text(f"<!-- translates: {stamp} -->\n\n{body}")
            return
        path = self.portuguese / page
        fields, body = split(path.read_text())
        fields["translates"] = fingerprint((self.folder / page).read_text())
        path.write_text(join(fields, body))
        if page in self.listed():
            lines = self.untranslated.read_text().splitlines(keepends=True)
            self.untranslated.write_text("".join(line for line in lines if line.strip() != page))

    def _complaints_of_readme(self) -> Iterator[str]:
        english, portuguese = (self.folder.parent / name for name in README)
        if not english.exists():
            return
        if not portuguese.exists():
            yield f"{README[0]} has no translation: write {README[1]}"
            return
        text = portuguese.read_text()
        found = README_STAMP.match(text)
        fields = {"translates": found["hash"]} if found else {}
        body = text[found.end() :] if found else text
        yield from _differences(README[1], README[0], english.read_text(), text, fields, body)
        for page in re.findall(r"\]\(docs/([^)#]+\.md)", text):
            if not page.startswith("pt/") and (self.portuguese / page).exists():
                yield f"{README[1]}: links to docs/{page}, which is in Portuguese: docs/pt/{page}"


def _differences(
    name: str, original: str, english: str, text: str, fields: dict[str, str], body: str
) -> Iterator[str]:
    """Where a translation is not one of the English page as it is now."""
    if "translates" not in fields:
        yield f"{name}: says of no English text that it translates it: {STAMP} {name}"
    elif fields["translates"] != fingerprint(english):
        yield (
            f"{name}: {original} has changed since it was translated: bring it up to date "
            f"(git log -p {original} shows what changed), then {STAMP} {name}"
        )
    _, prose = split(english)
    yield from _headings_differ(name, headings(prose), headings(body))
    before, above = english.count("\n", 0, -len(prose)), text.count("\n", 0, -len(body))
    wanted = [one._replace(line=one.line + before + 1) for one in blocks(prose)]
    found = [one._replace(line=one.line + above + 1) for one in blocks(body)]
    yield from _blocks_differ(name, wanted, found)


def _headings_differ(name: str, wanted: list[Heading], found: list[Heading]) -> Iterator[str]:
    for one, other in zip_longest(wanted, found):
        if one is None or other is None or one.level != other.level:
            text = f"{'#' * one.level} {one.text}" if one else "no more heading"
            place = f"{'#' * other.level} {other.text}" if other else "no heading"
            yield f"{name}: has {place!r} where the English page has {text!r}"
            return


def _blocks_differ(name: str, wanted: list[Block], found: list[Block]) -> Iterator[str]:
    for one, other in zip_longest(wanted, found):
        if one is None or other is None or one.language != other.language:
            text = f"```{one.language} (line {one.line})" if one else "no more block"
            place = f"```{other.language} (line {other.line})" if other else "no block"
            yield f"{name}: has {place} where the English page has {text}"
            return
        if one.language not in PROSE and _essence(one) != _essence(other):
            yield (
                f"{name}: the block of line {other.line} differs from the English one "
                f"(line {one.line}): only its comments are translated"
            )


def _essence(block: Block) -> str:
    """What a machine sees of a block."""
    if block.language == "python":
        return ast.dump(ast.parse(_dedented(block.body)))
    lines = (COMMENT.sub("", line).rstrip() for line in block.body.splitlines())
    return "\n".join(line for line in lines if line)


def _dedented(code: str) -> str:
    indent = min(
        (len(line) - len(line.lstrip()) for line in code.splitlines() if line.strip()), default=0
    )
    return "\n".join(line[indent:] for line in code.splitlines())
