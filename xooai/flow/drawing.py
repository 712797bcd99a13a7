"""Pictures of a graph: in text, from left to right, and in Mermaid's language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import permutations

from xooai.binding import INPUT
from xooai.flow.columns import START, Cell, Columns
from xooai.flow.terminal_text import cells, centred, columns, cut, printable
from xooai.graph import Graph

__all__ = ["drawn", "mermaid"]

_NODES = 40  # more are listed: nobody finds his way through such a picture
_WIDTH = 200  # columns of a wide terminal
_BOX = 4  # rows from one box to the next
_LANE = 3  # columns from one upright line to the next
_LABEL = 32  # columns of an id: a longer one is cut


def drawn(name: str, graph: Graph) -> str:
    """The graph as text: a picture, or its edges one a line where a picture would be too large or could be misread."""
    if not graph.nodes:
        return f"{name}: no nodes"
    if len(graph.nodes) <= _NODES:
        try:
            picture = _Picture(name, Columns(graph)).text()
        except CycleError:  # lines would have to cross so that nobody could tell which is which
            return _listed(name, graph)
        if max(map(columns, picture.splitlines())) <= _WIDTH:
            return picture
    return _listed(name, graph)


def _listed(name: str, graph: Graph) -> str:
    lines = []
    for id in graph.order():
        needs = [name if need == INPUT else need for need in graph.nodes[id].needs or (INPUT,)]
        lines.append(f"{', '.join(needs)} -> {id}")
    return "\n".join([*lines, f"{', '.join(graph.leaves())} -> {name}"])


class _Line:
    """Several sources that lead to the same targets: rows on the left, rows on the right."""

    def __init__(self, sources: Sequence[Cell], targets: Sequence[Cell], rows: Mapping[Cell, int]) -> None:
        self.left = {rows[cell]: cell for cell in sources}
        self.right = {rows[cell]: cell for cell in targets}
        self.is_straight = len(self.left) == 1 and self.left.keys() == self.right.keys()


class _Picture:
    def __init__(self, name: str, columns: Columns) -> None:
        self._name, self._columns = name, columns
        most = max(map(len, columns.cells))
        self._grid: list[dict[int, str]] = [{} for _ in range(_BOX * most - 1)]
        self._rows = {
            cell: (_BOX * (most - len(column))) // 2 + _BOX * index + 1
            for column in columns.cells
            for index, cell in enumerate(column)
        }

    def text(self) -> str:
        """The picture. Raises CycleError where lines cannot be drawn so that they are told apart."""
        at = 0
        for place, column in enumerate(self._columns.cells):
            width = max((columns(self._label(cell)) + 6 for cell in column if cell.is_box), default=1)
            for cell in column:
                self._draw_cell(cell, at, width)
            at += width
            if place < len(self._columns.links):
                at += self._draw_gap(place, at)
        return "\n".join(self._written())

    def _written(self) -> Iterator[str]:
        for row in self._grid:
            yield "".join(row.get(column, " ") for column in range(max(row, default=-1) + 1)).rstrip()

    def _label(self, cell: Cell) -> str:
        return cut(printable(self._name if cell.is_flow else cell.id), _LABEL)

    def _draw_cell(self, cell: Cell, at: int, width: int) -> None:
        row = self._rows[cell]
        if not cell.is_box:
            self._put(row, at, "-" * width)
            return
        edge = f"+{'-' * (width - 2)}+"
        self._put(row - 1, at, edge)
        self._put(row, at, f"|{centred(self._label(cell), width - 2)}|")
        self._put(row + 1, at, edge)

    def _draw_gap(self, place: int, at: int) -> int:
        """Draw what leads from one column to the next; return how wide it is."""
        lines = [_Line(*group, self._rows) for group in self._columns.groups(place)]
        lanes = _lanes(lines)
        width = 4 + _LANE * len(lanes) if lanes else 4
        end = at + width
        for line in lines:
            lane = at + _LANE * (lanes.index(line) + 1) if line in lanes else at
            for row, cell in line.left.items():
                self._put(row, at, (" " if cell.is_box else "-") + "-" * (lane - at))
            for row, cell in line.right.items():
                self._put(row, lane + 1, "-" * (end - lane - 3) + ("> " if cell.is_box else "--"))
        for number, line in enumerate(lanes, 1):
            members = {*line.left, *line.right}
            for row in range(min(members), max(members) + 1):
                self._put(row, at + _LANE * number, "+" if row in members else "|")
        return width

    def _put(self, row: int, at: int, text: str) -> None:
        self._grid[row].update(enumerate(cells(text), at))


def _lanes(lines: Sequence[_Line]) -> list[_Line]:
    """The upright lines from left to right, so that none is met where it could be taken for another. Raises CycleError.

    What comes to a target passes what is right of it there: that may lead to nothing else.
    """
    before: dict[int, list[int]] = {index: [] for index in range(len(lines))}
    for (index, line), (other, left) in permutations(enumerate(lines), 2):
        shared = line.right.keys() & left.right.keys()
        if left.left.keys() & line.right.keys() or (shared and len(left.right) > 1):
            before[index].append(other)
    return [lines[index] for index in TopologicalSorter(before).static_order() if not lines[index].is_straight]


def mermaid(name: str, graph: Graph) -> str:
    """The graph as a flowchart of Mermaid."""
    numbers = {id: f"n{number}" for number, id in enumerate(graph.nodes)}
    lines = ["flowchart LR", f"    start([{_quoted(name)}])", f"    stop([{_quoted(name)}])"]
    lines += [f"    {number}[{_quoted(id)}]" for id, number in numbers.items()]
    for id, node in graph.nodes.items():
        lines += [f"    {numbers.get(need, 'start')} --> {numbers[id]}" for need in node.needs or (START.id,)]
    return "\n".join([*lines, *(f"    {numbers[leaf]} --> stop" for leaf in graph.leaves())])


def _quoted(text: str) -> str:
    """A label: Mermaid reads entities in it, numbered as HTML's."""
    return (
        '"' + "".join(letter if letter.isalnum() or letter in " _-./" else f"#{ord(letter)};" for letter in text) + '"'
    )
