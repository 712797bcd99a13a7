"""Executors over QUIC: served beside HTTP, called typed and by URL, from the command line too."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Authority, Files

from xooai import Executor, FailedPrecondition, PluginError, Text, Unavailable, post, stream

PATIENCE = 30  # seconds for a process to say something

PROGRAM = """
from collections.abc import AsyncIterator
from xooai import Executor, Text, post, stream

class Teller(Executor):
    @post
    def tell(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())

    @stream
    async def count(self, number: int) -> AsyncIterator[int]:
        for found in range(number):
            yield found
"""


class Teller(Executor):
    """Endpoints of every shape."""

    @post
    def tell(self, doc: Text) -> Text:
        return Text(value=doc.read().upper())

    @stream
    async def count(self, number: int) -> AsyncIterator[int]:
        for found in range(number):
            yield found

    @stream
    async def back(self, doc: AsyncIterator[Text], mark: str) -> AsyncIterator[Text]:
        async for one in doc:
            yield Text(value=one.read() + mark)

    @stream
    async def joined(self, doc: AsyncIterator[Text]) -> Text:
        return Text(value="".join([one.read() async for one in doc]))


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_every_shape_answers_as_in_process(library: str, files: Files, authority: Authority, codec: str) -> None:
    async def answers(teller: Executor) -> list[object]:
        async def texts() -> AsyncIterator[Text]:
            for value in "abc":
                yield Text(value=value)

        found: list[object] = [await teller.apost(on="tell", doc=Text(value="x"), codec=codec)]
        found.append([one async for one in teller.astream(on="count", number=3, codec=codec)])
        async with teller.open(on="back", mark="!", codec=codec) as both:
            for value in "ab":
                await both.send(Text(value=value))
                found.append(await both.receive())
        async with teller.open(on="joined", codec=codec) as one_way:
            async for text in texts():
                await one_way.send(text)
            await one_way.end()
            found.append(await one_way.receive())
        return found

    with Teller() as here:
        (url,) = here.start("quic://127.0.0.1:0", certificate=files.certificate, key=files.key)
        with Teller.at(url, trust=authority.trust) as there:
            assert asyncio.run(answers(there)) == asyncio.run(answers(here))


def test_one_program_is_served_over_http_and_quic_at_once(library: str, files: Files, authority: Authority) -> None:
    pytest.importorskip("uvicorn", reason="needs the extra http")
    with Teller() as here:
        urls = here.start("http://127.0.0.1:0", "quic://127.0.0.1:0", certificate=files.certificate, key=files.key)
        assert [url.partition(":")[0] for url in urls] == ["http", "quic"]
        for url, trust in zip(urls, (None, authority.trust), strict=True):
            with Teller.at(url, trust=trust) as there:
                assert there.tell(doc=Text(value="x")).value == "X"


def test_a_client_by_url_trusts_what_the_environment_names(
    library: str, files: Files, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Teller() as here:
        (url,) = here.start("quic://localhost:0", certificate=files.certificate, key=files.key)
        with Executor(f"{url}/teller") as stranger, pytest.raises(Unavailable):
            stranger.post(on="tell", doc=Text(value="x"))
        monkeypatch.setenv("SSL_CERT_FILE", authority.trust)
        with Executor(f"{url}/teller") as there:
            assert there.post(on="tell", doc=Text(value="x")) == Text(value="X")


def test_a_library_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Being installed is not enough."""
    from xooai_quic.library import load

    monkeypatch.delenv("XOOAI_QUIC", raising=False)
    assert load().name == "aioquic"
    for name in ("aioquic", "qh3"):
        pytest.importorskip(name, reason="needs the extra quic-fast")
        monkeypatch.setenv("XOOAI_QUIC", name)
        assert load().name == name


def test_a_library_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XOOAI_QUIC", "quiche")

    with Teller() as here, pytest.raises(PluginError, match="'aioquic' or 'qh3'"):
        here.start("quic://127.0.0.1:0")


def test_a_link_stays_on_its_loop(library: str) -> None:
    from xooai.driver import DialOptions, Head
    from xooai_quic.driver import QuicDriver

    async def dialled() -> object:
        link = await QuicDriver().dial("quic://127.0.0.1:9", DialOptions())
        with pytest.raises(Unavailable):
            await link.open(Head("/a/b"), b"")
        return link

    async def elsewhere(link: object) -> None:
        with pytest.raises(FailedPrecondition, match="another event loop"):
            await link.open(Head("/a/b"), b"")  # type: ignore[attr-defined]

    asyncio.run(elsewhere(asyncio.run(dialled())))


def test_the_command_line_serves_and_calls(library: str, tmp_path: Path) -> None:
    """With a certificate made for development, whose fingerprint it tells."""
    (tmp_path / "told.py").write_text(PROGRAM)
    run = [sys.executable, "-m", "xooai"]
    with subprocess.Popen(
        [*run, "serve", "told:Teller", "--url", "quic://127.0.0.1:0"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "NO_COLOR": "1"},
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            said = ""
            url = trust = None
            while url is None or trust is None:  # the banner and the log come in any order
                line = server.stdout.readline()
                assert line, said
                said += line
                url = url or re.search(r"serves at (quic://127\.0\.0\.1:\d+)", said)
                trust = trust or re.search(r"trust='(sha256:[0-9a-f]{64})'", said)
            for arguments, wanted in ((["tell", "doc=x"], "X\n"), (["count", "number=3"], "0\n1\n2\n")):
                endpoint, *values = arguments
                command = [*run, "post", f"{url[1]}/teller/{endpoint}", "--trust", trust[1], *values]
                called = subprocess.run(
                    command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
                )
                assert (called.stdout, called.stderr) == (wanted, "")
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
