"""A graph in columns, for drawing: each node right of all that it needs, and what passes columns by."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from xooai.binding import INPUT
from xooai.graph import Graph

__all__ = ["END", "START", "Cell", "Columns"]


class Cell(msgspec.Struct, frozen=True):
    """What stands in a column: a node, the Flow itself at either end, or the line of a node that passes."""

    id: str
    passes: int = 0
    """The column that is passed; 0 for a box."""
    is_flow: bool = False

    @property
    def is_box(self) -> bool:
        return not self.passes


START, END = Cell(INPUT, is_flow=True), Cell("", is_flow=True)


class Columns:
    """`cells` by column, the Flow itself in the first and the last; `links` from each column to the next."""

    def __init__(self, graph: Graph) -> None:
        depths: dict[str, int] = {INPUT: 0}
        for id in graph.order():
            depths[id] = 1 + max(depths.get(need, 0) for need in graph.nodes[id].needs or (INPUT,))
        last = 1 + max(depths.values())
        self.cells: list[list[Cell]] = [[] for _ in range(last + 1)]
        self.links: list[dict[Cell, list[Cell]]] = [{} for _ in range(last)]
        self.cells[0], self.cells[last] = [START], [END]
        for id in graph.nodes:
            self.cells[depths[id]].append(Cell(id))
        for id, node in graph.nodes.items():
            for need in node.needs or (INPUT,):
                self._link(need if need in depths else INPUT, depths, Cell(id), depths[id])
        for leaf in graph.leaves():
            self._link(leaf, depths, END, last)
        for place in range(1, last):
            self._sort(place)

    def groups(self, place: int) -> Iterator[tuple[list[Cell], list[Cell]]]:
        """The cells of a column that lead to the same ones of the next, with these."""
        found: dict[frozenset[Cell], list[Cell]] = {}
        for source, targets in self.links[place].items():
            found.setdefault(frozenset(targets), []).append(source)
        return ((sources, list(targets)) for targets, sources in found.items())

    def _link(self, source: str, depths: dict[str, int], target: Cell, until: int) -> None:
        """Lead from a node to a cell of the column `until`, passing those between."""
        first = depths[source]
        cell = START if source == INPUT else Cell(source)
        for place in range(first, until):
            following = target if place + 1 == until else Cell(source, place + 1)
            if not following.is_box and following not in self.cells[place + 1]:
                self.cells[place + 1].append(following)
            targets = self.links[place].setdefault(cell, [])
            if following not in targets:
                targets.append(following)
            cell = following

    def _sort(self, place: int) -> None:
        """Put cells near those that lead to them."""
        rows = {cell: row for row, cell in enumerate(self.cells[place - 1])}
        leading: dict[Cell, list[int]] = {}
        for source, targets in self.links[place - 1].items():
            for target in targets:
                leading.setdefault(target, []).append(rows[source])
        self.cells[place].sort(key=lambda cell: sum(leading[cell]) / len(leading[cell]))
