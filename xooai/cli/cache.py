"""`xooai cache`: how much the cache holds, to empty it, to look whether all in it is right."""

from __future__ import annotations

from datetime import datetime

import click

from xooai.cache import upkeep
from xooai.cache.room import Held

__all__ = ["command"]

UNITS = ("KiB", "MiB", "GiB", "TiB")


@click.group(
    epilog="""\b
Examples:
  xooai cache info
  xooai cache verify
  XOOAI_CACHE=/data/cache xooai cache clear

\b
XOOAI_CACHE says which folder, XOOAI_CACHE_LIMIT how much it may hold, as 20GiB."""
)
def command() -> None:
    """Show, empty or verify the cache: contents by their signatures, shared by all processes of a user."""


command.name = "cache"


@command.command(epilog="\b\nExamples:\n  xooai cache info")
def info() -> None:
    """Show where the cache is and how much it holds.

    How often a content was found there each process knows of itself alone: nothing of that is here.
    """
    found = upkeep.info()
    rows = [("folder", found.root)]
    if found.limit is not None:
        rows += [
            ("contents", f"{_held(found.contents)}, at most {_bytes(found.limit)}"),
            ("last used", " to ".join(_time(when) for when in found.used) if found.used else "never"),
            ("on their way", f"{found.brought:,}"),
            ("corrupt", _held(found.corrupt)),
        ]
    else:
        rows.append(("contents", "none yet"))
    click.echo("\n".join(f"{name:<14}{value}" for name, value in rows))


@command.command(epilog="\b\nExamples:\n  xooai cache clear")
def clear() -> None:
    """Remove all contents, and what was found corrupt.

    Who reads a content reads on; what is just being fetched stays. Whatever is needed again is fetched again.
    """
    click.echo(f"removed: {_held(upkeep.clear())}")


@command.command(epilog="\b\nExamples:\n  xooai cache verify")
def verify() -> None:
    """Read all contents, and move away those that are not what their signatures say.

    They are fetched again when they are needed. The exit code is 1 where there were any, or where some could not be read.
    """
    found = upkeep.verify()
    for signature in found.corrupt:
        click.echo(f"corrupt, moved away: {signature}")
    for text in found.unread:
        click.echo(f"not read: {text}")
    click.echo(f"right: {_held(found.contents)}")
    if found.corrupt or found.unread:
        click.get_current_context().exit(1)


def _held(held: Held) -> str:
    return f"{held.number:,} ({_bytes(held.size)})"


def _bytes(size: int) -> str:
    if size < 1024:
        return f"{size} bytes"
    power = min((size.bit_length() - 1) // 10, len(UNITS))
    return f"{size / 1024**power:,.1f} {UNITS[power - 1]}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "minutes")
