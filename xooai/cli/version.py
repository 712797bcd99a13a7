"""The installed version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["version_line"]


def version_line() -> str:
    """`xooai 0.1.0`."""
    try:
        return f"xooai {version('xooai')}"
    except PackageNotFoundError:
        return "xooai (a checkout on the path, not installed)"
