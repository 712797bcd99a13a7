"""Pieces of code side by side in this process, in turn, round by round: their time and CPU a call."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType

import report

TRIAL = 200  # calls that warm a runner up and tell how many make a turn


class Spent:
    """The wall and CPU seconds that a `with` block took; CPU counts all threads of this process."""

    wall = cpu = 0.0

    def __enter__(self) -> "Spent":
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


@dataclass(slots=True)
class Runner:
    """One line of the table; `run(calls, callers)` makes that many calls and says what they took."""

    key: str
    name: str
    run: Callable[[int, int], Spent]
    callers: Sequence[int] = (1,)  # how many may call at once
    turns: dict[int, list[tuple[float, float]]] = field(
        default_factory=dict
    )  # microseconds of wall and CPU a call, by callers

    def turn(self, callers: int, seconds: float) -> None:
        """Run once for about so long."""
        gc.collect()
        calls = max(TRIAL, int(seconds / self.run(TRIAL, callers).wall * TRIAL))
        spent = self.run(calls, callers)
        self.turns.setdefault(callers, []).append((spent.wall / calls * 1e6, spent.cpu / calls * 1e6))


def race(runners: Sequence[Runner], callers: Sequence[int], rounds: int, seconds: float) -> None:
    """Let each runner take its turn in each round."""
    gc.freeze()  # what was imported for others costs no collection in anybody's turn
    for count in callers:
        for _ in range(rounds):
            for runner in runners:
                if count in runner.callers:
                    runner.turn(count, seconds)


def table(runners: Sequence[Runner], limit: Runner, callers: Sequence[int], markdown: bool) -> str:
    """Return medians over the rounds, and medians of each round's ratio to the limit."""
    at = f"at {' / '.join(map(str, callers))} callers" if len(callers) > 1 else ""
    header = (at, "µs a call", "ratio", "CPU µs a call", "CPU ratio", "spread ± %")
    rows = []
    for runner in runners:
        counts = [count for count in callers if count in runner.turns]
        row = [runner.name]
        for clock in (0, 1):
            row.append(report.joined(median(_of(runner, count, clock)) for count in counts))
            row.append(
                report.joined(report.ratio(_of(runner, count, clock), _of(limit, count, clock)) for count in counts)
            )
        row.append(report.joined((report.spread(_of(runner, count, 1)) for count in counts), ".0f"))
        rows.append(row)
    return report.table(header, rows, markdown)


def _of(runner: Runner, callers: int, clock: int) -> list[float]:
    return [turn[clock] for turn in runner.turns[callers]]
