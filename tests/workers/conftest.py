"""What tests of workers share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from grpc_poller import poller

__all__ = ["poller"]


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder with a short path, since a socket's has some 100 characters."""
    with tempfile.TemporaryDirectory() as found:
        yield found
