"""Tables of figures, as aligned text or as Markdown."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median


def table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Return the rows under their header; the first column is left-aligned, the others right."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    lines = [_line(row, widths, markdown) for row in (header, *rows)]
    rule = "|".join(("-" * (w + 2) if n == 0 else "-" * (w + 1) + ":") for n, w in enumerate(widths))
    lines.insert(1, f"|{rule}|" if markdown else "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def joined(values: Iterable[float], form: str = ".2f") -> str:
    """Return figures of one kind in one cell."""
    return " / ".join(f"{value:{form}}" for value in values)


def ratio(values: Sequence[float], limits: Sequence[float]) -> float:
    """Return the median of each round's ratio to the limit of the same round."""
    return median(value / limit for value, limit in zip(values, limits, strict=True))


def spread(values: Sequence[float]) -> float:
    """Return how far the rounds lie apart: half of their range, in percent of their median."""
    return 50 * (max(values) - min(values)) / median(values)


def machine() -> str:
    """Return a line on what measured; a load average near one or above means that others were at work."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores; {python}; load average {os.getloadavg()[0]:.2f}"


def _line(row: Sequence[str], widths: Sequence[int], markdown: bool) -> str:
    cells = [cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
    return f"| {' | '.join(cells)} |" if markdown else "  ".join(cells)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
