"""Who may read what a server keeps: who has sent it, and to whom it was given; others are told as if it were not there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import pytest
from payload_kit import Place, Works, facts_of, made, signed, within
from payload_peer import CHUNK, Peer

from authority import HERE, Authority, Pair
from xooai import DataLoss, File, NotFound, PermissionDenied, plugins
from xooai.cache.folder import Folder
from xooai.client import Remote
from xooai.doc import mark_wire
from xooai.driver import DialOptions, ListenOptions
from xooai.embedded import rows
from xooai.embedded.grants import LIFE, SKEW, Grants
from xooai.embedded.rows import Row
from xooai.server import Site


class Pki:
    """Certificates: one of the server, and of the tenants a and b."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.own = self.authority.signs("server", HERE)
        self.tenants = {name: self.authority.signs(name, f"URI:spiffe://{name}") for name in "ab"}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("tenants"))


@pytest.fixture(params=["https", "grpcs"])
def run(
    request: pytest.FixtureRequest, pki: Pki
) -> Callable[[Callable[[Peer, Peer, Works], Coroutine[Any, Any, None]]], None]:
    """Run a scene with two tenants of one server."""

    def run(scene: Callable[[Peer, Peer, Works], Coroutine[Any, Any, None]]) -> None:
        async def played() -> None:
            works = Works()
            async with (
                listening(f"{request.param}://127.0.0.1:0", works, pki) as url,
                dialled(url, pki, pki.tenants["a"]) as a,
                dialled(url, pki, pki.tenants["b"]) as b,
            ):
                await scene(Peer(a), Peer(b), works)

        within(played())

    return run


@asynccontextmanager
async def listening(url: str, works: Works, pki: Pki) -> AsyncIterator[str]:
    site = Site((works._xooai_local(),))
    await site.set_up()
    options = ListenOptions(str(pki.own.both), clients=str(pki.authority.trust))
    listener = await plugins.driver(urlsplit(url).scheme).listen(url, site, options)
    try:
        yield listener.url
    finally:
        await listener.aclose()
        await site.contents.aclose()
        site.threads.close()


@asynccontextmanager
async def dialled(url: str, pki: Pki, client: Pair) -> AsyncIterator[Remote]:
    remote = Remote(url, DialOptions(str(pki.authority.trust), certificate=str(client.both)))
    try:
        yield remote
    finally:
        await remote.aclose()


async def facts(peer: Peer, doc: File) -> Any:
    (endpoint,) = [made for made, _ in Works()._xooai_local().endpoints() if made.name == "facts_async"]
    return await peer.remote.call("works", endpoint, {"doc": doc}, 10, None, None)


async def given(peer: Peer, endpoint: str, **arguments: Any) -> Any:
    (found,) = [made for made, _ in Works()._xooai_local().endpoints() if made.name == endpoint]
    return await peer.remote.call("works", found, arguments, 10, None, None)


def named(ref: str) -> File:
    doc = File(ref=ref)
    mark_wire(doc)
    return doc


def test_what_one_tenant_has_sent_is_not_there_for_another(run: Any) -> None:
    data = os.urandom(CHUNK + 1)
    unknown = signed(b"nobody has sent this")

    async def scene(a: Peer, b: Peer, _: Works) -> None:
        ref = await a.send(data)
        plain = f"store:xooai/{signed(data)}"
        assert (await facts(a, named(ref))).digest == (await facts(a, named(plain))).digest == signed(data)

        assert [given.place for given in await b.offer(data, (unknown, len(data)))] == [0, 0]
        assert [given.ref for given in await b.offer(data, (unknown, len(data)))] == [None, None]
        for wrong in (plain, ref):
            told = []
            for tried in (wrong, wrong.replace(signed(data), unknown)):
                with pytest.raises(NotFound) as caught:
                    await facts(b, named(tried))
                with pytest.raises(NotFound) as again:
                    await b.download(tried)
                assert str(again.value) == str(caught.value)
                told.append(str(caught.value).replace(signed(data), unknown))
            assert told[0] == told[1], "the same whether there is none or it is another's"

    run(scene)


