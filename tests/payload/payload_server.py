"""A server of large contents in a process of its own, whose memory tests look at: run with the URL to listen at, and a file."""

from __future__ import annotations

import hashlib
import sys

from xooai import Executor, File, post

__all__ = ["Large", "signature_of"]


def signature_of(doc: File) -> str:
    """As it is read in parts."""
    found = hashlib.sha256()
    with doc.open() as file:
        while part := file.read(1024 * 1024):
            found.update(part)
    return found.hexdigest()


class Large(Executor):
    @post
    def take(self, doc: File) -> str:
        return signature_of(doc)

    @post
    def give(self) -> File:
        return File(ref=sys.argv[2])


if __name__ == "__main__":
    with Large() as large:
        print(large.start(sys.argv[1])[0], flush=True)
        sys.stdin.read()
