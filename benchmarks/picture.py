"""Draws CPU per event as bars, in SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.report import Figure, figures

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 720, 190, 80
BAR, GAP, TITLE = 16, 8, 34
WORKS: Mapping[str, str] = {
    "publish": "Publish",
    "consume": "Consume, sync handler",
    "consume-async": "Consume, async handler",
}
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.bar { fill: #9aa4b1 } .ours { fill: #2f6feb } .spread { stroke: #24292f }
@media (prefers-color-scheme: dark) {
  text { fill: #d6dbe1 } .bar { fill: #66707c } .ours { fill: #6b9bff } .spread { stroke: #d6dbe1 }
}
"""


def draw(runs: Sequence[Mapping[str, Any]]) -> str:
    """An SVG document. The newest Python is shown: that is where every subject can run."""
    newest = max(
        (one["python"] for one in runs), key=lambda version: [int(n) for n in version.split(".")]
    )
    y, parts = 0, []
    for work, title in WORKS.items():
        found = {
            subject: figure
            for (subject, python), figure in figures(runs, work, "cpu_us").items()
            if python == newest
        }
        if found:
            parts.append(_text(0, y + 20, f"{title}: CPU microseconds an event", "title"))
            y += TITLE
            parts.append(_bars(found, y))
            y += len(found) * (BAR + GAP) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">'
        f"<title>CPU microseconds for each event, by library (Python {newest})</title>"
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def _bars(found: Mapping[str, Figure], top: int) -> str:
    most = max(figure.values[-1] for figure in found.values())
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = []
    for at, (subject, figure) in enumerate(sorted(found.items(), key=lambda item: item[1].median)):
        y = top + at * (BAR + GAP)
        kind = "ours" if subject.startswith("messaging") else "bar"
        length = figure.median * scale
        low, high = (LEFT + value * scale for value in (figure.values[0], figure.values[-1]))
        parts.append(_text(LEFT - 8, y + 13, subject, anchor="end"))
        parts.append(
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}"/>'
            f'<line class="spread" x1="{low:.1f}" x2="{high:.1f}" y1="{y + BAR / 2:g}" '
            f'y2="{y + BAR / 2:g}"/>'
        )
        parts.append(_text(max(high, LEFT + length) + 6, y + 13, f"{figure.median:.0f}"))
    return "".join(parts)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'
