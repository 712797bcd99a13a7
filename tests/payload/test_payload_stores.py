"""Stores that both sides of a call have: contents are put there before the call, and read from the one that the reader has."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import fsspec.core
import pytest
from payload_kit import INLINE, Place, Works, counted_bytes, counting, made, signed, within

from xooai import (
    DataLoss,
    Executor,
    File,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginError,
    ResourceExhausted,
    Unavailable,
)
from xooai.doc import mark_wire
from xooai.shared_stores import store_of
from xooai.store import Content
from xooai.testing.memory_store import MemoryStore


class Recording(MemoryStore):
    """Notes what is asked of it, in a list that others write into too."""

    def __init__(self, place: str, name: str, events: list[str]) -> None:
        super().__init__(place, name)
        self.events = events

    async def put(self, content: Content, *, durable: bool = False) -> None:
        self.events.append(f"{self.name} put" + (" nothing" if content.signature in self._held else ""))
        await super().put(content, durable=durable)

    def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        self.events.append(f"{self.name} get")
        return super().get(signature, start, end)


class Failing(MemoryStore):
    """Raises what it is told to."""

    error: Exception = Unavailable("the store 'team' does not work: it is being mended")

    async def put(self, content: Content, *, durable: bool = False) -> None:
        raise self.error

    async def size(self, signature: str) -> int | None:
        raise self.error

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        raise self.error
        yield b""


@pytest.fixture
def team() -> Iterator[MemoryStore]:
    """What both sides have."""
    store = MemoryStore("payload", "team")
    store.clear()
    yield store
    store.clear()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, team: MemoryStore, tmp_path: Path) -> str:
    """Of a store that both sides open."""
    if request.param == "memory":
        return "team=memory://payload"
    (tmp_path / "shared").mkdir()
    return f"team=file://{tmp_path}/shared"


def test_contents_go_through_a_store_that_both_have(trusted: Place, url: str, tmp_path: Path) -> None:
    path, called = made(tmp_path / "film.mp4"), list[str]()
    server = trusted.serve(works := Works(store=url))
    works.files["it"] = str(path)
    with Executor(server, store=url, layers=[counting(called)]) as client, counted_bytes() as sent:
        for _ in range(2):
            found = client.post("facts", doc=File(ref=str(path)))
            assert (found.digest, found.media_type, found.size) == (signed(path.read_bytes()), "video/mp4", INLINE + 1)
        reply = client.post("give", name="it")
        assert reply.ref.startswith(f"store:team/{signed(path.read_bytes())}?g=")
        assert reply.read() == path.read_bytes()
        assert (sent, [path for path in called if path.startswith("/xooai/") and "describe" not in path]) == ([], [])


def test_a_content_is_put_before_the_call_and_small_ones_are_not(
    place: Place, team: MemoryStore, tmp_path: Path
) -> None:
    events: list[str] = []
    server = place.serve(Works(store=Recording("payload", "team", events)))
    with Executor(server, store=Recording("payload", "team", events), layers=[counting(events)]) as client:
        client.post("facts", doc=File(value=b"to learn of the endpoints"))
        events.clear()
        client.post("facts", doc=File(ref=str(made(tmp_path / "small", INLINE))))
        assert events == ["/works/facts"]
        events.clear()
        client.post("facts", doc=File(ref=str(made(tmp_path / "large"))))
        assert events == ["team put", "/works/facts", "team get"]
        events.clear()
        client.post("facts", doc=File(ref=str(tmp_path / "large")))
        assert events == ["team put nothing", "/works/facts"], "what is there is not put, what is in the cache not got"


def test_the_reader_reads_from_the_store_that_it_has_under_this_name(place: Place, tmp_path: Path) -> None:
    """And from no place that a peer could name."""
    ours, theirs = MemoryStore("payload-ours", "team"), MemoryStore("payload-theirs", "team")
    path = made(tmp_path / "content")
    server = place.serve(Works(store="team=memory://payload-theirs"))
    with Executor(server, store="team=memory://payload-ours") as client:
        try:
            with pytest.raises(NotFound, match="the store 'team' has no sha256:"):
                client.post("facts", doc=File(ref=str(path)))
            theirs._held.update(ours._held)
            assert client.post("facts", doc=File(ref=str(path))).digest == signed(path.read_bytes())
        finally:
            ours.clear()
            theirs.clear()


def test_a_store_that_the_reader_does_not_have_is_refused(place: Place, team: MemoryStore, tmp_path: Path) -> None:
    server = place.serve(Works(store="other=memory://payload"))
    with Executor(server, store=team) as client, pytest.raises(PermissionDenied, match="came from a peer"):
        client.post("facts", doc=File(ref=str(made(tmp_path / "content"))))


def test_wrong_bytes_in_a_store_are_data_loss_and_no_handler_sees_them(
    place: Place, team: MemoryStore, tmp_path: Path
) -> None:
    path = made(tmp_path / "content")
    server = place.serve(Works(store=team))
    for wrong in (bytes(INLINE + 1), bytes(10), bytes(INLINE + 2)):
        team._held[signed(path.read_bytes())] = (wrong, 0)
        with Executor(server, store=team) as client:
            for endpoint in ("facts", "facts_async", "in_file"):
                with pytest.raises(DataLoss) as caught:
                    client.post(endpoint, doc=File(ref=str(path)))
                assert caught.value.remote
    team.clear()
    with Executor(server, store=team) as client:
        assert client.post("facts", doc=File(ref=str(path))).digest == signed(path.read_bytes())


def test_a_store_out_of_reach_is_unavailable_on_either_side(place: Place, team: MemoryStore, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    broken = Failing("payload", "team")
    works = Works(store=broken)
    server = place.serve(works)
    with Executor(server, store=broken) as client, pytest.raises(Unavailable, match="being mended") as caught:
        client.post("facts", doc=File(ref=str(path)))
    assert (caught.value.remote, works.calls) == (False, 0)
    with Executor(server, store=team) as client, pytest.raises(Unavailable, match="being mended") as caught:
        client.post("facts", doc=File(ref=str(path)))
    assert caught.value.remote


def test_a_full_store_has_contents_go_inline_as_far_as_a_message_takes_them(place: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    full = Failing("payload", "team")
    full.error = ResourceExhausted("the store 'team' is full", reason="storage")
    server = place.serve(works := Works(store=full))
    works.files["it"] = str(path)
    with Executor(server, store=full) as client:
        found = client.post("facts", doc=File(ref=str(path)))
        assert (found.digest, found.is_inline) == (signed(path.read_bytes()), True)
        assert client.post("give", name="it").value == path.read_bytes()
        with (tmp_path / "vast").open("wb") as file:
            file.truncate(65 * 1024 * 1024)
        with pytest.raises(ResourceExhausted, match="vast.*the store 'team' is full"):
            client.post("facts", doc=File(ref=str(tmp_path / "vast")))


@pytest.mark.parametrize("error", [Unavailable("/srv/secret"), ResourceExhausted("/srv/secret", reason="load")])
def test_what_is_wrong_with_the_store_of_a_reply_is_not_for_the_peer(
    place: Place, tmp_path: Path, error: Exception
) -> None:
    broken = Failing("payload", "team")
    broken.error = error
    works = Works(store=broken)
    works.files["it"] = str(made(tmp_path / "content"))
    client = place(works)
    with pytest.raises((Internal, Unavailable, ResourceExhausted)) as caught:
        client.give(name="it")
    assert "secret" not in str(caught.value)


def test_a_client_without_the_store_of_its_server_reads_its_replies_too(
    trusted: Place, url: str, tmp_path: Path
) -> None:
    path = made(tmp_path / "film.mp4")
    works = Works(store=url)
    works.files["it"] = str(path)
    client = trusted(works)
    reply = client.give(name="it")
    assert (reply.size, reply.media_type) == (INLINE + 1, "video/mp4")
    assert reply.read() == path.read_bytes()
    assert client.facts(doc=reply).digest == signed(path.read_bytes())


def test_a_server_without_the_store_of_its_client_says_so(place: Place, team: MemoryStore, tmp_path: Path) -> None:
    server = place.serve(Works())
    with Executor(server, store=team) as client, pytest.raises(PermissionDenied, match="store:team/") as caught:
        client.post("facts", doc=File(ref=str(made(tmp_path / "content"))))
    assert caught.value.remote


DIGEST = "ab" * 32
REFUSED = [
    "/etc/passwd",
    "file:///etc/passwd",
    "store:team/../../etc/passwd",
    "store:team/sha256:../../../etc/passwd",
    f"store:../team/sha256:{DIGEST}",
    f"store:team/../sha256:{DIGEST}",
    f"store:team//sha256:{DIGEST}",
    f"store://team/sha256:{DIGEST}",
    f"store:user@team/sha256:{DIGEST}",
    f"store:team%2f/sha256:{DIGEST}",
    f"store:other/sha256:{DIGEST}",
    f"store:memory://payload/sha256:{DIGEST}",
    f"store:team/sha256:{DIGEST}::file:///etc/passwd",
    f"simplecache::store:team/sha256:{DIGEST}",
    f"store:team/sha256:{DIGEST}?g=../../x",
    f"store:team/sha256:{DIGEST}\n",
    f"store:team/SHA256:{DIGEST.upper()}",
    f"STORE:team/sha256:{DIGEST}",
    "memory://payload/x",
    "s3://bucket/key",
    "http://127.0.0.1/x",
    "https://user:password@host/x",
    "data:text/plain,x",
    "reference://",
    "zip://a::http://host/b.zip",
    " ",
]


def foreign(ref: str) -> File:
    """A document that goes as the text that it is, as a peer's."""
    doc = File(ref=ref)
    mark_wire(doc)
    return doc


