"""The command line: `xooai serve`, `post`, `bench`, `top`, `describe`, `flow`, `export`, `plugins`, `new`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from xooai.cli.version import version_line

__all__ = ["main"]

NEEDED = ("click", "rich")  # what the extra `cli` brings


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed, 2 typed wrongly, 130 interrupted."""
    given = list(sys.argv[1:] if args is None else args)
    missing = [name for name in NEEDED if find_spec(name) is None]
    sys.exit(_without(missing[0], given) if missing else import_module("xooai.cli.commands").run(given))


def _without(module: str, args: Sequence[str]) -> int:
    """What works where the extra `cli` is not installed."""
    if args == ["--version"]:
        print(version_line())
    elif args == ["plugins"]:
        print(import_module("xooai.cli.installed").plugin_table())
    else:
        print(f"xooai: the command line needs the module {module!r}; try: pip install 'xooai[cli]'", file=sys.stderr)
        return 1
    return 0
