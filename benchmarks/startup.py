"""What does xooai cost before and beside the work: its import, start to the first answer, memory while serving?"""

import compileall
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

import peers
import report
from contest import Entry
from exchanges import combo
from load import measure
from options import Options
from processes import cores, end_when_terminated

DEPENDENCIES = "pydantic, msgspec, fsspec"
# Both pydantic and xooai load on first use what their names stand for: the bare import alone would say too little.
IMPORTS = {
    "import-limit": f"import {DEPENDENCIES}",
    "import": "import xooai",
    "names-limit": f"import {DEPENDENCIES}; from pydantic import BaseModel",
    "names": "from xooai import ComboDoc, Executor, Image, Text, post",
}
SERVERS = (
    Entry("start-limit", "limit: bare ASGI on uvicorn", "limit", "uvicorn", combo("/combo"), "start-limit"),
    Entry("start", "xooai", "xooai_echo", "xooai", combo("/echo/combo"), "start-limit"),
)
BEFORE = "import sys, time; n = len(sys.modules); t = time.perf_counter(); "
AFTER = "; print([time.perf_counter() - t, len(sys.modules) - n])"
CONNECTIONS = 16  # over which a server answers before its memory is read


def imported(code: str, already: str = "sys") -> tuple[float, int]:
    """Return the milliseconds and the modules that a statement takes in an interpreter that has imported `already`."""
    program = f"import {already}; {BEFORE}{code}{AFTER}"
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    seconds, modules = json.loads(printed.stdout)
    return seconds * 1000, modules


def served(entry: Entry, core: int, load: float) -> tuple[float, float]:
    """Return the seconds from the start of a server to its first answer, and its memory in MiB once it has served."""
    began = time.perf_counter()
    with entry.server(sys.executable, core) as server:
        reply = server.first_answer(entry.exchange, every=0.002)
        seconds = time.perf_counter() - began
        measure(server.port, entry.exchange, reply, CONNECTIONS, load)
        return seconds, server.memory()


def compiled(*packages: str) -> None:
    """Write the bytecode of packages, as pip does with what it installs and nobody with an editable checkout."""
    for package in packages:
        found = importlib.util.find_spec(package)
        for folder in found.submodule_search_locations or () if found else ():
            compileall.compile_dir(folder, quiet=1)


def imports(keys: Sequence[str], rounds: int) -> list[tuple[str, ...]]:
    """Measure the imports and return the rows of their table."""
    taken: dict[str, list[tuple[float, int]]] = {key: [] for key in keys}
    for _ in range(rounds):
        for key, figures in taken.items():
            figures.append(imported(IMPORTS[key]))
    rows: list[tuple[str, ...]] = []
    for key, figures in taken.items():
        times = [milliseconds for milliseconds, _ in figures]
        limit = [milliseconds for milliseconds, _ in taken["import-limit"]]
        against = (f"{median(times):.0f}", f"{report.ratio(times, limit):.2f}", f"{report.spread(times):.0f}")
        _, beyond = imported(IMPORTS[key], already=DEPENDENCIES)
        rows.append((IMPORTS[key], *against, str(figures[0][1]), str(beyond)))
    return rows


def starts(entries: Sequence[Entry], rounds: int, core: int, load: float) -> list[tuple[str, ...]]:
    """Measure the servers and return the rows of their table."""
    taken: dict[str, list[tuple[float, float]]] = {entry.name: [] for entry in entries}
    for _ in range(rounds):
        for entry in entries:
            taken[entry.name].append(served(entry, core, load))
    limit_times, limit_sizes = zip(*taken[entries[0].name], strict=True)
    rows: list[tuple[str, ...]] = []
    for name, figures in taken.items():
        times, sizes = zip(*figures, strict=True)
        first = (f"{median(times):.3f}", f"{report.ratio(times, limit_times):.2f}", f"{report.spread(times):.0f}")
        rows.append((name, *first, f"{median(sizes):.1f}", f"{report.ratio(sizes, limit_sizes):.2f}"))
    return rows


def main() -> None:
    """Measure and print the tables."""
    parser = Options(__doc__, ("import", "names-limit", "names", "start"), seconds=0.5, rounds=7)
    options = parser.parse_args()
    end_when_terminated()
    server_core, own_core = cores()
    os.sched_setaffinity(0, {own_core})
    has_xooai = importlib.util.find_spec("xooai") is not None
    if not has_xooai:
        print(f"without xooai: {peers.missing('xooai')}", file=sys.stderr)
    compiled("xooai", "xooai_http")
    keys = [key for key in IMPORTS if key in options.only and (has_xooai or "xooai" not in IMPORTS[key])]
    print(f"{report.machine()}; {options.rounds} rounds\n")
    if keys:
        rows = imports(["import-limit", *keys], options.rounds)
        header = ("in a new interpreter", "ms", "ratio", "spread ± %", "modules", f"beyond {DEPENDENCIES}")
        print(report.table(header, rows, options.markdown))
    if "start" in options.only:
        entries = [entry for entry in SERVERS if entry.module != "xooai" or has_xooai]
        header = ("a server", "start to first answer, s", "ratio", "spread ± %", "memory MiB", "ratio")
        print(
            "\n" + report.table(header, starts(entries, options.rounds, server_core, options.seconds), options.markdown)
        )


if __name__ == "__main__":
    main()
