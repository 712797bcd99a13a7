"""What gRPC keeps as long as a process lives is there before the first test."""

from grpc_poller import poller

__all__ = ["poller"]
