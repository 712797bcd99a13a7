"""Writing the log to a file descriptor without waiting for whoever takes it: a full disk or a stuck pipe stops no server.

A thread of its own writes. What there is no room for, and what cannot be written, is counted; the count is written once that is
possible again.
"""

from __future__ import annotations

import logging
import os
import select
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Condition, Thread

from xooai.forks import renewed

__all__ = ["LogWriter"]

WAITING = (
    4 * 1024 * 1024
)  # bytes that wait, and as many that are being written: some ten thousand lines of a slow reader
PATIENCE = 2.0  # seconds at the end of the process for what still waits: a reader that is there takes it in less
_WHOLE = 4096  # bytes that a pipe takes in one piece (POSIX: PIPE_BUF), so that lines of several processes stay lines
_GATHER = (
    0.01  # seconds for which lines gather: to wake the thread for each one would cost calls more than the line does
)
_TURN = 0.5  # seconds between two looks at a descriptor that takes nothing


class LogWriter(logging.Handler):
    """Writes each record as lines of their own."""

    def __init__(self, descriptor: int, waiting: int = WAITING) -> None:
        super().__init__()
        self._descriptor, self._limit = descriptor, waiting
        self.renew()
        renewed(self)

    def renew(self) -> None:
        """Begin anew, in the child of a fork."""
        self._change = Condition()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._is_busy = False
        self._is_idle = False
        self._is_cut = False
        self._is_closed = False
        self._thread: Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written soon. One that cannot be formatted, or that there is no room for, is lost."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - a mistake in a call of the log ends nothing
            line = b""
        with self._change:
            if not line or self._is_closed or self._size + len(line) > self._limit:
                self._lost += 1
                return
            self._lines.append(line)
            self._size += len(line)
            if self._thread is None and not self._begin():
                self._write_some()
            if self._is_idle:
                self._is_idle = False
                self._change.notify_all()

    def flush(self) -> None:
        """Wait until all is written, for a while."""
        with self._change:
            if self._lines and self._thread is None and not self._begin():
                self._write_some()
                return
            self._change.wait_for(lambda: not self._lines and not self._is_busy, PATIENCE)

    def close(self) -> None:
        """Take no more; what waits is still written."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        super().close()

    def _begin(self) -> bool:
        """Start the thread; whether the system gave one. Else the next record asks again."""
        thread = Thread(target=self._run, name="xooai-log", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            return False
        self._thread = thread
        return True

    def _write_some(self) -> None:
        """Write what is taken without a wait, where no thread can be had: what follows from that is to be read."""
        while self._lines and len(self._lines[0]) < _WHOLE and select.select([], [self._descriptor], [], 0)[1]:
            if not self._write(self._lines[0]):
                return
            self._size -= len(self._lines.popleft())

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _run(self) -> None:
        while True:
            with self._change:
                self._is_busy, self._is_idle = False, True
                self._change.notify_all()
                self._change.wait_for(lambda: self._lines or self._is_closed)
                self._is_busy, self._is_idle = True, False
                if not self._lines:
                    self._is_busy = False
                    return
            select.select([], [], [], _GATHER)  # sleep() fails where faketime(1) shifts the clock that it reads
            with self._change:
                lines, lost = list(self._lines), self._lost
                self._lines.clear()
                self._size, self._lost = 0, 0
            if lost:
                text = f"{lost} records of the log are lost: they could not be written, or nobody took them in time"
                told = {"name": "xooai", "levelno": logging.WARNING, "levelname": "WARNING", "msg": text}
                lines.insert(0, self._line(logging.makeLogRecord(told)))
            written = self._written(lines)
            if written < len(lines):
                with self._change:
                    self._lost += len(lines) - written + (lost - 1 if lost and not written else 0)

    def _written(self, lines: Sequence[bytes]) -> int:
        """Write lines, however long that takes; how many there were until one could not be written."""
        done = 0
        for piece, count in _pieces(lines):
            if not self._write(piece):
                return done
            done += count
        return done

    def _write(self, data: bytes) -> bool:
        """Write it all; whether that could be done."""
        if self._is_cut:
            data = b"\n" + data
        at = 0
        while at < len(data):
            try:
                at += os.write(self._descriptor, data[at:])
            except BlockingIOError:  # somebody has made it non-blocking
                select.select([], [self._descriptor], [], _TURN)
            except OSError:  # a full disk, a closed pipe
                self._is_cut = self._is_cut or at > 0
                return False
        self._is_cut = False
        return True


def _pieces(lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines together, as far as they go in one piece."""
    piece, count = b"", 0
    for line in lines:
        if count and len(piece) + len(line) > _WHOLE:
            yield piece, count
            piece, count = b"", 0
        piece, count = piece + line, count + 1
    if count:
        yield piece, count
