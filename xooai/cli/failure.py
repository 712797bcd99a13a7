"""Failures as one line on stderr, and the exit code that goes with them."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

import click
from pydantic import ValidationError

from xooai.codec import invalid
from xooai.errors import XooaiError
from xooai.log import one_line

__all__ = ["line", "reason", "report"]

_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
_NO_COMMAND: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Of click 8.2 and later; before, help is no error."""
_OWN = str(Path(__file__).resolve().parent.parent)


def report(error: Exception) -> int:
    """Tell a failure in one line on stderr; return the exit code. With XOOAI_TRACEBACK=1 the traceback comes first.

    Who names a group of commands and none of them is shown its help.
    """
    if isinstance(error, _NO_COMMAND):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    text, code = line(error)
    if os.environ.get("XOOAI_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exception(error)
    click.echo(f"xooai: {text}", err=True)
    return code


def line(error: Exception) -> tuple[str, int]:
    """A failure in one line, and the exit code that goes with it."""
    code = getattr(error, "exit_code", 1)  # click's errors have one, and a worker's that could not start
    return one_line(_text(error)), code if isinstance(code, int) else 1


def _text(error: Exception) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message().rstrip('.')}; see: {error.ctx.command_path} --help"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, XooaiError):
        return f"{error.message} (id {error.id})" if error.id else error.message
    if isinstance(error, ValidationError):
        return invalid(error).message
    if isinstance(error, OSError) and error.strerror and not _theirs(error):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{reason(error)}; XOOAI_TRACEBACK=1 shows more"


def reason(error: BaseException) -> str:
    """What somebody's code raised, and where: `ModuleNotFoundError: No module named 'torch' (reader.py, line 3)`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg} ({_near(error.filename)}, line {error.lineno})"
    theirs = _theirs(error) or [frame for frame in _frames(error) if not frame.filename.startswith(_OWN)]
    text = error.message if isinstance(error, XooaiError) else f"{type(error).__name__}: {error}"
    return f"{text} ({_near(theirs[-1].filename)}, line {theirs[-1].lineno})" if theirs else text


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]


def _theirs(error: BaseException) -> list[traceback.FrameSummary]:
    """Where it came through somebody's code, which is neither ours nor a library's."""
    return [frame for frame in _frames(error) if not frame.filename.startswith((*_LIBRARIES, _OWN))]


def _near(path: str) -> str:
    """A path as one would type it here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