def test_a_tenant_who_brings_the_bytes_may_read_them_and_who_brings_others_may_not(run: Any) -> None:
    data = os.urandom(CHUNK + 1)

    async def scene(a: Peer, b: Peer, _: Works) -> None:
        await a.send(data)
        with pytest.raises(DataLoss):
            await b.upload(signed(data), len(data), [bytes(CHUNK), b"x"])
        assert [each.ref for each in await b.offer(data)] == [None]
        with pytest.raises(NotFound):
            await facts(b, named(f"store:xooai/{signed(data)}"))
        assert await b.download(await b.send(data)) == data

    run(scene)


def test_an_upload_of_one_tenant_is_not_gone_on_with_by_another(run: Any) -> None:
    data = os.urandom(2 * CHUNK)

    async def scene(a: Peer, b: Peer, _: Works) -> None:
        assert (await a.upload(signed(data), len(data), [data[:CHUNK]])).place == CHUNK
        assert [each.place for each in await b.offer(data)] == [0]
        assert (await b.upload(signed(data), len(data), [data[CHUNK:]], CHUNK)).ref is None
        assert [each.place for each in await a.offer(data)] == [CHUNK]

    run(scene)


def test_a_reply_is_readable_by_the_tenant_that_got_it_alone(run: Any, tmp_path: Path) -> None:
    path = made(tmp_path / "content")

    async def scene(a: Peer, b: Peer, works: Works) -> None:
        works.files["it"] = str(path)
        reply = await given(a, "give", name="it")
        assert await a.download(reply.ref) == path.read_bytes()
        with pytest.raises(NotFound):
            await a.download(reply.ref.partition("?")[0])
        with pytest.raises(NotFound):
            await b.download(reply.ref)
        with pytest.raises(NotFound):
            await facts(b, named(reply.ref))
        other = await given(b, "give", name="it")
        assert await b.download(other.ref) == path.read_bytes()

    run(scene)


@pytest.mark.slow
def test_the_time_of_an_answer_says_nothing_of_what_others_have(run: Any) -> None:
    data = os.urandom(CHUNK)

    async def timed(peer: Peer, signature: str) -> float:
        began = time.perf_counter()
        await peer.offer((signature, len(data)))
        return time.perf_counter() - began

    async def scene(a: Peer, b: Peer, _: Works) -> None:
        await a.send(data)
        theirs, nobodys = [], []
        for number in range(300):
            theirs.append(await timed(b, signed(data)))
            nobodys.append(await timed(b, signed(str(number).encode())))
        assert 0.5 < median(theirs) / median(nobodys) < 2

    run(scene)


# Grants by themselves


@pytest.fixture
def grants(tmp_path: Path) -> Grants:
    folder = Folder(str(tmp_path / "cache"))
    folder.make()
    return Grants(folder)


SIGNATURE, OTHER = signed(b"one"), signed(b"two")
MOST = 1_000_000  # bytes: more than the contents of these tests have


def test_a_grant_permits_one_tenant_to_read_one_content(grants: Grants) -> None:
    grant = grants.give("a", SIGNATURE)
    assert grants.permits("a", SIGNATURE, grant)
    assert not grants.permits("b", SIGNATURE, grant)
    assert not grants.permits("", SIGNATURE, grant)
    assert not grants.permits("a", OTHER, grant)
    assert not grants.permits("a", SIGNATURE, "")


def test_a_grant_that_was_changed_permits_nothing(grants: Grants) -> None:
    grant = grants.give("a", SIGNATURE)
    ends, _, code = grant.partition(".")
    later = f"{int(ends) + 1}.{code}"
    unkeyed = f"{ends}.{hashlib.sha256(f'a{chr(0)}{SIGNATURE}{chr(0)}{ends}'.encode()).hexdigest()}"
    for forged in (
        later,
        unkeyed,
        grant[:-1],
        grant + "0",
        f".{code}",
        code,
        ends,
        "x" * 200,
        f"0{grant}",
        f"٣{grant}",
        "é.é",
    ):
        assert not grants.permits("a", SIGNATURE, forged), forged


