"""Where redirects lead, the fetcher goes only after the same checks; and TLS is verified by the name in the URL."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from fetch_origin import answer, serving
from fetch_scenes import refusal, scene, whole

from authority import HERE, Authority
from xooai import fetch
from xooai.errors import InvalidArgument, PermissionDenied, Unavailable

pytest.importorskip("h11")

BOTH = {"127.0.0.0/8", "::1/128"}
"""Where localhost is."""


def to(place: str, status: str = "302 Found", *fields: str) -> bytes:
    return answer(b"elsewhere", f"Location: {place}", *fields, status=status)


@pytest.mark.parametrize(
    "status",
    ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"],
)
@scene
async def test_a_redirect_is_followed(status: str) -> None:
    async with serving(to("/b?c", status, "Set-Cookie: a=b"), answer(b"here")) as origin:
        async with await fetch.open(origin.url(), origin.policy()) as fetched:
            assert await fetched.read() == b"here"
            assert fetched.url == origin.url("/b?c")

        assert [head.split(" HTTP")[0] for head in origin.heads] == ["GET /a.png", "GET /b?c"]
        assert "cookie" not in origin.heads[1].lower()
        assert "referer" not in origin.heads[1].lower()


@scene
async def test_a_redirect_to_another_server_is_followed_where_the_policy_has_it() -> None:
    async with serving(answer(b"here")) as other, serving(to(other.url("/b"))) as origin:
        both = origin.policy(ports={origin.port, other.port})
        assert await whole(origin.url(), both, 0, 9) == b"here"
        assert "Range: bytes=0-8\r\n" in other.heads[0]

        other.heads.clear()
        message = await refusal(PermissionDenied, whole(origin.url(), origin.policy()))
        assert f"since it redirects: its port is {other.port}" in message
        assert other.heads == []


@scene
async def test_three_redirects_are_followed_and_not_a_fourth() -> None:
    async with serving(to("b"), to("c"), to("d"), answer(b"here")) as origin:
        assert await whole(origin.url(), origin.policy()) == b"here"
    async with serving(to("b")) as origin:
        assert "more than 3 times" in await refusal(PermissionDenied, whole(origin.url(), origin.policy()))
        assert len(origin.heads) == 4
    async with serving(to("b")) as origin:
        await refusal(PermissionDenied, whole(origin.url(), origin.policy(redirects=0)))
        assert len(origin.heads) == 1


@pytest.mark.parametrize(
    "place",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://0x7f.1/",
        "http://localhost/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://user@127.0.0.1/",
        "\\\\127.0.0.1/",
        "///127.0.0.1/",
        "http://127.0.0.1\t/",
    ],
)
@scene
async def test_a_redirect_to_what_may_not_be_fetched_is_refused(place: str) -> None:
    async with serving(to(place)) as origin:
        policy = origin.policy(ports={80, 443, origin.port})
        message = await refusal(PermissionDenied, whole(origin.url("/a?secret"), policy))

        assert "since it redirects:" in message
        assert place not in message  # the server's own words are nothing for who asked
        assert len(origin.heads) == 1


@scene
async def test_a_redirect_from_any_public_host_does_not_lead_to_an_allowed_network_without_its_name() -> None:
    """The networks that are allowed are for hosts that are named."""
    async with serving(to("http://127.0.0.2/")) as origin:
        policy = origin.policy(hosts={"*", "127.0.0.1"}, ports={80, origin.port})
        await refusal(PermissionDenied, whole(origin.url(), policy))


@pytest.mark.parametrize("fields", [(), ("Location: /b", "Location: /c")])
@scene
async def test_a_redirect_that_does_not_say_where_to_is_no_answer(fields: tuple[str, ...]) -> None:
    async with serving(answer(b"", *fields, status="302 Found")) as origin:
        assert "does not say where" in await refusal(Unavailable, whole(origin.url(), origin.policy()))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def context(authority: Authority, names: str, told: list[str | None] | None = None) -> ssl.SSLContext:
    pair = authority.signs("server", names)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.certificate, pair.key)
    if told is not None:
        made.sni_callback = lambda _, name, __: told.append(name)
    return made


@scene
async def test_a_certificate_is_verified_by_the_name_in_the_url(authority: Authority) -> None:
    told: list[str | None] = []
    async with serving(answer(b"here"), tls=context(authority, HERE, told)) as origin:
        policy = origin.policy(hosts={"localhost", "127.0.0.1"}, networks=BOTH, trust=str(authority.trust))

        assert await whole(origin.url(scheme="https", host="localhost"), policy) == b"here"
        assert await whole(origin.url(scheme="https"), policy) == b"here"

        assert told == ["localhost", None]
        assert f"Host: localhost:{origin.port}\r\n" in origin.heads[0]


@scene
async def test_a_certificate_of_another_or_by_nobody_known_is_refused(authority: Authority) -> None:
    async with serving(answer(b"here"), tls=context(authority, "DNS:other.example")) as origin:
        options = {"hosts": {"localhost"}, "networks": BOTH}
        url = origin.url(scheme="https", host="localhost")

        named = await refusal(Unavailable, whole(url, origin.policy(**options, trust=str(authority.trust))))
        unknown = await refusal(Unavailable, whole(url, origin.policy(**options)))

        assert "certificate is not valid" in named
        assert "certificate is not valid" in unknown
        assert origin.heads == []


@scene
async def test_a_redirect_from_https_to_http_is_refused(authority: Authority) -> None:
    async with (
        serving(answer(b"here")) as plain,
        serving(to(plain.url(host="localhost")), tls=context(authority, HERE)) as origin,
    ):
        trust, ports = str(authority.trust), {origin.port, plain.port}
        policy = origin.policy(hosts={"localhost"}, networks=BOTH, trust=trust, ports=ports)
        message = await refusal(PermissionDenied, whole(origin.url(scheme="https", host="localhost"), policy))

        assert "from https to http" in message
        assert plain.heads == []
        assert await whole(plain.url(host="localhost"), policy) == b"here"


@scene
async def test_a_server_that_speaks_no_tls_is_unavailable() -> None:
    async with serving(b"SSH-2.0-OpenSSH_9.6\r\n", is_first=True) as origin:
        assert "TLS" in await refusal(Unavailable, whole(origin.url(scheme="https"), origin.policy()))


@scene
async def test_a_file_of_authorities_that_is_none_is_told(tmp_path: Path) -> None:
    async with serving(answer(b"here")) as origin:
        policy = origin.policy(trust=str(tmp_path / "none.pem"))
        assert "trust=" in await refusal(InvalidArgument, whole(origin.url(scheme="https"), policy))
