"""A run of `xooai bench` as people read it: figures, a histogram of bars, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator

from xooai.bench.compare import compared, differences
from xooai.bench.histogram import shares
from xooai.bench.report import Report, Times
from xooai.log import one_line

__all__ = ["comparison", "concerns", "in_seconds", "report_text"]

_ROWS, _WIDTH = 12, 40  # of the histogram: lines, and characters of its longest bar
_BUSY = 0.9  # of a core: a thread that uses this much of one makes calls no faster
_LATE = 0.1  # of the median latency: calls that begin later than this change what is measured
_SHORT = 0.98  # of the rate that was asked for
_ENOUGH = 100  # calls, for what is told of one in a hundred


def report_text(report: Report) -> str:
    """The whole report, without a line end."""
    lines = [_title(report), "", *_figures(report)]
    if report.latency.count > 1:
        lines += ["", *_histogram(report.latency)]
    if notes := [f"note: {text}" for text in concerns(report)]:
        lines += ["", *notes]
    return "\n".join(lines)


def in_seconds(seconds: float) -> str:
    """A time with three digits: 312 µs, 4.56 ms, 1.20 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.9995:
            return f"{_digits(seconds / size)} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _size(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{_digits(count / size)} {unit}"
    return f"{count:.0f} bytes"


def _title(report: Report) -> str:
    asked = report.conditions
    way = f"{asked.at_once:,} at once" if asked.rate is None else f"{asked.rate:,g} calls/s, {asked.arrivals} arrivals"
    codec = asked.codec.rpartition("/")[2]
    return f"{report.url}: {way} for {report.seconds:.1f} s, requests of {_size(asked.request_bytes)} ({codec})" + (
        ", stopped early" if report.was_stopped else ""
    )


def _figures(report: Report) -> Iterator[str]:
    calls = report.calls
    yield _row("answered", f"{report.rate:,.1f}/s", f"{calls.answered:,} calls" + _asked(report))
    if report.items is not None:
        yield _row("items", f"{report.items / (report.seconds or 1e-9):,.1f}/s", f"{report.items:,} items")
    for name, number in (("not sent", calls.unsent), ("given up", calls.left)):
        if number:
            yield _row(
                name, f"{number:,}", "were due and never began" if name == "not sent" else "under way at the end"
            )
    for code, one in report.errors.items():
        p99 = one.took.percentiles.get("p99", one.took.high)
        yield _row("failed", f"{one.count:,}", f"{code} within {in_seconds(p99)} (p99): {one_line(one.message)}")
    yield _times("latency", report.latency)
    if report.first is not None:
        yield _times("first item", report.first)
    if report.late is not None:
        yield _times("began late", report.late)
    sent = calls.sent * report.conditions.request_bytes
    each = "" if not report.seconds else f", {_size(report.received_bytes / report.seconds)}/s"
    yield _row("bytes", "", f"sent {_size(sent)}, received {_size(report.received_bytes)}{each}")
    yield _row("this client", "", f"{report.client_cpu:.0%} of a core")


def _asked(report: Report) -> str:
    asked = report.conditions.rate
    return "" if asked is None else f" of {report.calls.sent:,} sent, {report.sent_rate:,.1f}/s; asked for {asked:,g}/s"


def _row(name: str, figure: str, rest: str) -> str:
    return f"{name:<12}{figure:>12}  {rest}" if figure else f"{name:<12}{rest}"


def _times(name: str, times: Times) -> str:
    told = [f"{percentile} {in_seconds(seconds)}" for percentile, seconds in times.percentiles.items()]
    return _row(name, "", "  ".join([*told, f"max {in_seconds(times.high)}"] if times.count else ["no call"]))


def _histogram(times: Times) -> Iterator[str]:
    """A bar for each part of the range, each as much longer than the one before in relation."""
    low, high = max(times.low, 1e-9), max(times.high, times.low, 2e-9)
    step = (high / low) ** (1 / _ROWS) or 1.0
    ends = [low * step ** (row + 1) for row in range(_ROWS)]
    counts = shares(times.buckets, ends)
    most = max(counts)
    for end, count in zip(ends, counts, strict=True):
        bar = "█" * round(_WIDTH * count / most) or ("▏" if count else "")
        yield f"  ≤ {in_seconds(end):>8}  {count:>10,}  {bar}".rstrip()


def concerns(report: Report) -> Iterator[str]:
    """What keeps the figures from telling of the server alone."""
    asked, calls = report.conditions, report.calls
    is_busy = report.caller_cpu >= _BUSY
    if is_busy:
        yield (
            f"this client used {report.caller_cpu:.0%} of the core that it can use: it is the limit, and the figures tell more"
            " of it than of the server; ask for less, or run several at once"
        )
    reason = (
        f"{asked.at_once:,} were under way already (--concurrency)"
        if report.was_full
        else "this client is too slow"
        if is_busy
        else "other programs use this machine's processors"
    )
    late, median = report.late, report.latency.percentiles.get("p50")
    if asked.rate and calls.sent + calls.unsent >= _ENOUGH and report.sent_rate < _SHORT * asked.rate:
        yield f"{report.sent_rate:,.1f} calls/s were sent of {asked.rate:,g}/s: {reason}"
    elif late and median and (p99 := late.percentiles.get("p99", 0)) > max(1e-3, _LATE * median):
        yield f"1 in 100 calls began {in_seconds(p99)} late or later, which their latency counts: {reason}"
    if 0 < report.latency.count < _ENOUGH:
        yield f"{report.latency.count} answers are too few for the higher percentiles"


def comparison(before: Report, after: Report) -> str:
    """Figures of both, and which differences are more than noise."""
    rows = [("", "before", "after", "ratio", "noise ±", "")]
    for one in compared(before, after):
        is_rate = one.name == "calls/s"
        was, now = (f"{value:,.1f}" if is_rate else in_seconds(value) for value in (one.before, one.after))
        noise = "?" if one.noise is None else f"{one.noise:.2f}"
        rows.append((one.name, was, now, f"{one.ratio:.2f}", noise, _verdict(one.is_noise, one.ratio)))
    lines = ["{:<8}{:>12}{:>12}{:>8}{:>10}  {}".format(*row).rstrip() for row in rows]
    lines.append(
        "Noise is twice the standard error of the parts of each run. What differs between runs beside (other programs, the\n"
        "clock of the processor) it cannot tell: repeat both before you believe a small difference."
    )
    lines += [f"note: unlike runs: {text}" for text in differences(before.conditions, after.conditions)]
    return "\n".join(lines)


def _verdict(is_noise: bool | None, ratio: float) -> str:
    return "" if is_noise is None else "within the noise" if is_noise else "more" if ratio > 1 else "less"
