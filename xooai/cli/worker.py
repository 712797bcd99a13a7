"""The command line as a worker runs it: what fails is told to the supervisor, which tells it once for all."""

from __future__ import annotations

from collections.abc import Sequence

from xooai.cli.commands import commands
from xooai.cli.failure import line
from xooai.errors import FailedPrecondition

__all__ = ["Failure", "run"]


class Failure(FailedPrecondition):
    """A command has failed: its line, and the exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.exit_code = code


def run(args: Sequence[str]) -> int:
    """Run a command; return its exit code. Raises Failure."""
    try:
        code = commands.main(list(args), prog_name="xooai", standalone_mode=False)
    except Exception as error:
        raise Failure(*line(error)) from error
    return code if isinstance(code, int) else 0