@pytest.fixture
def no_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("fsspec was asked")

    monkeypatch.setattr(fsspec.core, "url_to_fs", never)
    monkeypatch.setattr(fsspec, "filesystem", never)


@pytest.mark.usefixtures("no_fsspec")
def test_what_a_client_names_is_refused_by_the_server_before_anything_is_opened(
    place: Place, team: MemoryStore
) -> None:
    client = place(Works(store=team))
    for ref in REFUSED:
        for endpoint in ("facts", "facts_async", "in_file"):
            with pytest.raises(PermissionDenied, match="came from a peer") as caught:
                client.post(endpoint, doc=foreign(ref))
            assert caught.value.remote, ref


@pytest.mark.usefixtures("no_fsspec")
def test_what_a_server_names_is_refused_by_the_client_before_anything_is_opened(
    place: Place, team: MemoryStore
) -> None:
    url = place.serve(Works(store=team))
    with Executor(url, store=team) as client:
        for ref in REFUSED:
            reply = client.post("echo", doc=foreign(ref))
            assert reply.ref == ref
            for read in (reply.read, reply.open, reply.path, lambda reply=reply: within(reply.aread())):
                with pytest.raises(PermissionDenied, match="came from a peer") as caught:
                    read()
                assert not caught.value.remote, ref


