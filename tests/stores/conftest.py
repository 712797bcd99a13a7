"""One server of moto for all tests of stores: it takes as long to start as all that one module asks of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import moto


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    with moto() as url:
        yield url
