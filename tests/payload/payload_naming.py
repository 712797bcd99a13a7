"""A server in a process of its own, with a cache of its own, that names contents: run with the URL to listen at."""

from __future__ import annotations

import sys

from xooai import Executor, File, post

__all__ = ["Naming"]


class Naming(Executor):
    @post
    def named(self, signature: str, size: int) -> File:
        """Says to keep whatever it is asked for."""
        return File(ref=f"store:xooai/{signature}", signature=signature, size=size)

    @post
    def give(self, path: str) -> File:
        """Does keep it."""
        return File(ref=path)


if __name__ == "__main__":
    with Naming() as naming:
        print(naming.start(sys.argv[1])[0], flush=True)
        sys.stdin.read()
