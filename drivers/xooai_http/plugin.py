"""How xooai finds this driver."""

from __future__ import annotations

from xooai.driver import Driver
from xooai.plugins import hookimpl
from xooai_http.driver import HttpDriver

__all__ = ["xooai_driver"]


@hookimpl
def xooai_driver(scheme: str) -> Driver | None:
    """The driver for http:// and https://."""
    return HttpDriver() if scheme in ("http", "https") else None
