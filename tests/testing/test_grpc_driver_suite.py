"""The gRPC driver passes the suite."""

from __future__ import annotations

import pytest

from xooai.testing import DriverTests

pytest.importorskip("grpc", reason="needs the extra grpc")


class TestGrpc(DriverTests):
    url = "grpc://127.0.0.1:0"
