"""The options that every benchmark takes."""

import argparse
from collections.abc import Sequence


class Options(argparse.ArgumentParser):
    """The command line of a benchmark: how long, how often, which lines of its table, and in which form."""

    def __init__(self, question: str | None, keys: Sequence[str], seconds: float, rounds: int) -> None:
        super().__init__(description=question)
        self._keys = keys
        self.add_argument(
            "--seconds", type=float, default=seconds, help=f"of each turn, after its warm-up (default: {seconds:g})"
        )
        self.add_argument(
            "--rounds", type=int, default=rounds, help=f"in which each takes its turn (default: {rounds})"
        )
        lines = f"lines of the table, to which their limits are added, of: {', '.join(keys)} (default: all)"
        self.add_argument("--only", type=self._only, default=list(keys), metavar="KEY,...", help=lines)
        self.add_argument("--markdown", action="store_true", help="print the table in Markdown")

    def add_connections(self, default: str) -> None:
        """Let the number of connections be chosen."""
        self.add_argument(
            "--connections",
            type=_numbers,
            default=_numbers(default),
            metavar="N,...",
            help=f"used at once (default: {default})",
        )

    def _only(self, text: str) -> list[str]:
        named = text.split(",")
        if unknown := [key for key in named if key not in self._keys]:
            raise argparse.ArgumentTypeError(f"no line {', '.join(unknown)}; there are: {', '.join(self._keys)}")
        return named


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
