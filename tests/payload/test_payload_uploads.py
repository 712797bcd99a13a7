"""What a server takes of peers that send as they like: right contents as a whole, or nothing, within limits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from payload_kit import INLINE, Place, Works, made, signed, within
from payload_peer import CHUNK, Peer

from xooai import (
    DataLoss,
    File,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    XooaiError,
    elsewhere,
)
from xooai.content import MemoryContent
from xooai.contents import cache
from xooai.embedded import keeper
from xooai.embedded.endpoints import Given

Scene = Callable[[Peer], Coroutine[Any, Any, Any]]


def played(place: Place, scene: Scene) -> Any:
    """Run a scene with a peer of a new server."""
    url = place.serve(Works())
    return replayed(place, url, scene)


def replayed(place: Place, url: str, scene: Scene) -> Any:
    async def scenes() -> Any:
        async with Works.at(url, **place.options) as client:
            return await scene(Peer(client))

    return within(scenes())


async def settled(place: Place, number: int) -> None:
    """Wait until so many files are in the cache of the server, finished or not."""
    while len(place.kept()) != number:  # noqa: ASYNC110 - there is no event for files of a server
        await asyncio.sleep(0.005)


def test_a_content_is_taken_and_given(each_driver: Place) -> None:
    data = os.urandom(3 * CHUNK + 5)

    async def scene(peer: Peer) -> None:
        ref = await peer.send(data)
        assert ref.startswith(f"store:xooai/{signed(data)}?g=")
        assert await peer.download(ref) == data
        assert await peer.download(ref, CHUNK - 3, CHUNK + 3) == data[CHUNK - 3 : CHUNK + 3]
        assert await peer.download(ref, 3 * CHUNK, None) == data[3 * CHUNK :]
        assert [
            await peer.download(ref, place, end) for place, end in ((len(data), None), (5, 5), (len(data) + 9, None))
        ] == [b""] * 3
        (given,) = await peer.offer(data)
        assert (given.ref is not None, given.place) == (True, len(data))
        for start, end in ((5, 4),):
            with pytest.raises(InvalidArgument):
                await peer.download(ref, start, end)

    played(each_driver, scene)


@pytest.mark.parametrize("data", [b"", b"x", bytes(CHUNK), bytes(CHUNK + 1)])
def test_contents_of_any_size_are_taken(place: Place, data: bytes) -> None:
    async def scene(peer: Peer) -> None:
        assert await peer.download(await peer.send(data)) == data

    played(place, scene)


def test_chunks_of_any_size_are_taken(place: Place) -> None:
    data = os.urandom(1000)

    async def scene(peer: Peer) -> None:
        given = await peer.upload(signed(data), len(data), [b"", *(bytes([byte]) for byte in data), b""])
        assert await peer.download(str(given.ref)) == data

    played(place, scene)


@pytest.mark.parametrize("size", [10, CHUNK, 3 * CHUNK])
def test_wrong_bytes_are_data_loss_and_nothing_is_stored(everywhere: Place, size: int) -> None:
    data = os.urandom(size)
    wrong = bytes([data[0] ^ 1]) + data[1:]

    async def scene(peer: Peer) -> None:
        for turn in range(2):
            with pytest.raises(DataLoss):
                await peer.upload(signed(data), size, [wrong[place : place + CHUNK] for place in range(0, size, CHUNK)])
            assert [given.ref for given in await peer.offer(data)] == [None], turn
        await settled(everywhere, 0)
        assert await peer.download(await peer.send(data)) == data

    played(everywhere, scene)


def test_more_bytes_than_announced_are_refused_and_nothing_is_stored(each_driver: Place) -> None:
    data = os.urandom(2 * CHUNK)

    async def scene(peer: Peer) -> None:
        for size in (CHUNK, 2 * CHUNK - 1, 0):
            with pytest.raises(InvalidArgument, match="more than the"):
                await peer.upload(signed(data), size, [data[:CHUNK], data[CHUNK:]])
        assert [given.place for given in await peer.offer(data)] == [0]
        await settled(each_driver, 0)

    played(each_driver, scene)


def test_fewer_bytes_than_announced_wait_for_the_rest(everywhere: Place) -> None:
    data = os.urandom(3 * CHUNK)

    async def scene(peer: Peer) -> None:
        given = await peer.upload(signed(data), len(data), [data[:CHUNK]])
        assert (given.ref, given.place) == (None, CHUNK)
        given = await peer.upload(signed(data), len(data), [data[CHUNK : CHUNK + 7]], CHUNK)
        assert (given.ref, given.place) == (None, CHUNK + 7)
        (given,) = await peer.offer(data)
        assert given.place == CHUNK + 7
        rest = data[CHUNK + 7 :]
        given = await peer.upload(signed(data), len(data), [rest[:CHUNK], rest[CHUNK:]], CHUNK + 7)
        assert await peer.download(str(given.ref)) == data

    played(everywhere, scene)


def test_who_goes_on_from_another_place_is_told_the_right_one(place: Place) -> None:
    data = os.urandom(3 * CHUNK)

    async def scene(peer: Peer) -> None:
        await peer.upload(signed(data), len(data), [data[:CHUNK]])
        for wrong in (1, 2 * CHUNK, 3 * CHUNK, 10**12):
            given = await peer.upload(signed(data), len(data), [], wrong)
            assert (given.ref, given.place) == (None, CHUNK)
        given = await peer.upload(signed(data), len(data) + 1, [], CHUNK)
        assert (given.ref, given.place) == (None, 0), "another size is another content"

    played(place, scene)


def test_who_begins_anew_begins_anew(place: Place) -> None:
    data = os.urandom(2 * CHUNK)

    async def scene(peer: Peer) -> None:
        await peer.upload(signed(data), len(data), [bytes(CHUNK)])
        assert await peer.download(await peer.send(data)) == data

    played(place, scene)


def test_a_chunk_above_its_limit_is_refused(everywhere: Place) -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(InvalidArgument, match="a chunk has 1,048,577 bytes; it has at most 1,048,576"):
            await peer.upload(signed(b"x"), 2 * CHUNK, [bytes(CHUNK + 1)])
        await settled(everywhere, 0)

    played(everywhere, scene)


@pytest.mark.parametrize(
    ("signature", "size"),
    [
        ("sha256:" + "0" * 63, 1),
        ("sha256:" + "0" * 65, 1),
        ("sha256:" + "A" * 64, 1),
        ("md5:" + "0" * 64, 1),
        ("../../etc/passwd", 1),
        ("sha256:" + "0" * 62 + "/.", 1),
        ("sha256:" + "0" * 64, -1),
        ("sha256:" + "0" * 64, 2**63),
    ],
)
def test_what_is_no_content_is_refused(place: Place, signature: str, size: int) -> None:
    async def scene(peer: Peer) -> None:
        with pytest.raises(InvalidArgument):
            await peer.offer((signature, size))
        with pytest.raises(InvalidArgument):
            await peer.upload(signature, size, [b"x"])

    played(place, scene)
    assert not place.kept()


def test_a_content_above_what_the_cache_may_hold_goes_inline(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOOAI_CACHE_LIMIT", str(CHUNK))
    with (tmp_path / "content").open("wb") as file:
        file.truncate(2 * CHUNK)
    client = place(Works())
    found = client.facts(doc=File(ref=str(tmp_path / "content")))
    assert (found.is_inline, found.length) == (True, 2 * CHUNK)
    with (tmp_path / "vast").open("wb") as file:
        file.truncate(65 * CHUNK)
    with pytest.raises(ResourceExhausted, match="vast") as caught:
        client.facts(doc=File(ref=str(tmp_path / "vast")))
    assert caught.value.reason == "size"


def test_who_only_knows_a_signature_is_given_nothing(place: Place) -> None:
    """The content is in the cache, since somebody else brought it."""
    data = os.urandom(CHUNK + 5)

    class Others(Works):
        async def setup(self) -> None:
            await (await cache()).put(MemoryContent(data))

    url = place.serve(Others(name="works"))

    async def scene(peer: Peer) -> None:
        (given,) = await peer.offer(data)
        assert (given.ref, given.place) == (None, 0), "it is not told that it is there"
        with pytest.raises(DataLoss, match="which was announced"):
            await peer.upload(signed(data), len(data), [bytes(CHUNK), bytes(5)])
        (given,) = await peer.offer(data)
        assert given.ref is None
        with pytest.raises(NotFound):
            await peer.download(f"store:xooai/{signed(data)}")
        with pytest.raises(XooaiError):
            await peer.upload(signed(data), 5, [bytes(5)])
        assert await peer.download(await peer.send(data)) == data, "who has it may read it"

    replayed(place, url, scene)


def test_two_who_bring_the_same_at_once_both_succeed(everywhere: Place) -> None:
    data = os.urandom(3 * CHUNK)
    chunks = [data[place : place + CHUNK] for place in range(0, len(data), CHUNK)]

    async def scene(peer: Peer) -> None:
        streams = [await peer.begin(signed(data), len(data)) for _ in range(4)]
        for chunk in chunks:
            for stream in streams:
                await stream.send(chunk)
        for stream in streams:
            await stream.end()
        given = [await stream.receive() for stream in streams]
        assert [each.place for each in given] == [len(data)] * 4
        assert [await peer.download(str(each.ref)) for each in given] == [data] * 4
        await settled(everywhere, 1)

    played(everywhere, scene)


def test_many_bring_different_contents_at_once(everywhere: Place) -> None:
    contents = [os.urandom(INLINE + number) for number in range(12)]

    async def scene(peer: Peer) -> None:
        refs = await asyncio.gather(*(peer.send(data) for data in contents))
        assert await asyncio.gather(*(peer.download(ref) for ref in refs)) == contents

    played(everywhere, scene)


def test_so_many_uploads_of_one_caller_are_under_way_and_no_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "UPLOADS", 3)
    contents = [os.urandom(CHUNK + 5) for _ in range(5)]

    async def scene(peer: Peer) -> None:
        streams = [await peer.begin(signed(data), CHUNK + 5) for data in contents[:3]]
        for stream, data in zip(streams, contents, strict=False):
            await stream.send(data[:CHUNK])
        await settled(place, 3)
        with pytest.raises(ResourceExhausted, match="too many contents") as caught:
            await peer.send(contents[3])
        assert (caught.value.reason, caught.value.retry_after) == ("load", 1)
        with pytest.raises(ResourceExhausted, match="too many contents"):
            await peer.send(contents[0])  # beside the one that is on its way
        await streams[0].send(contents[0][CHUNK:])
        await streams[0].end()
        assert (await streams[0].receive()).ref
        assert await peer.send(contents[3])
        for stream in streams:
            stream.close()

    played(place, scene)


def test_uploads_of_one_content_count_each(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "UPLOADS", 3)
    data = os.urandom(CHUNK + 5)

    async def scene(peer: Peer) -> None:
        streams = [await peer.begin(signed(data), CHUNK + 5) for _ in range(3)]
        for stream in streams:
            await stream.send(data[:CHUNK])
        await settled(place, 3)
        with pytest.raises(ResourceExhausted, match="too many contents"):
            await peer.send(data)
        for stream in streams:
            stream.close()

    played(place, scene)


def test_one_that_was_left_makes_room_for_a_new_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "UPLOADS", 3)
    contents = [os.urandom(10) for _ in range(5)]

    async def scene(peer: Peer) -> None:
        for data in contents[:3]:
            assert (await peer.upload(signed(data), 10, [data[:5]])).place == 5
        assert await peer.send(contents[3])
        assert [given.place for given in await peer.offer(*contents[:3])] == [0, 5, 5], "that which was left first"

    played(place, scene)


def test_one_that_was_left_is_forgotten_after_a_while(each_driver: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PATIENCE", 0.05)
    data = os.urandom(3 * CHUNK)

    async def scene(peer: Peer) -> None:
        stream = await peer.begin(signed(data), len(data))
        await stream.send(data[:CHUNK])
        await settled(each_driver, 1)
        stream.close()
        await settled(each_driver, 0)
        assert [given.place for given in await peer.offer(data)] == [0]

    played(each_driver, scene)


@pytest.mark.parametrize(
    ("offered", "uploaded", "error"),
    [
        ([], Given(), Internal),
        ([Given(), Given()], Given(), Internal),
        ([Given(place=2**62)], Given(), Unavailable),
        ([Given()], Given(place=2**62), Unavailable),
        ([Given()], Given(place=0), Unavailable),
        ([Given(place=5)], Given(place=0), Unavailable),
    ],
)
def test_what_a_server_says_that_makes_no_sense_ends_the_call(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: list[Given], uploaded: Given, error: Any
) -> None:
    async def offer(self: keeper.Keeper, contents: Any) -> list[Given]:
        return offered

    async def upload(self: keeper.Keeper, signature: str, size: int, place: int, chunks: Any) -> Given:
        async for _ in chunks:
            pass
        return uploaded

    monkeypatch.setattr(keeper.Keeper, "offer", offer)
    monkeypatch.setattr(keeper.Keeper, "upload", upload)
    monkeypatch.setattr(elsewhere, "PAUSE", 0.001)
    works = Works()
    with pytest.raises(error) as caught:
        place(works).facts(doc=File(ref=str(made(tmp_path / "content"))))
    assert (works.calls, type(caught.value)) == (0, error)


def test_a_server_that_ends_leaves_nothing_of_what_is_on_its_way(everywhere: Place) -> None:
    data = os.urandom(3 * CHUNK)
    works = Works()
    url = everywhere.serve(works)

    async def scene() -> None:
        async with Works.at(url, **everywhere.options) as client:
            peer = Peer(client)
            await peer.upload(signed(data), len(data), [data[:CHUNK]])
            other = await peer.begin(signed(data[1:]), len(data) - 1)
            await other.send(data[1 : CHUNK + 1])
            await settled(everywhere, 2)
            await asyncio.to_thread(works.stop)
            with pytest.raises(Unavailable):
                await other.receive()
            other.close()

    within(scene())
    assert everywhere.kept() == []
