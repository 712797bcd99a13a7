"""Servers whose certificates nobody who is trusted has signed: clients say so, and what helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from authority import HERE, Authority
from grpc_poller import poller
from xooai import Executor, Unavailable, plugins, post

__all__ = ["poller"]

SCHEMES = ["https", "grpcs", "quic"]
HELP = r"; trust= \(--trust on the command line\) names the PEM file of that certificate, or of who signed it"


class Echo(Executor):
    @post
    def back(self, word: str) -> str:
        return word


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    plugins.driver(found)
    return found


@pytest.mark.parametrize("is_signed", [True, False], ids=["unknown-authority", "self-signed"])
def test_a_client_says_what_makes_it_trust_a_server(scheme: str, authority: Authority, is_signed: bool) -> None:
    pair = authority.signs("server", HERE) if is_signed else authority.unsigned("alone", HERE)
    trusted: Path = authority.trust if is_signed else pair.certificate
    with Echo() as echo:
        (url,) = echo.start(f"{scheme}://127.0.0.1:0", certificate=str(pair.both))

        with Echo.at(url) as wary, pytest.raises(Unavailable, match=HELP):
            wary.back("a")
        with Echo.at(url, trust=str(trusted)) as client:
            assert client.back("a") == "a"


def test_of_a_certificate_for_another_host_nothing_of_trust_is_said(scheme: str, authority: Authority) -> None:
    with Echo() as echo:
        (url,) = echo.start(f"{scheme}://127.0.0.1:0", certificate=str(authority.signs("other", "DNS:other.test").both))

        with Echo.at(url, trust=str(authority.trust)) as client, pytest.raises(Unavailable) as caught:
            client.back("a")

    assert "trust=" not in caught.value.message
