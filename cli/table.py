"""Plain tables: text to the left, numbers to the right, on a terminal at most 100 columns."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 100
GAP = "  "
CELL_MIN = 6
"""A column is not made narrower than this."""


def table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], width: float = WIDTH
) -> list[str]:
    """Return the lines of a table; the widest columns give way if it would be too wide."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [
        max(len(line[column]) for line in [list(headings), *cells])
        for column in range(len(headings))
    ]
    room = width - len(GAP) * (len(headings) - 1)
    while sum(widths) > room and max(widths) > CELL_MIN:
        widths[widths.index(max(widths))] -= 1
    numeric = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in range(len(headings))
    ]
    return [
        GAP.join(
            _fit(cell, width, right=number)
            for cell, width, number in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in [list(headings), *cells]
    ]


def _text(cell: object) -> str:
    text = f"{cell:g}" if isinstance(cell, float) else str(cell)
    return " ".join(text.split())


def _fit(text: str, width: int, *, right: bool) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)
