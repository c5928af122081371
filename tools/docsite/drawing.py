"""A pen for the site's pictures: boxes, arrows and words on a canvas, in either language, as SVG.

The look is in `COLOURS` and `STYLE`, once for a picture that stands alone and once for a page that
holds it, where it follows the page's own switch of light and dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

__all__ = ["Drawing", "Words", "stylesheet"]

Words = str | tuple[str, str]
"""What is written, the same in both languages or in English and in Portuguese."""
Point = tuple[float, float]
SIZES = {"": 14.0, "title": 15.0, "soft": 12.5, "mono": 12.5, "small": 11.5, "warm": 12.5}
WIDTH = {"mono": 0.62, "small": 0.62, "title": 0.58}
"""Of a letter, as a part of its size: of the two kinds with equal letters, and of bold ones."""

COLOURS = {
    "light": "--ink:#16282d;--soft:#4a5d63;--line:#7c9298;--card:#fff;--tint:#e4f2f3;"
    "--brand:#0b6470;--warm:#9a3412;--heat:#fdeee4",
    "dark": "--ink:#e8f0f2;--soft:#b3c3c8;--line:#7b9198;--card:#14212b;--tint:#0f3238;"
    "--brand:#6fd0dc;--warm:#ffb48a;--heat:#3d2418",
}
STYLE = (
    ".picture{font:14px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    ".picture text{fill:var(--ink)}"
    ".picture .title{font-size:15px;font-weight:600}"
    ".picture .soft{font-size:12.5px;fill:var(--soft)}"
    ".picture .warm{font-size:12.5px;fill:var(--warm)}"
    ".picture .mono,.picture .small{font-family:ui-monospace,'SFMono-Regular',Menlo,monospace}"
    ".picture .mono{font-size:12.5px}"
    ".picture .small{font-size:11.5px}"
    ".picture rect,.picture path{stroke:var(--line);stroke-width:1.3;fill:none}"
    ".picture .card{fill:var(--card)}"
    ".picture .tint{fill:var(--tint);stroke:var(--brand)}"
    ".picture .heat{fill:var(--heat);stroke:var(--warm)}"
    ".picture .dash{stroke-dasharray:5 4}"
    ".picture .brand{stroke:var(--brand);stroke-width:1.8}"
    ".picture .hot{stroke:var(--warm);stroke-width:1.8}"
    ".picture polygon{fill:var(--line)}"
    ".picture polygon.brand{fill:var(--brand)}"
    ".picture polygon.hot{fill:var(--warm)}"
    ".picture .dot{fill:var(--brand);offset-distance:100%}"
    "@keyframes fan{0%{offset-distance:0}85%,100%{offset-distance:100%}}"
    # Twice, which is less than the five seconds after which a page needs a button to stop it; and
    # again for as long as somebody points at it.
    "@media (prefers-reduced-motion:no-preference){"
    ".picture .dot{animation:fan 2.4s ease-in-out 2}"
    ".picture:hover .dot{animation:fan 2.4s ease-in-out infinite}}"
)


def stylesheet() -> str:
    """What a page needs that holds pictures, one rule in a line."""
    rules = (
        f".picture{{{COLOURS['light']}}}"
        f"[data-md-color-scheme=slate] .picture{{{COLOURS['dark']}}}"
        f"@media print{{[data-md-color-scheme] .picture{{{COLOURS['light']}}}}}{STYLE}"
    )
    return "/* Written by tools/pictures.py */\n" + rules.replace("}", "}\n")


class Drawing:
    """A canvas. What is written twice as wide as its place raises, in each language."""

    def __init__(self, width: float, height: float, language: int) -> None:
        self.width, self.height, self.language = width, height, language
        self.parts: list[str] = []

    def say(self, words: Words) -> str:
        return words if isinstance(words, str) else words[self.language]

    def text(
        self,
        x: float,
        y: float,
        words: Words,
        kind: str = "",
        *,
        at: str = "start",
        room: float = 0,
    ) -> None:
        """A line of words, beside a point; `room` is how wide it may be."""
        said = self.say(words)
        if room and (wide := self.breadth(said, kind)) > room:
            raise ValueError(f"{said!r} is {wide:.0f} wide, and there is room for {room:.0f}")
        anchor = f' text-anchor="{at}"' if at != "start" else ""
        name = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{anchor}{name}>{escape(said)}</text>')

    def across(self, y: float, words: Words) -> None:
        """A soft line in the middle of the drawing, which has to fit between its sides."""
        self.text(self.width / 2, y, words, "soft", at="middle", room=self.width - 10)

    def breadth(self, words: Words, kind: str = "") -> float:
        return len(self.say(words)) * SIZES[kind] * WIDTH.get(kind, 0.53)

    def box(self, x: float, y: float, w: float, h: float, kind: str = "card") -> None:
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="7" class="{kind}"/>'
        )

    def card(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        title: Words,
        lines: Sequence[Words] = (),
        kind: str = "card",
    ) -> None:
        """A box with a title in its middle, and softer lines below it."""
        self.box(x, y, w, h, kind)
        first = y + h / 2 + 5 - 8.5 * len(lines)
        self.text(x + w / 2, first, title, "title", at="middle", room=w - 8)
        for number, line in enumerate(lines, start=1):
            self.text(x + w / 2, first + 17 * number, line, "soft", at="middle", room=w - 6)

    def chips(
        self, x: float, y: float, w: float, names: Iterable[str], kind: str = "card"
    ) -> float:
        """Names in small boxes, in as many rows as they need; says where the last row ends."""
        left = x
        for name in names:
            wide = self.breadth(name, "small") + 12
            if left + wide > x + w:
                left, y = x, y + 26
            self.box(left, y, wide, 21, kind)
            self.text(left + 6, y + 15, name, "small")
            left += wide + 5
        return y + 21

    def arrow(
        self, *points: Point, kind: str = "", words: Words = "", head: bool = True, lift: float = 7
    ) -> None:
        """A line through the points, and a word above the middle of its longest part."""
        way = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path d="{way}" class="{kind}"/>')
        (x0, y0), (x1, y1) = points[-2:]
        if head:
            length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 or 1
            dx, dy = (x1 - x0) / length, (y1 - y0) / length
            back = (x1 - 9 * dx, y1 - 9 * dy)
            corners = [
                (x1, y1),
                (back[0] - 4 * dy, back[1] + 4 * dx),
                (back[0] + 4 * dy, back[1] - 4 * dx),
            ]
            spelled = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            self.parts.append(f'<polygon points="{spelled}" class="{kind}"/>')
        if words:
            (x0, y0), (x1, y1) = max(
                pairwise(points),
                key=lambda leg: abs(leg[0][0] - leg[1][0]) + abs(leg[0][1] - leg[1][1]),
            )
            if abs(x1 - x0) >= abs(y1 - y0):
                self.text((x0 + x1) / 2, (y0 + y1) / 2 - lift, words, "soft", at="middle")
            else:
                self.text(x0 + 8, (y0 + y1) / 2 + 4, words, "soft")

    def dot(self, *points: Point) -> None:
        """A dot that runs along a line, or stands at its end."""
        way = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<circle r="5" class="dot" style="offset-path:path(\'{way}\')"/>')

    def svg(self) -> str:
        """The picture as a file of its own."""
        light, dark = (f".picture{{{COLOURS[name]}}}" for name in ("light", "dark"))
        style = f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'class="picture" role="img"><style>{style}{STYLE}</style>{"".join(self.parts)}</svg>\n'
        )
