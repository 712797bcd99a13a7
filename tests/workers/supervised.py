"""Programs that serve by workers, as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread

PROGRAM = Path(__file__).with_name("worker_program.py")
PATIENCE = 30.0  # seconds for what is to come at all


class Program:
    """A running one, whose lines on stderr are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._coming: Queue[str] = Queue()
        self._seen: list[str] = []
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()
        assert process.stdout is not None
        first = process.stdout.readline().split()
        self.urls = first[3:] if first[:3] == ["xooai", "serves", "at"] else []

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._coming.put(line)

    def until(self, text: str, times: int = 1) -> str:
        """Wait for so many lines with a text, from now on; return the last."""
        while True:
            line = self._coming.get(timeout=PATIENCE)
            self._seen.append(line)
            if text in line:
                times -= 1
                if not times:
                    return line

    def end(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def said(self) -> str:
        """All that it has written to stderr; once it has ended."""
        self._reader.join(PATIENCE)
        while not self._coming.empty():
            self._seen.append(self._coming.get())
        return "".join(self._seen)


@contextmanager
def running(command: list[str], **environment: str) -> Iterator[Program]:
    """A program while the block runs."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    program = Program(process)
    try:
        yield program
    finally:
        process.kill()
        process.wait()
        program.said()
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()


@contextmanager
def calling(*calls: Callable[[], object]) -> Iterator[None]:
    """Each of these calls again and again, in a thread of its own, while the block runs; its threads end however that ends."""
    is_over = Event()

    def call_on(call: Callable[[], object]) -> None:
        while not is_over.is_set():
            call()

    with ThreadPoolExecutor(len(calls)) as threads:
        running = [threads.submit(call_on, call) for call in calls]
        try:
            yield
        finally:
            is_over.set()
    for one in running:
        one.result()
