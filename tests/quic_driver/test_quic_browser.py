"""Chromium loads /docs over HTTP/3, and calls an endpoint from there."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")
pytest.importorskip("selenium", reason="it comes with: pip install -e '.[dev]'")

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from quic_files import Authority
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from xooai import Executor, Text, post

pytestmark = pytest.mark.system

SOON = 20  # seconds: a page stands within one or two, on a busy machine too

# Calls arguments[0] with JSON; gives the body of the answer, or the name of the error.
FETCH = """
const [url, body, done] = arguments;
const options = {method: "POST", headers: {"content-type": "application/json"}, body};
fetch(url, options).then((answer) => answer.text()).then(done, (error) => done(error.name));
"""
# The protocols by which the page and all that it needed came.
PROTOCOLS = """
const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
return entries.map((entry) => entry.nextHopProtocol);
"""


class Shouter(Executor):
    """Says it louder."""

    @post
    async def shout(self, doc: Text) -> Text:
        return Text(value=(await doc.aread()).upper())


@pytest.fixture
def pages(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A browser that is told to use QUIC for this server, and which key to trust; and where the server is.

    Over aioquic alone: Chromium gives up the handshake with a server on qh3 2.1, as its page says.
    """
    monkeypatch.setenv("XOOAI_QUIC", "aioquic")
    files = authority.signs("browsed")
    with open(files.certificate, "rb") as file:
        key = x509.load_pem_x509_certificate(file.read()).public_key()
    spki = base64.b64encode(sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
    with Shouter() as shouter:
        (bound,) = shouter.start("quic://127.0.0.1:0", certificate=files.certificate, key=files.key)
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (
            "--headless=new",
            "--no-sandbox",  # refuses to work for root, which other tests marked `system` need
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--disable-background-networking",
            f"--origin-to-force-quic-on={urlsplit(bound).netloc}",
            f"--ignore-certificate-errors-spki-list={spki}",
        ):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield browser, bound.replace("quic:", "https:")
        finally:
            browser.quit()


def test_a_browser_shows_the_page_and_calls_over_http_3(pages: tuple[Any, str]) -> None:
    browser, url = pages
    browser.set_script_timeout(SOON)

    browser.get(f"{url}/docs")

    WebDriverWait(browser, SOON).until(lambda found: "/shouter/shout" in found.page_source)
    assert set(browser.execute_script(PROTOCOLS)) == {"h3"}
    answer = browser.execute_async_script(FETCH, f"{url}/shouter/shout", '{"doc": {"value": "hello"}}')
    assert answer == '{"kind":"text","value":"HELLO"}'
