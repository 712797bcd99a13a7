"""Chromium, told to use HTTP/3 for one server, for tests with a peer that is not ours."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["browsing", "posted", "show"]

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


@contextmanager
def browsing(url: str, certificate: str) -> Iterator[webdriver.Chrome]:
    """A browser that speaks QUIC with this server only, and trusts the key of this certificate."""
    with open(certificate, "rb") as file:
        key = x509.load_pem_x509_certificate(file.read()).public_key()
    spki = base64.b64encode(sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()).decode()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (
        "--headless=new",
        "--no-sandbox",  # refuses to work for root, which other tests marked `system` need
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--disable-background-networking",
        f"--origin-to-force-quic-on={urlsplit(url).netloc}",
        f"--ignore-certificate-errors-spki-list={spki}",
    ):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def show(browser: webdriver.Chrome, url: str, path: str, patience: float) -> set[str]:
    """Load /docs of the server at `url`, until the endpoint at `path` stands there; tell by which protocols all of it came."""
    browser.set_page_load_timeout(patience)
    browser.get(f"{url}/docs")
    WebDriverWait(browser, patience).until(lambda found: path in found.page_source)
    return set(browser.execute_script(PROTOCOLS))


def posted(browser: webdriver.Chrome, url: str, body: str, patience: float) -> Any:
    """What the page is answered when it posts JSON, or the name of the error."""
    browser.set_script_timeout(patience)
    return browser.execute_async_script(FETCH, url, body)
