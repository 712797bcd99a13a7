"""Puts into a directory that go wrong at one call of the system, for each call in turn; prints what came of each, as JSON.

    python faults.py ROOT (kill | short | ENOSPC | EIO | ...)

Each put runs in a child of this process, where the functions of `os` that the store is built on fail at their Nth call.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from xooai.content import MemoryContent
from xooai.errors import XooaiError
from xooai_fsspec.directory import Directory

CALLS = ("open", "close", "mkdir", "write", "fsync", "link", "unlink", "stat", "fstat")
CONTENT = MemoryContent(hashlib.shake_128(b"faults").digest(600_000))  # three writes
ACKED, TOLD, STRANGE = 0, 1, 2


def put(root: Path, threads: ThreadPoolExecutor | None = None) -> int:
    """Put, durably; the exit code."""

    async def work() -> None:
        if threads is not None:
            asyncio.get_running_loop().set_default_executor(threads)
        store = Directory(str(root))
        try:
            await store.put(CONTENT, durable=True)
        finally:
            await store.aclose()

    try:
        asyncio.run(work())
    except XooaiError:
        return TOLD
    except Exception as error:  # noqa: BLE001 - told by its exit code
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return STRANGE
    return ACKED


def fail_at(number: int, how: str) -> list[int]:
    """From now on, have the calls counted, and one go wrong."""
    count = [0]

    def failing(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] != number:
                return real(*args, **kwargs)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "short":
                return real(args[0], args[1][: len(args[1]) // 2]) if name == "write" else real(*args, **kwargs)
            if name == "close":  # which closes even where it fails
                real(*args, **kwargs)
            raise OSError(getattr(errno, how), os.strerror(getattr(errno, how)))

        return call

    for name in CALLS:
        setattr(os, name, failing(name, getattr(os, name)))
    return count


def in_child(root: Path, number: int, how: str) -> int:
    """How the put ended that fails at a call: its exit code, or minus the signal; 100 more where that call never came."""
    child = os.fork()
    if child == 0:
        count = fail_at(number, how)
        code = put(root)
        os._exit(code + (100 if count[0] < number else 0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(root: Path) -> dict[str, Any]:
    """What is there: the contents, each right or not, and how many drafts."""
    files = [path for path in root.glob("*/*/*") if path.is_file()]
    right = [hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in files]
    return {"right": right, "drafts": len(list(root.glob(".xooai-incoming/*")))}


def main() -> None:
    folder, how = Path(sys.argv[1]), sys.argv[2]
    ends = []
    for number in range(1, 500):
        root = folder / str(number)
        code = in_child(root, number, how)
        if code >= 100:
            break
        found = {"code": code, **state(root)}
        found["again"], found["after"] = in_child(root, 10_000, "kill") - 100, state(root)
        ends.append(found)
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
