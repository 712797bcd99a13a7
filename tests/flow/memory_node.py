"""A server with a node that passes a file on, and one that reads it; it tells the most memory that it has held.

python memory_node.py NAME STORE
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from xooai import Executor, File, post

MIB = 1024 * 1024


def most_held() -> int:
    """Bytes (VmHWM, see proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


class Node(Executor):
    @post
    def go_on(self, doc: File) -> File:
        return doc

    @post
    def read(self, doc: File) -> str:
        found = hashlib.sha256()
        with doc.open() as file:
            while part := file.read(MIB):
                found.update(part)
        return found.hexdigest()

    @post
    def held(self) -> int:
        return most_held()


if __name__ == "__main__":
    with Node(name=sys.argv[1], store=sys.argv[2]) as node:
        print(*node.start("http://127.0.0.1:0"), flush=True)
        sys.stdin.read()
