"""Whether anybody traces: asked with each call, without loading what would be needed for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from xooai.lazy import lazy

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from xooai.layers import trace as traces
else:
    traces = lazy("xooai.layers.trace")

__all__ = ["API", "tracing"]

API = "opentelemetry.trace"
"""The module that whoever gives OpenTelemetry a provider has loaded."""
_MODULES = sys.modules


def tracing() -> Tracer | None:
    """What makes spans; None unless OpenTelemetry has been given a provider of traces."""
    return traces.tracer() if API in _MODULES else None