def test_a_grant_ends_and_says_so(grants: Grants, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, now = grants.give("a", SIGNATURE), time.time()
    for later in (0, LIFE - 1, LIFE + SKEW - 2):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        assert grants.permits("a", SIGNATURE, grant)
    for later in (LIFE + SKEW + 2, 400 * 24 * 3600):
        monkeypatch.setattr(time, "time", lambda later=later: now + later)
        with pytest.raises(PermissionDenied, match="has ended"):
            grants.permits("a", SIGNATURE, grant)
        assert not grants.permits("b", SIGNATURE, grant), "no word of it to others"
    monkeypatch.setattr(time, "time", lambda: now - SKEW)
    assert grants.permits("a", SIGNATURE, grant), "one of a server whose clock is ahead"


def test_who_has_sent_a_content_may_read_it_whatever_became_of_a_grant(
    grants: Grants, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant, now = grants.give("a", SIGNATURE), time.time()
    grants.add("a", SIGNATURE, Row(3, is_sent=True), MOST)
    monkeypatch.setattr(time, "time", lambda: now + 2 * LIFE)
    assert grants.permits("a", SIGNATURE, grant)
    assert grants.permits("a", SIGNATURE, "nonsense")
    grants.remove("a", SIGNATURE)
    assert not grants.permits("a", SIGNATURE, "")


def test_servers_at_one_cache_share_their_grants_and_others_do_not(grants: Grants, tmp_path: Path) -> None:
    grant = grants.give("a", SIGNATURE)
    assert Grants(Folder(str(tmp_path / "cache"))).permits("a", SIGNATURE, grant)
    other = Folder(str(tmp_path / "other"))
    other.make()
    assert not Grants(other).permits("a", SIGNATURE, grant)


def test_the_files_of_grants_are_for_this_user_alone_and_name_nobody(grants: Grants, tmp_path: Path) -> None:
    grants.add("spiffe://a/../../x", SIGNATURE, Row(3, is_sent=True), MOST)
    grants.give("a", SIGNATURE)
    found = list((tmp_path / "cache").rglob("*"))
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_file()} == {"0o600"}
    assert {oct(path.stat().st_mode & 0o777) for path in found if path.is_dir()} == {"0o700"}
    assert not [path for path in found if "spiffe" in str(path)]


def test_a_tenant_has_so_many_contents_and_forgets_the_first(
    grants: Grants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 3)
    signatures = [signed(bytes([number])) for number in range(5)]
    for number, signature in enumerate(signatures):
        grants.add("a", signature, Row(1, is_sent=True), MOST)
        (row,) = (tmp_path / "cache" / "server" / "tenants").glob(f"*/{signature.removeprefix('sha256:')}")
        os.utime(row, (number, number))
    assert [grants.permits("a", signature, "") for signature in signatures] == [False, False, True, True, True]


def test_a_secret_that_a_crash_has_left_is_made_anew(grants: Grants, tmp_path: Path) -> None:
    (tmp_path / "cache" / "server").mkdir(mode=0o700)
    (tmp_path / "cache" / "server" / "secret").write_bytes(b"short")
    assert grants.permits("a", SIGNATURE, grants.give("a", SIGNATURE))
    assert len((tmp_path / "cache" / "server" / "secret").read_bytes()) == 32


def test_a_grant_that_has_ended_is_told_to_who_reads(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = Works()
    works.files["it"] = str(made(tmp_path / "content"))
    reply = place(works).give(name="it")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LIFE + 2 * SKEW)
    with pytest.raises(PermissionDenied, match="the grant in this ref has ended; ask for the content anew"):
        facts_of(reply)


def test_all_who_show_no_certificate_are_one_tenant(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    url = everywhere.serve(Works())
    for _ in range(2):
        with Works.at(url, **everywhere.options) as client:
            assert client.facts(doc=File(ref=str(path))).digest == signed(path.read_bytes())

    async def scene() -> None:
        async with Works.at(url, **everywhere.options) as client:
            (found,) = await Peer(client).offer(path.read_bytes())
            assert found.ref is not None
            await asyncio.sleep(0)

    within(scene())
