"""What a server has counted, all its processes together: as Prometheus reads it, and as one document for pages and terminals.

The endpoint `/xooai/metrics`, the same over every driver, and `/status.json` of HTTP give the document: see `Report` for its
shape. What is a sum since the processes began is to be compared with what it was before.
"""

from __future__ import annotations

import asyncio
from time import time
from typing import Any, Literal

import msgspec

from xooai import control
from xooai.endpoint import Endpoint
from xooai.lazy import lazy
from xooai.metrics.report import COUNTS, Counted, Report, Slot, counted, merged, newest

# Only for who scrapes: the others need no client of Prometheus.
exposition = lazy("xooai.metrics.exposition")

__all__ = ["COUNTS", "Report", "counted", "endpoint", "measured"]

Form = Literal["text", "openmetrics", "json"]


class _Own:
    async def metrics(self) -> dict[str, Any]:
        """What this server has counted: calls, stages, batches, queues, caches, and its processes."""
        raise NotImplementedError  # the site answers


def endpoint() -> Endpoint:
    """The endpoint `/xooai/metrics`."""
    return Endpoint.of(_Own.metrics, "xooai", "metrics")


async def measured(form: Form, is_known: bool) -> bytes:
    """What all processes of this server have counted. `is_known` says that callers have to say who they are: only then the
    version is told. Raises PluginError where the forms for Prometheus need a package that is not there.
    """
    told, supervised = await asyncio.gather(control.ask("metrics"), control.ask("workers"))
    answers = [msgspec.msgpack.decode(answer, type=Counted) for answer in told]
    slots = [slot for answer in supervised for slot in msgspec.json.decode(answer, type=list[Slot])]
    if form == "json":
        return msgspec.json.encode(merged(answers, time(), slots))
    # Beside the loop: the first time, what writes it is loaded.
    return bytes(await asyncio.to_thread(exposition.written, newest(answers), slots, form, is_known))
