"""Where the cache is, and whether it could be there: known without the cache itself, which few servers need at their start."""

from __future__ import annotations

import os
import sys

from xooai.errors import FailedPrecondition

__all__ = ["HOMELESS", "PLACE", "obstacle", "place"]

PLACE = "XOOAI_CACHE"
"""The environment variable that says where the cache is."""

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


def _platform() -> str:
    if sys.platform == "darwin":
        return "~/Library/Caches"
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    named = os.environ.get("XDG_CACHE_HOME", "")
    return named if os.path.isabs(named) else "~/.cache"  # one that is relative has no meaning (XDG Base Directory)
