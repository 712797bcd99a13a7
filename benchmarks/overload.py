"""How many calls does a server still answer that is asked for many times what it can, and how soon are the others refused?"""

import argparse
from typing import Any

import report
from loaded import bench, serving

FACTORS = (0.5, 1.0, 2.0, 4.0, 8.0)
CAPACITY = 160  # calls a second: 8 at a time, of 50 ms each


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5, help="of each rate (default: 5)")
    options.add_argument("--only", default="http,grpc", metavar="SCHEME,...", help="drivers (default: http,grpc)")
    options.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    given = options.parse_args()
    print(f"{report.machine()}; {given.seconds:g} s at each rate\n", flush=True)
    rows: list[tuple[str, ...]] = []
    for scheme in given.only.split(","):
        with serving("xooai_limited:Limited", f"{scheme}://127.0.0.1:0") as url:
            found = [(factor, _asked(url, factor, given.seconds)) for factor in FACTORS]
        best = max(told["rate"] for _, told in found)
        rows += [_row(scheme, factor, told, best) for factor, told in found]
    header = ("asked for", "answers a second", "of the most", "ms, median", "ms, 99 of 100")
    print(report.table((*header, "refused", "refused in ms, median", "99 of 100"), rows, given.markdown))


def _asked(url: str, factor: float, seconds: float) -> Any:
    return bench(f"{url}/limited/nap", "--rate", str(factor * CAPACITY), "--arrivals", "poisson", "-d", f"{seconds:g}s")


def _row(scheme: str, factor: float, told: Any, best: float) -> tuple[str, ...]:
    good = told["latency"]
    refused = told["errors"].get("RESOURCE_EXHAUSTED")
    times = [_ms(good, "p50"), _ms(good, "p99")]
    refusals = ["-", "-"] if refused is None else [_ms(refused["took"], "p50"), _ms(refused["took"], "p99")]
    return (
        f"{scheme}, {factor:g} of what it can",
        f"{told['rate']:,.1f}",
        f"{told['rate'] / best:.2f}",
        *times,
        "0" if refused is None else f"{refused['count']:,}",
        *refusals,
    )


def _ms(times: Any, name: str) -> str:
    return f"{1000 * times['percentiles'].get(name, times['high']):.1f}"


if __name__ == "__main__":
    main()
