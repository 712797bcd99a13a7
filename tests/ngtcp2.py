"""The client of ngtcp2's, for tests with a peer that is not ours."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

__all__ = ["installed", "upload"]

PATIENCE = 60  # seconds

installed = pytest.mark.skipif(shutil.which("gtlsclient") is None, reason="needs gtlsclient, of Debian's ngtcp2-client")
"""A test with this mark is skipped where there is no such client."""


async def upload(url: str, content: Path, *options: str) -> tuple[str, str]:
    """Post a file to an echoing site, which tells the digest of what it got: that, and the client's log."""
    place, answer = urlsplit(url), content.parent / "digest"
    process = await asyncio.create_subprocess_exec(
        "gtlsclient", "--no-quic-dump", "--no-http-dump", "--exit-on-all-streams-close", "--http-method=POST",
        f"--data={content}", f"--download={answer.parent}", *options,
        place.hostname or "", str(place.port), f"https://{place.netloc}/echo/{answer.name}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            log, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    told = log.decode(errors="replace")
    assert answer.exists(), f"it was not answered, and ended so:\n{told[-1000:]}"
    return answer.read_text(), told
