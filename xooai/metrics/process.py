"""The figures of a process, as the operating system tells them; what it does not tell is left out."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from time import process_time, time

import msgspec

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["ALONE", "Process", "own_process"]

_STARTED = time()  # this module is loaded when somebody first asks; where the system tells, the process began before
_WORKER = "XOOAI_WORKER"
"""The environment variable by which a worker is told which one it is."""
ALONE = "0"
"""What a process is called that is no worker; they are numbered from 1 on."""


class Process(msgspec.Struct):
    """One process of a server. `started` in seconds since 1970; `cpu` in seconds; `memory` in bytes, that it has now."""

    worker: str
    started: float
    cpu: float
    threads: int
    memory: int | None = None
    files: int | None = None
    file_limit: int | None = None


def own_process() -> Process:
    """That of this process, now."""
    return Process(
        os.environ.get(_WORKER, ALONE),
        _started(),
        process_time(),
        threading.active_count(),
        _memory(),
        _files(),
        _file_limit(),
    )


def _started() -> float:
    with suppress(OSError, ValueError, IndexError, StopIteration):  # Linux: proc(5)
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        return float(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    return _STARTED


def _memory() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _files() -> int | None:
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd")) - 1  # the one that lists them
    return None


def _file_limit() -> int | None:
    with suppress(OSError, ValueError):
        if resource is not None:
            return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None
