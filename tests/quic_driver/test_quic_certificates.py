"""Whom a client trusts over QUIC, and what a listener shows it."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("aioquic", reason="needs the extra quic")

from cryptography.x509.oid import ExtendedKeyUsageOID
from quic_files import Authority, Files
from quic_site import Run, call, linked

from quic_listening import listening
from xooai.driver import DialOptions, ListenOptions
from xooai.errors import InvalidArgument, Unavailable
from xooai_quic import certificate

pytestmark = pytest.mark.usefixtures("library")

ENDED = timedelta(seconds=-5)


async def refused(files: Files, trust: str | None) -> str:
    """How a client that trusts this refuses a server that shows these."""
    async with listening(files.options()) as (listener, site), linked(listener.url, DialOptions(trust=trust)) as link:
        with pytest.raises(Unavailable) as refusal:
            await call(link)
        assert site.heads == []
    return refusal.value.message


def test_a_certificate_of_a_trusted_authority_is_taken(run: Run, files: Files, authority: Authority) -> None:
    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), linked(listener.url, authority.dial) as link:
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_a_certificate_for_another_host_is_refused(run: Run, authority: Authority) -> None:
    message = run(refused(authority.signs("elsewhere", "example.com"), authority.trust))

    assert "example.com" in message or "127.0.0.1" in message or "certificate" in message.lower()


def test_a_certificate_that_has_ended_is_refused(run: Run, authority: Authority) -> None:
    assert "certificate" in run(refused(authority.signs("ended", valid=ENDED), authority.trust)).lower()


def test_a_certificate_that_is_for_clients_only_is_refused(run: Run, authority: Authority) -> None:
    clients_only = authority.signs("client", usage=ExtendedKeyUsageOID.CLIENT_AUTH)

    run(refused(clients_only, authority.trust))


def test_a_certificate_that_says_not_what_it_is_for_is_taken(run: Run, authority: Authority) -> None:
    for_anything = authority.signs("anything", usage=None)

    async def scenario() -> None:
        async with (
            listening(for_anything.options()) as (listener, _),
            linked(listener.url, authority.dial) as link,
        ):
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_a_certificate_of_another_authority_is_refused(run: Run, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other").signs("by-another")

    run(refused(other, authority.trust))


def test_without_trust_the_authorities_of_the_system_count(run: Run, files: Files) -> None:
    run(refused(files, None))


def test_the_authorities_of_the_system_may_be_named_by_the_environment(
    run: Run, files: Files, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", authority.trust)

    async def scenario() -> None:
        async with listening(files.options()) as (listener, _), linked(listener.url, DialOptions()) as link:
            assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_a_fingerprint_is_trusted_whoever_signed(run: Run, files: Files) -> None:
    spellings = files.fingerprint, files.fingerprint.upper(), ":".join(re.findall("..", files.fingerprint))

    async def scenario() -> None:
        async with listening(files.options()) as (listener, _):
            for spelling in spellings:
                async with linked(listener.url, DialOptions(trust=f"sha256:{spelling}")) as link:
                    assert (await call(link, body=b"1"))[0] == b"1"

    run(scenario())


def test_another_fingerprint_is_refused_and_the_right_one_told(run: Run, files: Files) -> None:
    assert f"sha256:{files.fingerprint}" in run(refused(files, "sha256:" + "00" * 32))


@pytest.mark.parametrize("kind", ["elsewhere", "ended"])
def test_a_fingerprint_does_not_replace_the_host_and_the_dates(run: Run, authority: Authority, kind: str) -> None:
    hosts, valid = (("example.com",), timedelta(days=1)) if kind == "elsewhere" else ((), ENDED)
    files = authority.signs(f"pinned-{kind}", *hosts, valid=valid)

    run(refused(files, f"sha256:{files.fingerprint}"))


@pytest.mark.parametrize("trust", ["sha256:12", "sha256:" + "zz" * 32, "no-such-file.pem", __file__])
def test_what_is_neither_a_file_nor_a_fingerprint_is_refused_before_anything_is_sent(run: Run, trust: str) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidArgument, match="fingerprint"):
            async with linked("quic://127.0.0.1:1", DialOptions(trust=trust)):
                pass

    run(scenario())


def test_a_certificate_for_development_is_made_and_told_and_trusted_by_its_fingerprint(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    certificate._tell.cache_clear()

    async def scenario() -> None:
        async with listening(ListenOptions(), url="quic://localhost:0") as (listener, _):
            (told,) = re.findall(r"trust='(sha256:[0-9a-f]{64})'", caplog.text)
            for host in ("localhost", "127.0.0.1"):
                url = listener.url.replace("localhost", host)
                async with linked(url, DialOptions(trust=told)) as link:
                    assert (await call(link, body=b"1"))[0] == b"1"
            async with linked(listener.url, DialOptions()) as link:
                with pytest.raises(Unavailable):
                    await call(link)
        async with listening(ListenOptions()):
            assert caplog.text.count("trust=") == 1

    run(scenario())


def test_beyond_this_machine_no_certificate_is_made(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidArgument, match="certificate= and key="):
            async with listening(ListenOptions(insecure=True), url="quic://0.0.0.0:0"):
                pass

    run(scenario())


def test_files_that_are_no_certificate_are_refused(run: Run, files: Files) -> None:
    async def scenario() -> None:
        for wrong in (ListenOptions(certificate=files.key, key=files.key), ListenOptions(certificate="no.pem")):
            with pytest.raises(InvalidArgument):
                async with listening(wrong):
                    pass

    run(scenario())


def test_certificates_of_clients_are_refused_before_anybody_relies_on_them(run: Run, files: Files) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidArgument, match="cannot ask its clients"):
            async with listening(files.options(clients=files.certificate)):
                pass
        with pytest.raises(InvalidArgument, match="cannot ask its clients"):
            async with linked("quic://127.0.0.1:1", DialOptions(certificate=files.certificate, key=files.key)):
                pass

    run(scenario())


def test_a_client_that_found_nobody_to_trust_may_try_again(run: Run, files: Files) -> None:
    """Each call makes the handshake anew, and none runs."""

    async def scenario() -> None:
        async with listening(files.options()) as (listener, site), linked(listener.url, DialOptions()) as link:
            outcomes = await asyncio.gather(*(call(link) for _ in range(3)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {Unavailable}
            assert site.heads == []

    run(scenario())
