"""The command line as its users have it: a process of its own, whose end and whose banner are waited for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PICTURE = HERE.parent.parent / "examples" / "data" / "receipt.jpg"
ANYWHERE = "http://127.0.0.1:0"
PATIENCE = 60.0  # seconds: what hangs fails its test instead of stopping the run


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("xooai: ")
        return self.err.rstrip("\n")


Xooai = Callable[..., Ended]


def spawned(*args: object, cwd: Path = HERE, **options: Any) -> subprocess.Popen[str]:
    """A command as a process of its own."""
    usual: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "xooai", *map(str, args)]
    return subprocess.Popen(command, cwd=cwd, env=environment, **{**usual, **options})


class Server:
    """`xooai serve` as a process of its own, until it is ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = self.banner()

    def banner(self) -> str:
        """The URL of the next banner."""
        for line in self.process.stdout or ():
            if found := re.search(r"xooai serves at ([^\s\"]+)", line):  # as text, or in a record
                return found[1]
        raise AssertionError(f"the server ended before it listened: {self.process.communicate()[1]}")

    def ended(self, number: int) -> Ended:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Ended(self.process.returncode, out, err)


@contextmanager
def serving(*args: object, patience: float = PATIENCE, **options: Any) -> Iterator[Server]:
    process = spawned("serve", *args, **options)
    late = threading.Timer(patience, process.kill)
    late.start()
    try:
        with process:
            try:
                yield Server(process)
            finally:
                process.terminate()
    finally:
        late.cancel()
        late.join()
