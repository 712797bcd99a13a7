"""How xooai finds this driver."""

from __future__ import annotations

from importlib.util import find_spec

from xooai.driver import Driver
from xooai_quic.driver import QuicDriver

__all__ = ["xooai_driver"]

for _name in ("aioquic", "cryptography"):  # imported only when a side of the driver is used, and missed now
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)


def xooai_driver(scheme: str) -> Driver | None:
    """The driver for quic://."""
    return QuicDriver() if scheme == "quic" else None
