"""Starting a server again whenever its code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from xooai import optional

__all__ = ["supervised"]

GRACE = 1.0  # seconds for calls under way: a developer is waiting, and a browser's idle connection is kept for longer
STOP = 5.0  # seconds for a server that was told twice


def supervised(args: Sequence[str]) -> int:
    """Run `xooai` with `args` in a process of its own, again after each change of a .py or YAML file below this directory.

    Returns when a signal ends it. One that fails is left alone until the next change.
    """
    watchfiles = optional.load("watchfiles", "--reload", extra="cli")
    here = Path.cwd()
    click.echo(f"xooai watches the .py and .yaml files in {here}", err=True)
    process = _started(args)
    try:
        with _terminable():
            watched = watchfiles.PythonFilter(extra_extensions=(".yaml", ".yml"))
            for changes in watchfiles.watch(here, watch_filter=watched, raise_interrupt=True):
                click.echo(f"xooai starts again: {_named(changes, here)} changed", err=True)
                _stop(process)
                process = _started(args)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(process)
    return 0


def _started(args: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "xooai", *args])


def _stop(process: subprocess.Popen[bytes]) -> None:
    for patience in (GRACE, STOP):  # the second signal ends the grace
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    process.wait()


def _named(changes: set[tuple[Any, str]], here: Path) -> str:
    """The files, as one would type them here; three are enough to know which."""
    names = sorted({str(Path(path).relative_to(here)) for _, path in changes})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does, so that the server ends with it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
