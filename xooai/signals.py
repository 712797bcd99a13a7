"""The signals that a server hears: SIGINT and SIGTERM end it, SIGHUP has it read its files anew."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["heard"]

Stop = Callable[[signal.Signals], None]


@contextmanager
def heard(loop: asyncio.AbstractEventLoop, stop: Stop, reload: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the loop for each SIGINT and SIGTERM, `reload` for each SIGHUP; then they are for whom they were before.

    A SIGHUP that was ignored, as nohup(1) has it, stays ignored. One by which a terminal tells that it is no more ends what was
    started from it.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    on: dict[signal.Signals, Callable[[], None]] = {
        number: lambda number=number: stop(number)  # type: ignore[misc]
        for number in before
    }
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
        has_terminal = _has_terminal()
        on[signal.SIGHUP] = lambda: stop(signal.SIGHUP) if has_terminal and not _has_terminal() else reload()
    try:
        for number, function in on.items():
            if sys.platform == "win32":  # no add_signal_handler there
                signal.signal(number, lambda got, _: loop.call_soon_threadsafe(on[signal.Signals(got)]))
            else:
                loop.add_signal_handler(number, function)
        yield
    finally:
        for number, handler in before.items():
            if sys.platform != "win32":
                loop.remove_signal_handler(number)
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


def _has_terminal() -> bool:
    """Whether the standard input is a terminal, which one that has hung up is not (tty_ioctl(4))."""
    try:
        return os.isatty(0)
    except OSError:
        return False
