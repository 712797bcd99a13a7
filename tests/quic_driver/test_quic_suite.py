"""The QUIC driver passes the suite, over each library that is installed."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Authority, Files

from xooai.driver import Shape
from xooai.testing import DriverTests
from xooai.testing.suite.calls import Served, Upload, answered
from xooai.testing.suite.site import ScriptedSite, stalled
from xooai_quic.driver import QuicDriver


class OverQuic(DriverTests):
    url = "quic://127.0.0.1:0"
    library: str

    @pytest.fixture(autouse=True)
    def certified(self, authority: Authority, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XOOAI_QUIC", self.library)
        monkeypatch.setattr(type(self), "listen_options", files.options())
        monkeypatch.setattr(type(self), "dial_options", authority.dial)


class TestAioquic(OverQuic):
    library = "aioquic"


@pytest.mark.parametrize(("server", "client"), [("aioquic", "qh3"), ("qh3", "aioquic")])
def test_either_side_may_have_either_library(files: Files, authority: Authority, server: str, client: str) -> None:
    """Both ways are held back by who does not read, and go on when it does."""
    pytest.importorskip("qh3", reason="needs the extra quic-fast")
    bound = 4 * 1024 * 1024  # bytes

    async def scenario() -> None:
        site = ScriptedSite()
        listener = await QuicDriver(library=server).listen("quic://127.0.0.1:0", site, files.options())
        link = await QuicDriver(library=client).dial(listener.url, authority.dial)
        served = Served(site, listener, link)
        flood = await served.open("flood", Shape.SERVER, b"")
        assert await site.has_stalled(bound) <= bound
        deaf, upload = await served.open("deaf", Shape.CLIENT), Upload()
        sending = asyncio.ensure_future(upload.run(deaf))
        assert await stalled(lambda: upload.pushed, bound) <= bound
        got = 0
        while got < 2 * bound:
            got += len(await flood.receive() or b"")
        flood.abort()
        site.released.set()
        assert await answered(deaf) == [b"deaf"]
        await sending
        await link.aclose()
        await listener.aclose()

    asyncio.run(scenario())


@pytest.mark.slow  # the same once more; the tests beside run over both
class TestQh3(OverQuic):
    library = "qh3"
