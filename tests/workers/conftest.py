"""What tests of workers share."""

from __future__ import annotations

from grpc_poller import poller

__all__ = ["poller"]
