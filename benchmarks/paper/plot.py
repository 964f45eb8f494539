"""Draws small plots side by side as SVG text, with nothing but strings.

Every panel has the same axes, so that they can be compared by looking. Numbers are rounded to a
tenth of a pixel: a file of a few hundred steps stays small enough for the repository.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from xml.sax.saxutils import escape

SVG = "http://www.w3.org/2000/svg"
PANEL_WIDTH, PANEL_HEIGHT = 240, 170
GAP_X, GAP_Y = 28, 50
LEFT, TOP, BOTTOM, RIGHT = 56, 62, 40, 14
INK, FAINT = "#333333", "#dddddd"
TICKS = 4
STEPS = (0.1, 0.2, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class Line:
    """Points to be joined in steps: what was reached stays reached until the next point."""

    label: str
    colour: str
    points: list[tuple[float, float]]


@dataclass(slots=True)
class Panel:
    """One plot. ``marks`` are times to draw a dashed line at."""

    title: str
    lines: list[Line] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Picture:
    """All panels, row by row, and what the axes say."""

    title: str
    x_label: str
    y_label: str
    rows: list[list[Panel]]

    def svg(self) -> str:
        """The picture as one SVG document."""
        columns = max(len(row) for row in self.rows)
        width = LEFT + columns * PANEL_WIDTH + (columns - 1) * GAP_X + RIGHT
        height = TOP + len(self.rows) * (PANEL_HEIGHT + GAP_Y) - GAP_Y + BOTTOM
        head = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        parts = [
            f'<svg xmlns="{SVG}" {head} font-family="sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(LEFT, 18, self.title, size=14, anchor="start"),
            *self._legend(),
        ]
        x_max = max(
            at for panel in self._panels() for line in panel.lines for at, _ in line.points
        )
        for place, row in enumerate(self.rows):
            top = TOP + place * (PANEL_HEIGHT + GAP_Y)
            for column, panel in enumerate(row):
                left = LEFT + column * (PANEL_WIDTH + GAP_X)
                parts += _Axes(left, top, _round_up(x_max)).draw(panel)
            middle = top + PANEL_HEIGHT / 2
            turn = f' transform="rotate(-90 14 {middle:g})"'
            parts.append(_text(14, middle, self.y_label, more=turn))
        parts.append(_text(width / 2, height - 6, self.x_label))
        return "\n".join([*parts, "</svg>", ""])

    def _panels(self) -> list[Panel]:
        return list(chain.from_iterable(self.rows))

    def _legend(self) -> list[str]:
        """A line and its label, once for each label."""
        colours = {line.label: line.colour for panel in self._panels() for line in panel.lines}
        parts, x = [], LEFT
        for label, colour in colours.items():
            parts.append(
                f'<path d="M{x} 34h22" stroke="{colour}" stroke-width="2.5" fill="none"/>'
            )
            parts.append(_text(x + 28, 38, label, anchor="start"))
            x += 44 + 6 * len(label)
        return parts


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a panel is, and how its numbers become places."""

    left: float
    top: float
    x_max: float

    def draw(self, panel: Panel) -> list[str]:
        y_max = max(value for line in panel.lines for _, value in line.points)
        bottom = self.top + PANEL_HEIGHT
        parts = [
            _text(self.left + PANEL_WIDTH / 2, self.top - 6, panel.title, size=12),
            *self._grid(y_max),
            f'<path d="M{self.left} {self.top}V{bottom}h{PANEL_WIDTH}" stroke="{INK}" fill="none"/>',
        ]
        for at, colour in panel.marks:
            parts.append(
                f'<path d="M{self._x(at)} {self.top}V{bottom}" stroke="{colour}" '
                'stroke-dasharray="3 3" fill="none"/>'
            )
        for line in panel.lines:
            d = self._steps(line, y_max)
            parts.append(
                f'<path d="{d}" stroke="{line.colour}" stroke-width="1.8" fill="none"/>'
            )
        return parts

    def _grid(self, y_max: float) -> list[str]:
        parts = []
        bottom = self.top + PANEL_HEIGHT
        for tick in range(TICKS + 1):
            x_value, y_value = self.x_max * tick / TICKS, y_max * tick / TICKS
            x, y = self._x(x_value), self._y(y_value, y_max)
            parts.append(f'<path d="M{self.left} {y}h{PANEL_WIDTH}" stroke="{FAINT}"/>')
            parts.append(_text(self.left - 5, y + 4, f"{y_value:.3g}", anchor="end"))
            parts.append(_text(x, bottom + 14, f"{x_value:.3g}"))
        return parts

    def _steps(self, line: Line, y_max: float) -> str:
        words = [f"M{self._x(0)} {self._y(0, y_max)}"]
        for at, value in line.points:
            words.append(f"H{self._x(at)}V{self._y(value, y_max)}")
        return "".join(words)

    def _x(self, value: float) -> float:
        return round(self.left + value / self.x_max * PANEL_WIDTH, 1)

    def _y(self, value: float, y_max: float) -> float:
        return round(self.top + (1 - value / y_max) * PANEL_HEIGHT, 1)


def _round_up(value: float) -> float:
    """The next number whose quarters read well."""
    for step in STEPS:
        if step * TICKS >= value:
            return step * TICKS
    return value


def _text(  # noqa: PLR0913  all but three by name
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "middle", more: str = ""
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{INK}"{more}>{escape(text)}</text>'
    )
