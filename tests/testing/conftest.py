"""The drivers under test share a process."""

from grpc_poller import poller

__all__ = ["poller"]
