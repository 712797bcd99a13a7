"""/status as it is served: all of it from the server itself, nothing inline, nothing else beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scraping import get
from xooai import Executor, post

pytest.importorskip("uvicorn", reason="it comes with: pip install -e '.[http]'")

LOADED = ("icon.svg", "plot.js", "rates.js", "status.css", "status.js")


class Shown(Executor):
    @post
    def ping(self) -> str:
        return "pong"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Shown() as shown:
        yield shown.start("http://127.0.0.1:0")[0]


def test_the_page_may_load_nothing_from_elsewhere_and_be_in_no_frame(url: str) -> None:
    status, headers, body = get(url, "/status")

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    rules = headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(rules)
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=|https?:|//", body.decode())


def test_what_the_page_loads_is_there_and_names_no_other_server(url: str) -> None:
    page = get(url, "/status")[2].decode()

    assert sorted(re.findall(r'(?:src|href)="status/([^"]+)"', page)) == sorted(LOADED)
    for name in LOADED:
        status, headers, body = get(url, f"/status/{name}")
        assert status == 200
        assert headers["x-content-type-options"] == "nosniff"
        assert not re.search(
            rb"https?://(?!www\.w3\.org/2000/svg)|innerHTML|insertAdjacentHTML|document\.write|eval", body
        )


@pytest.mark.parametrize("name", ["", "__init__.py", "..%2F__init__.py", "../pages.py", "status.html", "x" * 5000])
def test_nothing_else_of_the_folder_is_served(url: str, name: str) -> None:
    status, headers, _ = get(url, f"/status/{name}")

    assert status in ((308,) if not name else (400, 404))
    assert headers.get("location", "../status") == "../status"


def test_the_page_is_asked_for_and_not_sent_to(url: str) -> None:
    assert get(url, "/status", "HEAD")[2] == b""
    assert get(url, "/status", "POST")[0] == 405
