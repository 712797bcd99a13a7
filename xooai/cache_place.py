"""Where the cache is, and whether it could be there: known without the cache itself, which few servers need at their start."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

from xooai.errors import FailedPrecondition

__all__ = ["HOMELESS", "PLACE", "make", "make_named", "obstacle", "place"]

PLACE = "XOOAI_CACHE"
"""The environment variable that says where the cache is."""

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO})
"""What may be over when the cache is needed; contents are served around it until then."""

HOMELESS = f"there is no home for a cache; {PLACE} says where it should be"


def place() -> str:
    """The folder for the cache: XOOAI_CACHE, or the one that the platform has for caches. Raises FailedPrecondition."""
    given = os.environ.get(PLACE)
    path = os.path.expanduser(given or os.path.join(_platform(), "xooai"))
    if not os.path.isabs(path):
        if given and not given.startswith("~"):
            return os.path.abspath(given)
        raise FailedPrecondition(HOMELESS)
    return path


def obstacle() -> str:
    """Why there can be no cache, in words; "" where nothing is seen that speaks against it. Makes nothing."""
    try:
        path = place()
    except FailedPrecondition as error:
        return error.message
    above = path
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"the cache cannot be at {path}: {above} is no folder; {PLACE} names another place"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"the cache cannot be at {path}: this process may not write to {above}; {PLACE} names another place"
    return ""


def make_named() -> None:
    """Make the folder that XOOAI_CACHE names. Raises FailedPrecondition where it cannot be made, or written to."""
    if problem := obstacle():
        raise FailedPrecondition(problem)
    path = place()
    try:
        make(path)
    except OSError as error:
        if error.errno not in _PASSING:
            raise FailedPrecondition(
                f"the cache cannot be at {path}: {error.strerror}; {PLACE} names another place"
            ) from error


def make(path: str) -> None:
    """Make a folder with those above it, each open to this user alone, as the XDG specification has it."""
    above = os.path.dirname(path)
    if not os.path.lexists(above):  # a link that leads nowhere is there, and nothing can be made below it
        make(above)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)


def _platform() -> str:
    if sys.platform == "darwin":
        return "~/Library/Caches"
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return named if os.path.isabs(named) else "~/.cache"  # one that is relative has no meaning (XDG Base Directory)
