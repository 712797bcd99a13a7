"""A picture of a graph as SVG, as notebooks show it: boxes from left to right, and a curve for each need."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from xooai.flow.columns import Cell, Columns
from xooai.graph import Graph

__all__ = ["svg"]

_LETTER = 8  # pixels, about, of one letter
_BOX = 34  # pixels: height of a box
_ROW = 54  # from one box to the next
_GAP = 60  # between two columns
_EDGE = 10  # around the picture
_LABEL = 40  # letters of an id: a longer one is cut


def svg(name: str, graph: Graph) -> str:
    """The graph as the text of an SVG, which asks for nothing from elsewhere."""
    return "".join(_Picture(name, Columns(graph)).parts())


class _Picture:
    def __init__(self, name: str, columns: Columns) -> None:
        self._name, self._columns = name, columns
        widths = [max((len(self._label(cell)) for cell in column), default=1) for column in columns.cells]
        self._widths = [letters * _LETTER + 24 for letters in widths]
        most = max(map(len, columns.cells))
        self._height = most * _ROW + 2 * _EDGE
        self._middle: dict[Cell, int] = {
            cell: _EDGE + ((most - len(column)) * _ROW) // 2 + row * _ROW + _ROW // 2
            for column in columns.cells
            for row, cell in enumerate(column)
        }
        self._left = [_EDGE + sum(self._widths[:place]) + place * _GAP for place in range(len(columns.cells))]

    def parts(self) -> Iterator[str]:
        width = self._left[-1] + self._widths[-1] + _EDGE
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {self._height}" width="{width}" '
            f'height="{self._height}" font-family="monospace" font-size="13" fill="none" stroke="currentColor">'
        )
        for place, links in enumerate(self._columns.links):
            for source, targets in links.items():
                for target in targets:
                    yield self._curve(place, source, target)
        for place, column in enumerate(self._columns.cells):
            for cell in column:
                yield self._cell(place, cell)
        yield "</svg>"

    def _label(self, cell: Cell) -> str:
        text = self._name if cell.is_flow else cell.id if cell.is_box else ""
        text = "".join(letter if letter.isprintable() else "?" for letter in text)
        return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."

    def _cell(self, place: int, cell: Cell) -> str:
        left, width, middle = self._left[place], self._widths[place], self._middle[cell]
        if not cell.is_box:
            return f'<path d="M{left} {middle}h{width}"/>'
        radius = _BOX // 2 if cell.is_flow else 4
        return (
            f'<rect x="{left}" y="{middle - _BOX // 2}" width="{width}" height="{_BOX}" rx="{radius}"/>'
            f'<text x="{left + width // 2}" y="{middle + 4}" text-anchor="middle" fill="currentColor" stroke="none">'
            f"{escape(self._label(cell))}</text>"
        )

    def _curve(self, place: int, source: Cell, target: Cell) -> str:
        """From the right side of one cell to the left side of another, with a head where that is a box."""
        start, end = self._left[place] + self._widths[place], self._left[place + 1]
        above, below, half = self._middle[source], self._middle[target], (start + end) // 2
        head = f"M{end - 6} {below - 4}L{end} {below}L{end - 6} {below + 4}" if target.is_box else ""
        return f'<path d="M{start} {above}C{half} {above} {half} {below} {end} {below}{head}"/>'
