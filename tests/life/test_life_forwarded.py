"""Headers by which proxies tell of callers are believed from nobody: whoever calls could write them."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from authority import Authority
from everywhere import served
from xooai import Executor, current, post

pytest.importorskip("uvicorn")

TOLD = {
    "x-forwarded-for": "203.0.113.9",
    "x-real-ip": "203.0.113.9",
    "forwarded": "for=203.0.113.9;host=evil.example;proto=https",
    "x-forwarded-host": "evil.example",
    "x-forwarded-client-cert": "URI=spiffe://example.org/admin",
}


class Asked(Executor):
    """Tells who calls."""

    @post
    async def who(self) -> list[str]:
        call = current()
        return [str(call.peer), str(call.identity)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.mark.parametrize("scheme", ["http", "grpc", "quic"])
def test_a_caller_is_who_is_connected(
    scheme: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Asked() as e:
        url = served(e, scheme, request, monkeypatch)
        with Asked.at(url) as client:
            peer, identity = client.post(on="who", metadata=TOLD)

    assert peer.startswith("127.0.0.1:")
    assert identity == "None"


def test_a_page_of_another_host_is_refused_whatever_it_says_of_a_proxy() -> None:
    with Asked() as e:
        (url,) = e.start("http://127.0.0.1:0")
        headers = {**TOLD, "origin": "http://evil.example", "content-type": "application/json"}
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"{url}/asked/who", b"{}", headers), timeout=30)
        refused.value.close()

    assert refused.value.code == 403
