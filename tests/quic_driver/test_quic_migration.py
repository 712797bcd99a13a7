"""A client of ngtcp2's takes another address amid an upload: the server challenges it there, and the call goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import Run, listening

from echoing import StreamSite
from xooai.driver import Channel

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("gtlsclient") is None, reason="needs gtlsclient, of Debian's ngtcp2-client"),
    pytest.mark.usefixtures("library"),
]

CONTENT = 10 * 1024 * 1024
PATIENCE = 60  # seconds


class Digesting(StreamSite):
    """Answers with the digest of what it was sent."""

    async def digest(self, channel: Channel, body: bytes) -> None:
        await channel.end(sha256(body).hexdigest().encode())


async def upload(url: str, content: Path, *options: str) -> tuple[str, str]:
    """What the client was answered, and its log."""
    place, answers = urlsplit(url), content.parent
    process = await asyncio.create_subprocess_exec(
        "gtlsclient", "--no-quic-dump", "--no-http-dump", "--exit-on-all-streams-close", "--http-method=POST",
        f"--data={content}", f"--download={answers}", *options,
        place.hostname or "", str(place.port), f"https://{place.netloc}/echo/digest",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        log, _ = await process.communicate()
    return (answers / "digest").read_text(), log.decode(errors="replace")


@pytest.mark.parametrize("is_told", [True, False], ids=["by itself", "by a router"])
def test_an_upload_goes_on_from_another_address(run: Run, files: Files, tmp_path: Path, is_told: bool) -> None:
    """P23"""
    content = tmp_path / "content"
    content.write_bytes(os.urandom(CONTENT))
    moving = ["--change-local-addr=50ms", *([] if is_told else ["--nat-rebinding"])]

    async def scenario() -> None:
        async with listening(files.options(), site=Digesting()) as (listener, site):
            answer, log = await upload(listener.url, content, *moving)
            assert answer == sha256(content.read_bytes()).hexdigest()
            assert "Local address is now" in log
            assert any("frm rx" in line and "PATH_CHALLENGE" in line for line in log.splitlines())
            assert any("frm tx" in line and "PATH_RESPONSE" in line for line in log.splitlines())
            assert len(site.heads) == 1

    run(scenario())
