"""A client of ngtcp2's takes another address amid an upload: the server challenges it there, and the call goes on."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from quic_files import Files
from quic_site import Run

from ngtcp2 import installed, upload
from quic_listening import listening

pytestmark = [
    pytest.mark.system,
    installed,
    pytest.mark.usefixtures("library"),
]

CONTENT = 10 * 1024 * 1024


@pytest.mark.parametrize("is_told", [True, False], ids=["by itself", "by a router"])
def test_an_upload_goes_on_from_another_address(run: Run, files: Files, tmp_path: Path, is_told: bool) -> None:
    content = tmp_path / "content"
    content.write_bytes(os.urandom(CONTENT))
    moving = ["--change-local-addr=50ms", *([] if is_told else ["--nat-rebinding"])]

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site):
            answer, log = await upload(listener.url, content, *moving)
            assert answer == sha256(content.read_bytes()).hexdigest()
            assert "Local address is now" in log
            assert any("frm rx" in line and "PATH_CHALLENGE" in line for line in log.splitlines())
            assert any("frm tx" in line and "PATH_RESPONSE" in line for line in log.splitlines())
            assert len(site.heads) == 1

    run(scenario())
