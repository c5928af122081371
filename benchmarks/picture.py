"""Draws CPU per event as bars, in SVG, in English or in Portuguese."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import Figure, figures
from tools.docsite.drawing import Drawing, Words

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 720, 190, 80
BAR, GAP, TITLE = 16, 8, 34
WORKS: Mapping[str, tuple[str, str]] = {
    "publish": ("Publish", "Publicar"),
    "consume": ("Consume, sync handler", "Consumir, handler síncrono"),
    "consume-async": ("Consume, async handler", "Consumir, handler assíncrono"),
}
UNIT = ("CPU microseconds an event", "microssegundos de CPU por evento")


def draw(runs: Sequence[Mapping[str, Any]], language: int = 0) -> str:
    """An SVG document. The newest Python is shown: that is where every subject can run."""
    newest = max(
        (one["python"] for one in runs), key=lambda version: [int(n) for n in version.split(".")]
    )
    found = {
        title: {
            subject: figure
            for (subject, python), figure in figures(runs, work, "cpu_us").items()
            if python == newest
        }
        for work, title in WORKS.items()
    }
    return bars({title: figures for title, figures in found.items() if figures}, language)


def bars(works: Mapping[tuple[str, str], Mapping[str, Figure]], language: int) -> str:
    """One group of bars for each work."""
    height = sum(TITLE + len(found) * (BAR + GAP) + GAP for found in works.values())
    drawing = Drawing(WIDTH, height, language)
    y = 0
    for title, found in works.items():
        words: Words = (f"{title[0]}: {UNIT[0]}", f"{title[1]}: {UNIT[1]}")
        drawing.text(0, y + 20, words, "title", room=WIDTH)
        y += TITLE
        _bars(drawing, found, y)
        y += len(found) * (BAR + GAP) + GAP
    return drawing.svg()


def _bars(drawing: Drawing, found: Mapping[str, Figure], top: int) -> None:
    most = max(figure.values[-1] for figure in found.values())
    scale = (WIDTH - LEFT - RIGHT) / most
    for at, (subject, figure) in enumerate(sorted(found.items(), key=lambda item: item[1].median)):
        y = top + at * (BAR + GAP)
        colour = "brand" if subject.startswith("messaging") else "line"
        length = figure.median * scale
        low, high = (LEFT + value * scale for value in (figure.values[0], figure.values[-1]))
        drawing.text(LEFT - 8, y + 13, subject, "soft", at="end", room=LEFT - 8)
        drawing.parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" '
            f'style="fill:var(--{colour});stroke:none"/>'
            f'<path d="M{low:.1f} {y + BAR / 2:g}H{high:.1f}" style="stroke:var(--ink)"/>'
        )
        drawing.text(round(max(high, LEFT + length)) + 6, y + 13, f"{figure.median:.0f}", "soft")
