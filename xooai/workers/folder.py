"""The folder of a server's sockets: locked as long as its supervisor lives, so that a later one removes what is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from xooai import held_folder

__all__ = ["own_folder"]

_PREFIX = "xooai-workers-"


@contextmanager
def own_folder() -> Iterator[str]:
    """A new folder that only this user may enter, and what is in it goes with the block. Raises OSError.

    The supervisor's workers do not have the descriptor that holds it.
    """
    held_folder.swept(_PREFIX)
    folder, held = held_folder.made(_PREFIX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