def test_a_legal_ref_of_a_peer_is_read(place: Place, team: MemoryStore) -> None:
    """The positive control of what is refused."""
    team._held[signed(b"hello")] = (b"hello", 0)
    client = place(Works(store=team))
    assert client.facts(doc=File(ref=f"store:team/{signed(b'hello')}")).length == 5


def test_a_signature_beside_a_ref_that_says_another_is_data_loss(place: Place, team: MemoryStore) -> None:
    team._held[signed(b"hello")] = (b"hello", 0)
    client = place(Works(store=team))
    for about in ({"signature": signed(b"other")}, {"size": 4}, {"size": 6}):
        for endpoint in ("facts", "facts_async", "in_file"):
            with pytest.raises(DataLoss):
                client.post(endpoint, doc=File(ref=f"store:team/{signed(b'hello')}", **about))


def test_a_store_gives_nothing_that_only_the_cache_has(place: Place, team: MemoryStore, tmp_path: Path) -> None:
    """What one caller has sent is in the cache; another one, who knows its signature, does not get it by a store's name."""
    path = made(tmp_path / "secret")
    client = place(Works(store=team))
    client.facts(doc=File(ref=str(path)))
    assert place.kept()
    for endpoint in ("facts", "facts_async", "in_file"):
        with pytest.raises(NotFound):
            client.post(endpoint, doc=File(ref=f"store:team/{signed(path.read_bytes())}"))


def test_the_first_store_of_several_executors_is_that_of_the_first(team: MemoryStore) -> None:
    both = store_of("a=memory://payload") | store_of("b=memory://other")
    assert both.first == "a"
    with pytest.raises(InvalidArgument, match="two stores are called 'a'"):
        both | store_of("a=memory://third")


def test_a_content_that_is_gone_from_its_store_is_not_found(
    place: Place, url: str, team: MemoryStore, tmp_path: Path
) -> None:
    path = made(tmp_path / "content")
    works = Works(store=url)
    works.files["it"] = str(path)
    server = place.serve(works)
    with Executor(server, store=url) as client:
        reply = client.post("give", name="it")
        team.clear()
        if (tmp_path / "shared").exists():
            shutil.rmtree(tmp_path / "shared")
            (tmp_path / "shared").mkdir()
        with pytest.raises(NotFound, match="the store 'team' has no"):
            reply.read()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("team=nowhere://x", "nowhere"),
        ("xooai=memory://x", "cannot be the name"),
        ("memory://xooai", "cannot be the name"),
        ("a b=memory://x", "cannot be the name"),
        ("memory://", "cannot be the name"),
        (3, "store=int has no put and get"),
    ],
)
def test_what_is_no_store_is_told_when_the_executor_is_made(given: Any, match: str) -> None:
    with pytest.raises((InvalidArgument, PluginError), match=match):
        Executor(store=given)
