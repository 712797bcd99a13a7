"""How xooai finds this driver."""

from __future__ import annotations

from importlib.util import find_spec

from xooai.driver import Driver
from xooai_grpc.driver import GrpcDriver

__all__ = ["xooai_driver"]

for _name in ("grpc", "grpc_health", "grpc_reflection"):  # imported only when a side is used, and missed now
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)


def xooai_driver(scheme: str) -> Driver | None:
    """The driver for grpc:// and grpcs://."""
    return GrpcDriver() if scheme in ("grpc", "grpcs") else None
