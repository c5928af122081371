"""The catalogue for human readers: for each event, a table of fields by services."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from messaging.contract.catalogue import Catalogue, View
from messaging.projection import EVERYONE

__all__ = ["html_page", "markdown_page"]

_EVERYONE = "every service"
_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 2rem }
th, td { border: 1px solid #8884; padding: .3rem .7rem; text-align: left }
td.yes { background: #2e7d3222 } .scroll { overflow-x: auto }
:root { color-scheme: light dark }"""


def markdown_page(catalogue: Catalogue) -> str:
    """The page as Markdown.

    Args:
        catalogue: the producer's contract.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.page import markdown_page

        page = markdown_page(catalogue_of([AlunoCadastrado], topic="alunos"))
        assert "marketing" in page
        ```
    """
    lines = [f"# {_md(_title(catalogue))}", ""]
    for type, about, rows in _tables(catalogue):
        lines += [f"## {_md(type)}", ""]
        lines += [f"- {_md(one)}" for one in about] + [""]
        head, *body = rows
        lines.append(_row(head))
        lines.append(_row(["---"] * len(head), raw=True))
        lines += [_row(row) for row in body]
        lines.append("")
    return "\n".join(lines)


def html_page(catalogue: Catalogue) -> str:
    """The page as HTML: a single file that needs no other files and no network.

    Args:
        catalogue: the producer's contract.

    Example:
        ```python
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.page import html_page

        page = html_page(catalogue_of([AlunoCadastrado], topic="alunos"))
        ```
    """
    title = escape(_title(catalogue))
    parts = [
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">',
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>",
    ]
    for type, about, rows in _tables(catalogue):
        parts.append(f"<h2>{escape(type)}</h2>\n<ul>")
        parts += [f"<li>{escape(one)}</li>" for one in about]
        head, *body = rows
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
        parts.append(
            f'</ul>\n<div class="scroll"><table>\n<thead><tr>{cells}</tr></thead>\n<tbody>'
        )
        parts += [f"<tr>{_cells(row)}</tr>" for row in body]
        parts.append("</tbody></table></div>")
    return "\n".join([*parts, "</body>\n</html>"]) + "\n"


def _title(catalogue: Catalogue) -> str:
    return f"Who receives what: {catalogue.topic}"


def _tables(catalogue: Catalogue) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """For each event: its type, a sentence for each view, and the table with its header."""
    for type in catalogue.types:
        views = catalogue.of_type(type)
        services = sorted({name for view in views for name in view.audience})
        by_service = {name: view for view in views for name in view.audience}
        names = list(dict.fromkeys(name for view in views for name in view.fields))
        head = ["field", "personal data", *map(_service, services)]
        rows = [
            [name, _personal(views, name), *(_cell(by_service[one], name) for one in services)]
            for name in names
        ]
        about = [
            f"{', '.join(map(_service, view.audience))}: {view.name}, version {view.version}. "
            f"{view.about}".strip()
            for view in views
        ]
        yield type, about, [head, *rows]


def _service(name: str) -> str:
    return _EVERYONE if name == EVERYONE else name


def _personal(views: Sequence[View], field: str) -> str:
    marks = [mark for view in views if field in view.fields for mark in view.personal(field)]
    said = [f"{mark.get('category')}: {mark.get('about')}" for mark in marks]
    return "; ".join(dict.fromkeys(said)) or "-"


def _cell(view: View, field: str) -> str:
    return "yes" if field in view.fields else "never"


def _cells(row: Sequence[str]) -> str:
    first, *others = row
    marked = "".join(
        f'<td class="yes">{escape(cell)}</td>' if cell == "yes" else f"<td>{escape(cell)}</td>"
        for cell in others
    )
    return f'<th scope="row">{escape(first)}</th>{marked}'


def _row(cells: Sequence[str], *, raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else _md(cell) for cell in cells) + " |"


def _md(text: str) -> str:
    for sign in "\\|*_<>`[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
