"""Large contents elsewhere as files: what is read is fetched, and little more."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from payload_kit import Place, Works, counting, facts_of, made, signed, within

from xooai import DataLoss, Executor, File, Video, media
from xooai.embedded.keeper import Keeper
from xooai.testing.memory_store import MemoryStore

MIB = 1024 * 1024
SIZE = 100 * MIB


class Counting(MemoryStore):
    """Counts the bytes that it gives."""

    given = 0

    async def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async for chunk in super().get(signature, start, end):
            self.given += len(chunk)
            yield chunk


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each chunk that a server gives of what it keeps."""
    found: list[int] = []
    download = Keeper.download

    async def counted(self: Keeper, ref: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        async for chunk in download(self, ref, start, end):
            found.append(len(chunk))
            yield chunk

    monkeypatch.setattr(Keeper, "download", counted)
    return found


def sparse(path: Path, size: int = SIZE) -> Path:
    """A large file with something at both ends and in the middle."""
    with path.open("wb") as file:
        for place in (0, size // 2, size - 10):
            file.seek(place)
            file.write(os.urandom(10))
    return path


def at(path: Path, place: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(place)
        return file.read(size)


def test_seeking_in_a_reply_fetches_what_is_read(each_driver: Place, tmp_path: Path, served: list[int]) -> None:
    path = sparse(tmp_path / "content")
    works = Works()
    works.files["it"] = str(path)
    reply = each_driver(works).give(name="it")
    with reply.open() as file:
        assert served == []
        assert file.read(10) == at(path, 0, 10)
        assert (file.seek(SIZE // 2), file.read(10)) == (SIZE // 2, at(path, SIZE // 2, 10))
        assert (file.seek(-10, os.SEEK_END), file.read()) == (SIZE - 10, at(path, SIZE - 10, 10))
        assert (file.seek(5), file.seek(3, os.SEEK_CUR), file.tell(), file.read(2)) == (5, 8, 8, at(path, 8, 2))
        assert (file.seek(SIZE + 5), file.read(10)) == (SIZE + 5, b"")
        with pytest.raises(ValueError, match=r"before the beginning|[Ii]nvalid|negative"):
            file.seek(-1)
        assert (file.seekable(), file.readable(), file.writable()) == (True, True, False)
    assert sum(served) <= 5 * MIB
    with pytest.raises(ValueError, match="closed"):
        file.read(1)


@pytest.mark.parametrize("first", [0, 5, 10 * MIB])
def test_all_that_is_left_is_fetched_by_one_call(place: Place, tmp_path: Path, first: int) -> None:
    path, called = sparse(tmp_path / "content", 20 * MIB), list[str]()
    works = Works()
    works.files["it"] = str(path)
    with Executor(place.serve(works), layers=[counting(called)]) as client:
        with client.post("give", name="it").open() as file:
            file.seek(first)
            assert signed(file.read()) == signed(path.read_bytes()[first:])
            assert file.read() == b""
        assert called.count("/xooai/download") == 1


def test_seeking_in_a_store_fetches_what_is_read(place: Place) -> None:
    data = os.urandom(20 * MIB)
    store = Counting("payload-ranges", "team")
    store._held[signed(data)] = (data, 0)
    server = place.serve(Works(store=store))
    try:
        with Executor(server, store=store) as client:
            places = [(0, 5), (19 * MIB, 5), (10 * MIB + 1, 5)]
            doc = File(ref=f"store:team/{signed(data)}", size=len(data))
            assert client.post("parts", doc=doc, places=places) == [
                data[start : start + size] for start, size in places
            ]
            assert store.given <= 4 * MIB
            assert client.post("facts", doc=doc).digest == signed(data)
            given = store.given
            assert client.post("parts", doc=doc, places=places) == [
                data[start : start + size] for start, size in places
            ]
            assert store.given == given, "it is in the cache now"
    finally:
        store.clear()


def test_a_size_that_is_not_that_of_the_content_is_told(place: Place) -> None:
    data = os.urandom(20 * MIB)
    store = Counting("payload-ranges", "team")
    store._held[signed(data)] = (data, 0)
    client = place(Works(store=store))
    try:
        for size, places in ((30 * MIB, [(25 * MIB, 5)]), (30 * MIB, [(20 * MIB - 2, 5)])):
            with pytest.raises(DataLoss):
                client.parts(doc=File(ref=f"store:team/{signed(data)}", size=size), places=places)
        assert client.facts(doc=File(ref=f"store:team/{signed(data)}", size=len(data))).length == len(data)
        with pytest.raises(DataLoss):
            client.parts(doc=File(ref=f"store:team/{signed(data)}", size=30 * MIB), places=[])
    finally:
        store.clear()


def test_what_is_kept_here_is_opened_where_it_has_to_be_verified_anew(place: Place, tmp_path: Path) -> None:
    """A backup was restored, or the marks are gone."""
    path = sparse(tmp_path / "content", 20 * MIB)
    client = place(Works())
    known = client.echo(doc=File(ref=str(path)))
    assert client.parts(doc=known, places=[(0, 3)]) == [at(path, 0, 3)]
    for kept in place.kept():
        os.utime(kept, (1, 1))
    assert client.parts(doc=known, places=[(0, 3)]) == [at(path, 0, 3)]


def test_a_large_content_is_read_as_a_whole_and_verified(everywhere: Place, tmp_path: Path, served: list[int]) -> None:
    path = sparse(tmp_path / "content", 20 * MIB)
    works = Works()
    works.files["it"] = str(path)
    client = everywhere(works)
    reply = client.give(name="it")
    assert facts_of(reply).digest == signed(path.read_bytes())
    assert sum(served) == 20 * MIB
    assert signed(reply.path().read_bytes()) == signed(path.read_bytes())
    assert sum(served) == 20 * MIB


def test_a_reply_that_is_not_what_was_announced_is_data_loss(
    everywhere: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(self: Keeper, ref: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        yield bytes(MIB)

    works = Works()
    works.files["it"] = str(made(tmp_path / "content", MIB))
    client = everywhere(works)
    reply = client.give(name="it")
    with monkeypatch.context() as patched:
        patched.setattr(Keeper, "download", wrong)
        url = everywhere.serve(others := Works(name="works"))
        others.files["it"] = works.files["it"]
        with Works.at(url, **everywhere.options) as liar:
            doc = liar.give(name="it")
            for read in (doc.read, doc.open, doc.path):
                with pytest.raises(DataLoss):
                    read()
    assert reply.read() == (tmp_path / "content").read_bytes()


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
def test_a_server_that_gives_without_end_is_left(
    over_http: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    given: list[int] = []

    async def endless(self: Keeper, ref: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        given.clear()
        while sum(given) < 200 * MIB:
            given.append(MIB)
            yield bytes(MIB)

    monkeypatch.setattr(Keeper, "download", endless)
    works = Works()
    works.files["it"] = str(sparse(tmp_path / "content", size))
    client = over_http(works)

    def partly(doc: File) -> bytes:
        with doc.open() as file:
            return file.read(10)

    for read in (File.read, File.path, partly):
        with pytest.raises(DataLoss):
            read(client.give(name="it"))
        assert sum(given) < size + 100 * MIB, "what is on its way is bounded"


def test_a_server_that_gives_nothing_again_and_again_is_left(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def empty(self: Keeper, ref: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        for _ in range(10_000):
            yield b""

    monkeypatch.setattr(Keeper, "download", empty)
    works = Works()
    works.files["it"] = str(made(tmp_path / "content", MIB))
    with pytest.raises(DataLoss, match="an empty part"):
        place(works).give(name="it").read()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture after another, and much that no decoder reads."""
    av, np = pytest.importorskip("av"), pytest.importorskip("numpy")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for number in range(5):
            picture = np.full((64, 64, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with path.open("ab") as file:
        file.write((40 * MIB).to_bytes(4, "big") + b"free")
        file.truncate(file.tell() + 40 * MIB - 8)
    return path


def test_pictures_of_a_film_elsewhere_are_decoded_from_what_they_need(
    everywhere: Place, film: Path, served: list[int]
) -> None:
    works = Works()
    works.files["it"] = str(film)
    reply = everywhere(works).give_video(name="it")
    with reply.open() as file:
        frames = list(media.frames(file))
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 5
    assert abs(int(frames[4].mean()) - 160) < 10
    assert sum(served) < 20 * MIB


def test_pictures_of_a_film_elsewhere_are_those_of_the_file(place: Place, film: Path) -> None:
    works = Works()
    works.files["it"] = str(film)
    found = list(place(works).give_video(name="it").frames())
    assert [(one == other).all() for one, other in zip(found, Video(ref=str(film)).frames(), strict=True)] == [True] * 5


def test_a_handler_decodes_a_film_of_its_caller(everywhere: Place, film: Path) -> None:
    assert everywhere(Works()).either(doc=Video(ref=str(film))).length == film.stat().st_size


def test_an_async_client_reads_a_large_content(over_http: Place, tmp_path: Path) -> None:
    path = sparse(tmp_path / "content", 20 * MIB)
    works = Works()
    works.files["it"] = str(path)
    url = over_http.serve(works)

    async def scene() -> str:
        async with Works.at(url) as client:
            return signed(await (await client.apost("give", name="it")).aread())

    assert within(scene()) == signed(path.read_bytes())
