"""What a process holds: files, tasks, threads, memory, temporary files, and what was complained of in it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["complaints", "note_complaints", "vitals"]

complaints: list[str] = []
MOST = 20  # complaints that are kept: one is too many
PAGE = os.sysconf("SC_PAGE_SIZE")


def note_complaints(is_expected: Callable[[str], bool] = lambda _: False) -> None:
    """Keep what asyncio logs, every warning, and every exception that nobody was given."""

    def note(text: str) -> None:
        if len(complaints) < MOST and not is_expected(text):
            complaints.append(text[:2000])

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            note(f"{record.name}: {record.getMessage()} {error!r}")

    logging.getLogger("asyncio").addHandler(Noting(logging.WARNING))
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(Noting())
    warnings.simplefilter("always")
    sys.unraisablehook = lambda told: note(f"unraisable: {told.exc_value!r} in {told.object!r}")
    threading.excepthook = lambda told: note(f"in thread {told.thread}: {told.exc_value!r}")


def vitals() -> dict[str, Any]:
    """What this process holds now; called on its loop."""
    gc.collect()
    files = [_file(number) for number in os.listdir("/proc/self/fd")]
    files = sorted(name for name in files if name)
    tasks = sorted(str(task.get_coro().__qualname__) for task in asyncio.all_tasks())  # type: ignore[union-attr]
    with open("/proc/self/statm", "rb") as statm:
        memory = int(statm.read().split()[1]) * PAGE
    return {
        "files": [name for name in files if name != "anon_inode:[eventfd]"],
        "bells": files.count("anon_inode:[eventfd]"),  # two of each worker thread
        "tasks": tasks,
        # The standard library's own pool, which asyncio has for to_thread, ends none of its threads.
        "threads": sorted(one.name for one in threading.enumerate() if not one.name.startswith("asyncio_")),
        "memory": memory,
        "temporary": sorted(os.listdir(tempfile.gettempdir())),
        "complaints": list(complaints),
    }


def _file(number: str) -> str:
    """What a file is, without its own number."""
    try:
        return os.readlink(f"/proc/self/fd/{number}").partition("[1")[0].partition("[2")[0]
    except FileNotFoundError:  # the folder that is read
        return ""
