"""The command line: `xooai serve`, `post`, `bench`, `top`, `describe`, `flow`, `export`, `plugins`, `new`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from threading import current_thread, main_thread

__all__ = ["main"]

NEEDED = ("click", "rich")  # what the extra `cli` brings


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 failed, 2 typed wrongly, 130 interrupted."""
    given = list(sys.argv[1:] if args is None else args)
    with _interrupted_in_silence():
        missing = [name for name in NEEDED if find_spec(name) is None]
        run = None if missing else import_module("xooai.cli.commands").run
    sys.exit(_without(missing[0], given) if run is None else run(given))


@contextmanager
def _interrupted_in_silence() -> Iterator[None]:
    """Ctrl-C ends the process at once, as one of another language: nothing has begun that there is a word to say of."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _without(module: str, args: Sequence[str]) -> int:
    """What works where the extra `cli` is not installed."""
    if args == ["--version"]:
        print(import_module("xooai.cli.version").version_line())
    elif args == ["plugins"]:
        print(import_module("xooai.cli.installed").plugin_table())
    else:
        print(f"xooai: the command line needs the module {module!r}; try: pip install 'xooai[cli]'", file=sys.stderr)
        return 1
    return 0
