"""The tests of streams run in every place and with both codecs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from stream_places import PLACES, Place

from grpc_poller import poller

__all__ = ["poller"]


@pytest.fixture(autouse=True, scope="session")
def pipe_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Install the driver of these tests, as a package's metadata would."""
    folder = tmp_path_factory.mktemp("site")
    about = folder / "xooai_pipe-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: xooai-pipe\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[xooai.drivers]\npipe = pipe_driver\n")
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, codec: str) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(PLACES[request.param], codec, stack)
