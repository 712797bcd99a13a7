"""Large local files that are sent: asked for first, sent once, and the same document on the other side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from payload_kit import INLINE, Album, Page, Place, Works, counted_bytes, counting, facts_of, made, signed, within

from xooai import Doc, Executor, File, Image, InvalidArgument, NotFound, Text

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_large_file_is_sent_once_and_read_as_it_is(each_driver: Place, codec: str, tmp_path: Path) -> None:
    path = made(tmp_path / "film.png")
    works = Works()
    client = each_driver(works, codec=codec)
    for turn in range(2):
        with counted_bytes() as sent:
            found = client.post("facts", doc=File(ref=str(path)))
        assert (found.digest, found.length, found.size) == (signed(path.read_bytes()), INLINE + 1, INLINE + 1)
        assert (found.signature, found.media_type, found.is_inline) == (found.digest, "image/png", False)
        assert sum(size for _, size in sent) == (0 if turn else INLINE + 1)
    assert works.calls == 2


def test_another_client_sends_nothing_that_is_there(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "film.png")
    client = everywhere(Works())
    client.facts(doc=File(ref=str(path)))
    with counted_bytes() as sent, type(client).at(client._xooai_remote.server, **everywhere.options) as other:
        assert other.facts(doc=File(ref=str(path))).digest == signed(path.read_bytes())
    assert sent == []


@pytest.mark.parametrize(
    ("size", "paths"),
    [
        (INLINE, ["/works/facts"]),
        (INLINE + 1, ["/xooai/offer", "/xooai/upload", "/works/facts"]),
        (3 * 1024 * 1024, ["/xooai/offer", "/xooai/upload", "/works/facts"]),
    ],
)
def test_a_file_above_the_limit_is_offered_before_it_is_sent_and_the_call_comes_last(
    trusted: Place, tmp_path: Path, size: int, paths: list[str]
) -> None:
    path, called = made(tmp_path / "content", size), list[str]()
    url = trusted.serve(Works())
    with Executor(url, layers=[counting(called)]) as client:
        client.post("facts", doc=Text(value="to learn of the endpoints"))
        called.clear()
        with counted_bytes() as sent:
            found = client.post("facts", doc=File(ref=str(path)))
        assert [signed(path.read_bytes()), size] == [found.digest, found.length]
        assert called == paths
        assert sum(size for _, size in sent) == (size if len(paths) > 1 else 0)
        called.clear()
        client.post("facts", doc=File(ref=str(path)))
        assert called == [path for path in paths if path != "/xooai/upload"]


@pytest.mark.parametrize(
    ("name", "start", "media_type"),
    [("film.mp4", b"", "video/mp4"), ("a", PNG, "image/png"), ("b", b"\0", None), ("c.txt", PNG, "text/plain")],
)
@pytest.mark.parametrize("size", [INLINE, INLINE + 1])
def test_the_media_type_is_the_same_by_every_route(
    place: Place, codec: str, tmp_path: Path, size: int, name: str, start: bytes, media_type: str | None
) -> None:
    path = made(tmp_path / name, size, start)
    found = place(Works(), codec=codec).post("facts", doc=File(ref=str(path)))
    assert found.media_type == media_type
    assert found.media_type == File(value=path.read_bytes(), media_type=File(ref=str(path)).media_type).media_type


def test_two_documents_of_one_file_keep_their_media_types_and_are_sent_as_one(place: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    docs: list[Doc] = [
        File(ref=str(path), media_type="text/csv"),
        File(ref=str(path), media_type="application/x-own"),
        File(ref=str(path)),
        Image(ref=str(path)),
    ]
    with counted_bytes() as sent:
        found = place(Works()).all(docs=docs)
    assert [each.media_type for each in found] == ["text/csv", "application/x-own", None, None]
    assert [each.kind for each in found] == ["file", "file", "file", "image"]
    assert {each.digest for each in found} == {signed(path.read_bytes())}
    assert sum(size for _, size in sent) == INLINE + 1


def test_two_files_of_one_content_are_sent_as_one(place: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    (tmp_path / "copy.jpg").write_bytes(path.read_bytes())
    with counted_bytes() as sent:
        found = place(Works()).all(docs=[File(ref=str(path)), File(ref=str(tmp_path / "copy.jpg"))])
    assert [each.media_type for each in found] == [None, "image/jpeg"]
    assert sum(size for _, size in sent) == INLINE + 1


def test_documents_are_sent_wherever_they_stand(everywhere: Place, codec: str, tmp_path: Path) -> None:
    large = [made(tmp_path / f"large{number}") for number in range(4)]
    small = made(tmp_path / "small", 100)
    client = everywhere(Works(), codec=codec)

    def wanted(*paths: Path) -> list[str]:
        return [signed(path.read_bytes()) for path in paths]

    page = Page(
        scan=Image(ref=str(large[0])), caption=Text(value="é"), more=[File(ref=str(small)), File(ref=str(large[1]))]
    )
    found = client.page(page=page)
    assert [each.digest for each in found] == [*wanted(large[0]), signed("é".encode()), *wanted(small, large[1])]
    assert [each.is_inline for each in found] == [False, True, True, False]

    named = client.by_name(docs={"a": Image(ref=str(large[2])), "b": Image(ref=str(small))})
    assert {name: each.digest for name, each in named.items()} == dict(zip("ab", wanted(large[2], small), strict=True))

    assert client.either(doc=Image(ref=str(large[2]))).kind == "image"
    album = Album(ref=str(large[3]), cover=Image(ref=str(large[0])))
    assert [each.digest for each in client.album(album=album)] == wanted(large[3], large[0])


def test_dicts_that_stand_for_documents_are_sent_as_these(place: Place, codec: str, tmp_path: Path) -> None:
    path = made(tmp_path / "film.png")
    client = place(Works(), codec=codec)
    assert client.post("image", doc={"ref": str(path)}).digest == signed(path.read_bytes())
    assert client.post("facts", doc={"kind": "image", "ref": str(path)}).kind == "image"


def test_a_stream_sends_large_files_between_its_items(each_driver: Place, codec: str, tmp_path: Path) -> None:
    paths = [made(tmp_path / "one"), made(tmp_path / "two", 100), made(tmp_path / "three")]
    client = each_driver(Works(), codec=codec)

    found = list(client.stream("each", docs=iter([File(ref=str(path)) for path in paths])))

    assert [each.digest for each in found] == [signed(path.read_bytes()) for path in paths]
    assert [each.is_inline for each in found] == [False, True, False]


def test_a_large_text_is_text_over_there(everywhere: Place, codec: str, tmp_path: Path) -> None:
    text = "é\n" * INLINE
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    found = everywhere(Works(), codec=codec).post("facts", doc=Text(ref=str(tmp_path / "long.txt")))
    assert (found.kind, found.digest, found.media_type) == ("text", signed(text.encode()), "text/plain")


def test_a_large_file_that_is_no_text_is_told_where_it_is_read(place: Place, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_bytes(b"\xff" * (INLINE + 1))
    with pytest.raises(InvalidArgument, match="not UTF-8") as caught:
        place(Works()).facts(doc=Text(ref=str(tmp_path / "long.txt")))
    assert caught.value.remote


def test_what_was_read_before_is_sent_as_what_was_read(place: Place, tmp_path: Path) -> None:
    doc = File(ref=str(made(tmp_path / "content")))
    before = facts_of(doc)
    assert place(Works()).facts(doc=doc).digest == before.digest


def test_a_file_that_is_missing_is_told_before_anything_is_sent(place: Place, tmp_path: Path) -> None:
    works = Works()
    client = place(works)
    with counted_bytes() as sent, pytest.raises(NotFound, match="gone") as caught:
        client.all(docs=[File(ref=str(made(tmp_path / "there"))), File(ref=str(tmp_path / "gone"))])
    assert (caught.value.remote, sent, works.calls) == (False, [], 0)


async def posts(client: Any, path: Path) -> Any:
    return await client.apost("facts_async", doc=File(ref=str(path)))


def test_an_async_client_sends_and_an_async_handler_reads(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    url = everywhere.serve(Works())

    async def scene() -> Any:
        async with Works.at(url, **everywhere.options) as client:
            return await posts(client, path)

    if everywhere.scheme == "memory":
        assert everywhere.scheme  # its server is on another loop: the blocking form goes there
        with Works.at(url) as client:
            found = client.post("facts_async", doc=File(ref=str(path)))
    else:
        found = within(scene())
    assert found.digest == signed(path.read_bytes())
