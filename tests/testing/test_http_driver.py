"""The HTTP driver passes the suite."""

from __future__ import annotations

import pytest

from xooai.testing import DriverTests

pytest.importorskip("uvicorn", reason="needs the extra http")


class TestHttp(DriverTests):
    url = "http://127.0.0.1:0"
    always_reads = False  # beside a body that nobody takes there is no room for word that its client leaves
