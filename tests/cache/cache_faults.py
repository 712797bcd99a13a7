"""A cache whose calls of the system go wrong, one in each turn, every STEPth of them; prints what came of each, as JSON.

    python cache_faults.py FOLDER (kill | ENOSPC | EIO | ...) STEP

Each turn runs in a child of this process, where the functions that the cache is built on fail at their Nth call. It finds one
content, finds another one corrupt, and fetches two more, for which others have to go.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cache_origins import Origin, object_of

from xooai.cache import Cache
from xooai.content import MemoryContent
from xooai.errors import XooaiError
from xooai.signature import sign
from xooai.testing.stores.fixtures import bytes_of

KIB = 1024
LIMIT = 300 * KIB
CONTENTS = [bytes_of(90 * KIB, seed) for seed in range(4)]
NAMES = [sign(data) for data in CONTENTS]
CALLS = (
    "open",
    "close",
    "mkdir",
    "write",
    "read",
    "link",
    "unlink",
    "rename",
    "stat",
    "lstat",
    "fstat",
    "utime",
    "scandir",
    "listdir",
)
RIGHT, TOLD, STRANGE, WRONG = 0, 1, 2, 3


async def read(root: Path) -> int:
    """Read all contents by a cache; the exit code."""
    cache, origin, code = Cache(str(root), limit=LIMIT), Origin(*CONTENTS), RIGHT
    for name, data in zip(NAMES, CONTENTS, strict=True):
        try:
            with await cache.get(name, origin) as file:
                if os.pread(file.fileno(), len(data) + 1, 0) != data:
                    code = WRONG
        except XooaiError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = max(code, TOLD)
        except Exception as error:  # noqa: BLE001 - told by its exit code
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            code = max(code, STRANGE)
    await cache.aclose()
    return code


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
            if name == "close":  # which closes even where it fails
                real(*args, **kwargs)
            print(f"{number}: {name}{args}", file=sys.stderr)
            raise OSError(getattr(errno, how), os.strerror(getattr(errno, how)))

        return call

    for name in CALLS:
        setattr(os, name, failing(name, getattr(os, name)))
    os.supports_dir_fd.add(os.open)
    fcntl.flock = failing("flock", fcntl.flock)
    return count


def in_child(root: Path, number: int, how: str) -> int:
    """How the reading ended that fails at a call: its exit code, or minus the signal; 100 more where that call never came."""
    child = os.fork()
    if child == 0:
        count = fail_at(number, how)
        code = asyncio.run(read(root))
        os._exit(code + (100 if count[0] < number else 0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def state(root: Path) -> dict[str, Any]:
    """What is there: the contents, each right or not."""
    files = [path for path in root.glob("contents/??/??/*") if path.is_file()]
    return {
        "right": [sign(path.read_bytes())[7:] == path.name for path in files],
        "corrupt": len(list(root.glob("corrupt/*"))),
    }


async def prepare(root: Path) -> None:
    """A cache with two contents, one of them corrupt."""
    cache = Cache(str(root), limit=LIMIT)
    for data in CONTENTS[:2]:
        (await cache.open(MemoryContent(data))).close()
    object_of(root, NAMES[1]).write_bytes(b"x" + CONTENTS[1][1:])
    await cache.aclose()


def main() -> None:
    folder, how, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    ends = []
    for number in range(1, 10_000, step):
        root = folder / str(number)
        asyncio.run(prepare(root))
        code = in_child(root, number, how)
        if code >= 100:
            break
        found = {"number": number, "code": code, **state(root)}
        found["again"], found["after"] = in_child(root, 100_000, how) - 100, state(root)
        ends.append(found)
        shutil.rmtree(root)
    print(json.dumps(ends))


if __name__ == "__main__":
    main()
