"""Serving by several processes, which a supervisor starts and looks after."""

from __future__ import annotations

from collections.abc import Sequence

from xooai.driver import ListenOptions
from xooai.workers.apart import Apart, checked_names, found, name_of
from xooai.workers.given import checked_devices, counted, named, refuse_unservable
from xooai.workers.plan import Command, Plan, Servable, recipes, with_device
from xooai.workers.serving import line, serve_by_workers

__all__ = [
    "Apart",
    "Command",
    "Plan",
    "checked_devices",
    "checked_names",
    "counted",
    "found",
    "line",
    "name_of",
    "serve_by_workers",
    "serve_made",
    "with_device",
]


def serve_made(
    executors: Sequence[Servable | type[Servable]],
    urls: Sequence[str],
    options: ListenOptions,
    ending: tuple[float, float],
    workers: int | None,
    devices: Sequence[str | int],
    isolated: object = (),
) -> None:
    """Serve executors by workers, each of which makes them for itself. Raises InvalidArgument where one cannot be made again."""
    dealt = checked_devices(devices)
    refuse_unservable(executors)
    made = recipes(executors)
    apart = named(isolated, made)
    count = 1 if workers is None and (apart or not dealt) else counted(workers, dealt)
    serve_by_workers(Plan(tuple(urls), options, ending, count, dealt, made, apart))
