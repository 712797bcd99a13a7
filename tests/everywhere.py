"""Executors served over one driver or another, on loopback, for tests that say the same of all."""

from __future__ import annotations

import pytest

from authority import HERE, Authority
from xooai import Executor, Flow, plugins

__all__ = ["served"]


def served(
    executor: Executor | Flow, scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Serve it over the driver of a scheme, which skips the test where it is not installed; return the URL.

    For QUIC the test module has the fixture `authority`, whom clients then trust.
    """
    plugins.driver(scheme)
    certificate = None
    if scheme == "quic":
        authority: Authority = request.getfixturevalue("authority")
        certificate = str(authority.signs("server", HERE).both)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.trust))
    where = f"memory://{executor.name}" if scheme == "memory" else f"{scheme}://127.0.0.1:0"
    return executor.start(where, certificate=certificate)[0]
