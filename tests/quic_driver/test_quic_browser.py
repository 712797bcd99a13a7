"""Chromium loads /docs over HTTP/3, and calls an endpoint from there."""

from __future__ import annotations

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")
pytest.importorskip("selenium", reason="it comes with: pip install -e '.[dev]'")

from quic_files import Authority

from chromium_over_quic import browsing, posted, show
from xooai import Executor, Text, post

pytestmark = pytest.mark.system

SOON = 20  # seconds: a page stands within one or two, on a busy machine too


class Shouter(Executor):
    """Says it louder."""

    @post
    async def shout(self, doc: Text) -> Text:
        return Text(value=(await doc.aread()).upper())


def test_a_browser_shows_the_page_and_calls_over_http_3(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over aioquic alone: Chromium gives up the handshake with a server on qh3 2.1, as its page says."""
    monkeypatch.setenv("XOOAI_QUIC", "aioquic")
    files = authority.signs("browsed")
    with Shouter() as shouter:
        (bound,) = shouter.start("quic://127.0.0.1:0", certificate=files.certificate, key=files.key)
        url = bound.replace("quic:", "https:")
        with browsing(url, files.certificate) as browser:
            assert show(browser, url, "/shouter/shout", SOON) == {"h3"}
            answer = posted(browser, f"{url}/shouter/shout", '{"doc": {"value": "hello"}}', SOON)
    assert answer == '{"kind":"text","value":"HELLO"}'
