"""How many more calls a second that keep the interpreter busy do two workers answer on two cores than one?"""

import argparse
from contextlib import ExitStack
from statistics import median
from typing import Any

import report
from loaded import bench, serving


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=3, help="of each turn (default: 3)")
    options.add_argument("--rounds", type=int, default=5, help="in which each takes its turn (default: 5)")
    options.add_argument("--workers", default="1,2", metavar="N,...", help="compared with the first (default: 1,2)")
    options.add_argument("--callers", type=int, default=16, help="at once (default: 16)")
    options.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    given = options.parse_args()
    print(f"{report.machine()}; {given.rounds} rounds of {given.seconds:g} s\n", flush=True)
    numbers = given.workers.split(",")
    asked = ("-c", str(given.callers), "-d", f"{given.seconds:g}s", "--warm-up", "0.3s")
    turns: dict[str, list[Any]] = {number: [] for number in numbers}
    with ExitStack() as stack:
        urls = {
            number: stack.enter_context(serving("xooai_busy:Busy", "http://127.0.0.1:0", "--workers", number))
            for number in numbers
        }
        for _ in range(given.rounds):
            for number in numbers:
                turns[number].append(bench(f"{urls[number]}/busy/count", *asked))
    print(report.table(HEADER, [_row(number, turns[number], turns[numbers[0]]) for number in numbers], given.markdown))


HEADER = ("workers", "answers a second", "ratio", "spread ± %", "ms, median", "ms, 99 of 100", "load's core %")


def _row(number: str, turns: list[Any], of_one: list[Any]) -> tuple[str, ...]:
    rates = [turn["rate"] for turn in turns]
    times = [median(turn["latency"]["percentiles"][name] for turn in turns) for name in ("p50", "p99")]
    return (
        number,
        f"{median(rates):,.0f}",
        f"{report.ratio(rates, [turn['rate'] for turn in of_one]):.2f}",
        f"{report.spread(rates):.0f}",
        *(f"{1000 * time:.1f}" for time in times),
        f"{100 * median(turn['client_cpu'] for turn in turns):.0f}",
    )


if __name__ == "__main__":
    main()
