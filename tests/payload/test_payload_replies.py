"""Large contents of replies: kept by the server, read from it where and when they are wanted, for as long as they are there."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from pathlib import Path

import pytest
from payload_kit import (
    INLINE,
    PATIENCE,
    Facts,
    Page,
    Place,
    Works,
    counted_bytes,
    counting,
    facts_of,
    made,
    signed,
    within,
)

from xooai import Doc, Executor, File, Image, NotFound, Text

MIB = 1024 * 1024


def giving(**files: Path) -> Works:
    works = Works()
    works.files = {name: str(path) for name, path in files.items()}
    return works


def test_a_large_reply_is_read_from_its_server(each_driver: Place, codec: str, tmp_path: Path) -> None:
    path = made(tmp_path / "film.mp4")
    reply = each_driver(giving(film=path), codec=codec).post("give", name="film")
    if codec == "msgpack":
        assert (reply.value, reply.size, reply.signature) == (None, INLINE + 1, signed(path.read_bytes()))
    assert reply.media_type == "video/mp4"
    assert str(tmp_path) not in repr(reply) + str(reply.ref)
    assert reply.read() == path.read_bytes()
    with reply.open() as file:
        assert (file.seek(INLINE - 5), file.read()) == (INLINE - 5, path.read_bytes()[-6:])
    assert reply.path().read_bytes() == path.read_bytes()
    assert (reply.path().suffix, reply.path().stat().st_mode & 0o777) == (".mp4", 0o400)


def test_a_reply_up_to_the_limit_is_inline(everywhere: Place, codec: str, tmp_path: Path) -> None:
    path = made(tmp_path / "film.mp4", INLINE)
    assert everywhere(giving(film=path), codec=codec).post("give", name="film").value == path.read_bytes()


def test_an_async_client_reads_a_reply(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    url = everywhere.serve(giving(it=path))

    async def scene() -> bytes:
        async with Works.at(url, **everywhere.options) as client:
            reply = await client.apost("give", name="it")
            found = await reply.aread()
            assert await reply.aread() is found
            return bytes(found)

    assert within(scene()) == path.read_bytes()


def test_every_large_document_of_a_reply_is_kept(everywhere: Place, tmp_path: Path) -> None:
    files = {name: made(tmp_path / name, size) for name, size in (("a", INLINE + 1), ("b", 10), ("c", INLINE + 2))}
    found = everywhere(giving(**files)).give_all(names=list(files))
    assert {name: doc.read() for name, doc in found.items()} == {
        name: path.read_bytes() for name, path in files.items()
    }
    assert [doc.value is None for doc in found.values()] == [True, False, True]


def test_items_of_a_stream_are_kept(each_driver: Place, codec: str, tmp_path: Path) -> None:
    files = {name: made(tmp_path / name) for name in "ab"}
    client = each_driver(giving(**files), codec=codec)
    assert [doc.read() for doc in client.stream("gives_each", names=["a", "b"])] == [
        path.read_bytes() for path in files.values()
    ]


def downloads(paths: list[str]) -> int:
    return paths.count("/xooai/download")


def test_nothing_is_fetched_before_it_is_read_and_all_only_once(trusted: Place, tmp_path: Path) -> None:
    path, called = made(tmp_path / "content"), list[str]()
    url = trusted.serve(giving(it=path))
    with Executor(url, layers=[counting(called)]) as client:
        reply = client.post("give", name="it")
        copied = reply.model_copy()
        assert [str(reply), repr(reply), copied == reply, reply.model_dump(), bool(reply.model_dump_json())]
        page = Page(scan=Image.model_construct(**dict(reply.__dict__) | {"kind": "image"}))
        assert page.scan is not None
        assert downloads(called) == 0
        assert reply.read() == path.read_bytes()
        assert downloads(called) == 1
        assert reply.read() == client.post("give", name="it").read() == copied.read() == path.read_bytes()
        assert downloads(called) == 1, "the cache has it"


def test_echoing_fetches_nothing_on_either_side(trusted: Place, tmp_path: Path) -> None:
    path, called = made(tmp_path / "film.mp4"), list[str]()
    url = trusted.serve(works := giving(it=path))
    with Executor(url, layers=[counting(called)]) as client:
        reply = client.post("give", name="it")
        called.clear()
        with counted_bytes() as sent:
            again = client.post("echo", doc=reply)
        assert (again.signature, again.size, again.media_type) == (reply.signature, reply.size, reply.media_type)
        assert (called, sent) == (["/works/echo"], [])
        assert works.calls == 2
        assert again.read() == path.read_bytes()


def test_printing_fetches_nothing_and_shows_no_grant(place: Place, tmp_path: Path) -> None:
    reply = place(giving(it=made(tmp_path / "content"))).give(name="it")
    grant = str(reply.ref).partition("?g=")[2]
    assert grant
    assert grant not in f"{reply} {reply!r}"


def test_a_reply_of_one_server_is_passed_to_another(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "film.mp4")
    first, second = everywhere(giving(it=path)), everywhere(Works())
    reply = first.give(name="it")
    found = second.facts(doc=reply)
    assert (found.digest, found.size, found.media_type) == (signed(path.read_bytes()), INLINE + 1, "video/mp4")
    with counted_bytes() as sent:
        assert second.facts(doc=reply).digest == found.digest
    assert sent == []


def test_a_server_passes_on_what_its_caller_sent(
    trusted: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "film.mp4")
    monkeypatch.setenv("XOOAI_CACHE", str(trusted.cache(2)))  # as it is for all loops of one process
    other = trusted.serve(Works())
    found = trusted(Works()).forward(url=other, doc=File(ref=str(path)))
    assert (found.digest, found.media_type) == (signed(path.read_bytes()), "video/mp4")


def test_a_reply_that_was_removed_meanwhile_is_not_found(everywhere: Place, tmp_path: Path) -> None:
    client = everywhere(giving(it=made(tmp_path / "content")))
    reply = client.give(name="it")
    shutil.rmtree(everywhere.cache() / "contents")
    (everywhere.cache() / "contents").mkdir()
    with pytest.raises(NotFound, match="was removed since") as caught:
        reply.read()
    assert str(tmp_path) not in str(caught.value)
    assert client.give(name="it").read()


def test_what_was_removed_there_is_sent_anew(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    client = everywhere(Works())
    client.facts(doc=File(ref=str(path)))
    shutil.rmtree(everywhere.cache() / "contents")
    (everywhere.cache() / "contents").mkdir()
    with counted_bytes() as sent:
        assert client.echo(doc=File(ref=str(path))).size == INLINE + 1
    assert sum(size for _, size in sent) == INLINE + 1


def test_a_reply_is_read_after_its_client_was_closed(place: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    url = place.serve(giving(it=path))
    with Works.at(url) as client:
        reply = client.give(name="it")
    try:
        assert reply.read() == path.read_bytes()
    finally:
        client._xooai_end()


@pytest.mark.parametrize("size", [50 * MIB, 63 * MIB])
def test_a_value_arrives_as_a_value_as_long_as_a_message_takes_it(place: Place, size: int) -> None:
    client = place(Works())
    assert client.give_value(size=size).value == bytes(size)
    assert client.facts(doc=File(value=bytes(size))).is_inline


def test_a_value_that_no_message_takes_is_put_beside_it(place: Place, codec: str) -> None:
    client = place(Works(), codec=codec)
    reply = client.post("give_value", size=65 * MIB)
    assert (reply.size, reply.value) == (65 * MIB, None)
    found = client.post("facts", doc=File(value=bytes(65 * MIB)))
    assert (found.length, found.is_inline) == (65 * MIB, False)


@pytest.mark.slow
def test_texts_of_many_scripts_go_inline_as_far_as_a_message_takes_them(place: Place) -> None:
    text = "文" * (20 * MIB)  # 60 MiB in UTF-8
    found: Facts = place(Works()).facts(doc=Text(value=text))
    assert (found.is_inline, found.length) == (True, 60 * MIB)


def test_facts_are_those_of_the_document_itself(tmp_path: Path) -> None:
    doc: Doc = File(ref=str(made(tmp_path / "a.png", 10)))
    assert facts_of(doc).media_type == "image/png"


@pytest.mark.parametrize("size", [INLINE + 1, 50 * MIB, 64 * MIB])
def test_who_asks_for_the_content_itself_gets_it(over_http: Place, tmp_path: Path, size: int) -> None:
    path = made(tmp_path / "a.png", size)
    request = urllib.request.Request(
        f"{over_http.serve(giving(it=path))}/give_image",
        b'{"name": "it"}',
        {"Accept": "image/png", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.read() == path.read_bytes()


def test_who_is_no_client_of_ours_gets_contents_inline(over_http: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "a.png", 10 * MIB)
    request = urllib.request.Request(
        f"{over_http.serve(giving(it=path))}/give_image", b'{"name": "it"}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        reply = json.load(answer)
    assert base64.b64decode(reply["value"]) == path.read_bytes()
    assert "ref" not in reply
