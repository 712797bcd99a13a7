"""A server as a process of its own: its banner, its log, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["PATIENCE", "Ended", "Process", "served", "until"]

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds: what waits longer fails its test instead of stopping the run


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def until(condition: Callable[[], Any], what: str = "it") -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.005)


class Process:
    """`xooai serve` with some arguments."""

    def __init__(self, args: Sequence[object], env: Mapping[str, str], **options: Any) -> None:
        command = options.pop("command", [sys.executable, "-m", "xooai", "serve", *map(str, args)])
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env}
        usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": HERE}
        self.running = subprocess.Popen(command, env=environment, **{**usual, **options})
        self.urls: list[str] = []

    def banner(self) -> list[str]:
        """Wait for the URLs."""
        assert self.running.stdout is not None
        for line in self.running.stdout:
            if found := re.search(r"xooai serves at ([^\"\n]+)", line):  # as text, or in a record
                self.urls = found[1].split()
                return self.urls
        raise AssertionError(f"it ended before it listened: {self.running.communicate()[1]}")

    def logged(self) -> str:
        """Wait for the next line of the log."""
        assert self.running.stderr is not None
        return str(self.running.stderr.readline())

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.running.send_signal(number)

    def end(self) -> Ended:
        """Wait for the end."""
        out, err = self.running.communicate(timeout=PATIENCE)
        return Ended(self.running.returncode, out, err)

    def kill(self) -> None:
        """End it, if it runs still."""
        if self.running.poll() is None:
            self.running.kill()
        self.running.communicate()


@contextmanager
def served(*args: object, env: Mapping[str, str] | None = None, **options: Any) -> Iterator[Process]:
    process = Process(args, env or {}, **options)
    try:
        yield process
    finally:
        process.kill()


def fingerprint(process: Process) -> str:
    """That of the certificate which a server for development has made for QUIC."""
    for line in process.running.stderr or ():
        if found := re.search(r"sha256:[0-9a-f]{64}", line):
            return found[0]
    raise AssertionError("no certificate was made")
