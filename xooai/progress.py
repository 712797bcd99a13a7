"""How far a map is, on stderr: a bar with what is done, how fast, and how many errors there were."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from xooai.optional import load

__all__ = ["Bar", "check"]

EVERY = 0.1  # seconds: as often as a terminal shows it anew


class _Counts(Protocol):
    ended: int
    failed: int


def check() -> None:
    """Raise PluginError where there is nothing to draw it with."""
    load("rich", "map(progress=True)", "cli")


class Bar:
    """A bar that shows from when it is made until it is closed, and stays to be read."""

    def __init__(self, name: str, total: int | None, counts: _Counts) -> None:
        rich = load("rich.progress", "map(progress=True)", "cli")
        console = load("rich.console", "map(progress=True)", "cli").Console(stderr=True, markup=False, emoji=False)
        columns = (
            rich.TextColumn("{task.description}", markup=False),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TextColumn("{task.fields[rate]}"),
            rich.TextColumn("{task.fields[errors]}"),
            rich.TimeElapsedColumn(),
            rich.TimeRemainingColumn(),
        )
        # What else is printed is left alone: through the bar it would go to stderr.
        self._shown: Any = rich.Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False)
        self._task = self._shown.add_task(name, total=total, rate="", errors="")
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._shown.start()
        self._timer = self._loop.call_later(EVERY, self._tell)

    def close(self) -> None:
        """Show how far it came, and let go of the terminal."""
        self._timer.cancel()
        self._show()
        self._shown.stop()

    def _tell(self) -> None:
        self._show()
        self._timer = self._loop.call_later(EVERY, self._tell)

    def _show(self) -> None:
        task = self._shown.tasks[0]
        elapsed = task.elapsed or 0.0
        rate = self._counts.ended / elapsed if elapsed else 0.0
        failed = self._counts.failed
        errors = f"{failed:,} error{'s' if failed != 1 else ''}"
        self._shown.update(self._task, completed=self._counts.ended, rate=f"{rate:,.1f}/s", errors=errors)
