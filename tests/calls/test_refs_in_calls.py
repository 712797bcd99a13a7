"""Refs on their way: when a file is read, by whom, and that nothing a peer names is ever opened."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from places import HERE, Place

from xooai import (
    ComboDoc,
    DataLoss,
    Executor,
    Image,
    Internal,
    NotFound,
    PermissionDenied,
    Text,
    XooaiError,
    post,
)

PASSWD = "/etc/passwd"
WIRE_REFS = [
    PASSWD,
    "file:///etc/passwd",
    "~/.ssh/id_rsa",
    "../../etc/passwd",
    "counted://secret.png",
    "simplecache::counted://secret.png",
    "https://127.0.0.1:1/metadata",
    "data:image/png;base64,AAAA",
    "store:abc",
]

opened: list[str] = []
_is_watching = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _is_watching and event in ("open", "os.listdir", "os.scandir", "socket.connect"):
        opened.append(f"{event} {args[0] if event != 'socket.connect' else args[1]!r}")


sys.addaudithook(_watch)  # there is no way to take it off


@contextmanager
def watched() -> Iterator[list[str]]:
    """What this process opens or connects to meanwhile."""
    global _is_watching
    opened.clear()
    _is_watching = True
    try:
        yield opened
    finally:
        _is_watching = False


def touched(refs: list[str]) -> list[str]:
    """Which of these were opened while watched."""
    names = [os.path.basename(ref) for ref in refs] + ["('127.0.0.1', 1)"]
    return [line for line in opened if any(name in line for name in names)]


class Counted(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Counts every question that it is asked."""

    protocol: ClassVar[str] = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[list[str]] = []

    def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(f"open {path}")
        return super()._open(path, *args, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        self.asked.append(f"info {path}")
        return super().info(path, **kwargs)


@pytest.fixture(autouse=True)
def counted() -> Iterator[type[Counted]]:
    fsspec.register_implementation("counted", Counted, clobber=True)
    with fsspec.open("counted://secret.png", "wb") as file:
        file.write(b"secret")
    Counted.asked.clear()
    yield Counted
    Counted.asked.clear()


class Page(ComboDoc):
    scan: Image
    more: list[Image | Text] = []


class Echo(Executor):
    @post
    def echo(self, doc: Image) -> Image:
        return doc

    @post
    async def echo_on_loop(self, doc: Image) -> Image:
        return doc

    @post
    def page(self, page: Page) -> Page:
        return page

    @post
    async def unsaid(self, doc: Image):  # type: ignore[no-untyped-def]
        return [doc]

    @post
    def read(self, doc: Image) -> int:
        return len(doc.read())

    @post
    async def aread(self, doc: Image) -> int:
        return len(await doc.aread())

    @post
    def opened(self, doc: Image) -> int:
        with doc.open() as file:
            return len(file.read())

    @post
    def path(self, doc: Image) -> int:
        return doc.path().stat().st_size

    @post
    def copied(self, doc: Image) -> int:
        return len(doc.model_copy(update={"media_type": "image/png"}).read())

    @post
    def in_page(self, page: Page) -> list[int]:
        return [len(doc.read()) for doc in page.iter_docs()]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    return path


def test_what_is_opened_is_seen(picture: Path) -> None:
    """So that the tests below can fail."""
    with watched(), Echo() as echo:
        echo.post(on="read", doc=Image(ref=str(picture)))
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", 1))
        echo.post(on="read", doc=Image(ref="counted://secret.png"))
        assert len(touched([str(picture)])) == 2
    assert Counted.asked


# Echoing fetches nothing


def test_echoing_in_process_fetches_nothing(picture: Path, codec: str) -> None:
    """Whatever the ref is, it comes back as it went, unread."""
    with Echo() as echo, watched():
        for ref in (str(picture), "233.jpg", "counted://secret.png", "https://example.org/a.png"):
            doc = Image(ref=ref)
            for endpoint in ("echo", "echo_on_loop"):
                assert echo.post(on=endpoint, doc=doc, codec=codec) == doc
            assert echo.post(on="unsaid", doc=doc, codec=codec) == [doc]
            page = Page(scan=doc, more=[doc])
            assert echo.post(on="page", page=page, codec=codec) == page
        assert touched([str(picture), "233.jpg", "secret.png", "example.org"]) == []
    assert Counted.asked == []


def test_echoing_over_http_fetches_nothing_that_is_remote(place: Place, codec: str) -> None:
    echo = place(Echo())
    doc = Image(ref="https://127.0.0.1:1/a.png", size=3)
    with watched():
        for endpoint in ("echo", "echo_on_loop"):
            assert echo.post(on=endpoint, doc=doc, codec=codec) == doc
        assert touched(["a.png"]) == []


def test_in_process_calls_open_no_socket(monkeypatch: pytest.MonkeyPatch, picture: Path, codec: str) -> None:

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a socket was opened: {args} {kwargs}")

    with Echo() as echo:
        monkeypatch.setattr(socket, "socket", refuse)
        doc = Image(ref="233.jpg")
        assert echo.post(on="echo", doc=doc, codec=codec) == doc
        assert echo.post(on="echo_on_loop", doc=doc, codec=codec) == doc
        assert echo.post(on="read", doc=Image(ref=str(picture)), codec=codec) == picture.stat().st_size


def test_a_ref_that_dangles_is_noticed_in_process_only_when_it_is_read() -> None:
    with Echo() as echo:
        missing = Image(ref="/nowhere/233.jpg")
        assert echo.post(on="echo", doc=missing) == missing
        with pytest.raises(NotFound, match=r"/nowhere/233\.jpg"):
            echo.post(on="read", doc=missing)


def test_a_local_ref_is_read_in_process_where_it_stands(picture: Path) -> None:
    with Echo() as echo:
        for endpoint in ("read", "aread", "opened", "path", "copied"):
            assert echo.post(on=endpoint, doc=Image(ref=str(picture))) == 108
        assert echo.post(on="read", doc=Image(ref="counted://secret.png")) == 6


# What goes to a remote


@pytest.mark.parametrize("kind", ["path", "file url", "fsspec"])
def test_a_local_ref_that_goes_to_a_remote_is_inlined(
    serve: Callable[[Executor], str], picture: Path, kind: str, codec: str
) -> None:
    """The content goes, and no path of this machine."""
    ref = {"path": str(picture), "file url": f"file://{picture}", "fsspec": "counted://secret.png"}[kind]
    content = b"secret" if kind == "fsspec" else picture.read_bytes()
    doc = Image(ref=ref)
    with Echo.at(serve(Echo())) as client:
        found = client.post(on="echo", doc=doc, codec=codec)
        assert (found.value, found.ref, found.media_type) == (content, None, "image/png")
        page = client.post(on="page", page=Page(scan=doc, more=[Text(value="t"), doc]), codec=codec)
        assert [inner.ref for inner in page.iter_docs()] == [None] * 3
        assert client.post(on="read", doc=doc, codec=codec) == len(content)
    assert (doc.value, doc.ref) == (None, ref)  # the caller's own stays as it was


def test_a_ref_relative_to_this_folder_is_inlined(
    serve: Callable[[Executor], str], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(picture.parent)
    with Echo.at(serve(Echo())) as client:
        assert client.echo(doc=Image(ref="picture.png")).value == picture.read_bytes()


def test_a_missing_file_is_not_found_before_anything_is_sent(serve: Callable[[Executor], str]) -> None:
    seen: list[int] = []

    class Counting(Echo):
        @post
        def echo(self, doc: Image) -> Image:
            seen.append(1)
            return doc

    with Counting.at(serve(Counting())) as client:
        with pytest.raises(NotFound, match=r"233\.jpg") as caught:
            client.echo(doc=Image(ref="/nowhere/233.jpg"))
        assert not caught.value.remote
        assert seen == []


def test_a_file_above_the_limit_of_a_message_comes_back_as_it_went(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    caller = place(Echo())
    doc = Image(ref=str(path))
    reply = caller.post(on="echo", doc=doc)
    if place.is_remote:
        assert (reply.size, reply.media_type, reply.value) == (64 * 1024 * 1024 + 1, "image/png", None)
        assert str(tmp_path) not in str(reply.ref)
        with reply.open() as file:
            assert (file.seek(-1, 2), file.read(2)) == (64 * 1024 * 1024, b"\0")
    else:
        assert reply == doc


def test_a_file_that_is_not_what_was_signed_is_data_loss_before_it_is_sent(
    serve: Callable[[Executor], str], picture: Path
) -> None:
    with Echo.at(serve(Echo())) as client, pytest.raises(DataLoss):
        client.echo(doc=Image(ref=str(picture), signature=f"sha256:{'00' * 32}"))


def test_a_document_with_ref_and_value_goes_as_it_is(serve: Callable[[Executor], str], codec: str) -> None:
    """The ref says where it came from: nobody opens it."""
    doc = Image(ref="https://example.org/x.png", value=b"content")
    with Echo.at(serve(Echo())) as client, watched():
        assert client.post(on="echo", doc=doc, codec=codec) == doc
        assert client.post(on="read", doc=doc, codec=codec) == 7


# What comes from a peer


@pytest.mark.parametrize("endpoint", ["read", "aread", "opened", "path", "copied"])
@pytest.mark.parametrize("ref", WIRE_REFS)
def test_a_ref_from_a_peer_is_refused_when_it_is_read(
    serve: Callable[[Executor], str], ref: str, endpoint: str
) -> None:
    """By the handler, whichever way it reads."""
    url = serve(Echo())
    with watched():
        status, body = raw(url, endpoint, {"doc": {"ref": ref}})
        assert touched(WIRE_REFS) == []
    assert (status, body["title"]) == (403, "PERMISSION_DENIED")
    assert "came from a peer" in body["detail"]
    assert Counted.asked == []


@pytest.mark.parametrize("ref", WIRE_REFS)
def test_a_ref_from_a_peer_is_echoed_as_the_text_that_it_is(serve: Callable[[Executor], str], ref: str) -> None:
    """Through echo, alone and in a ComboDoc; nothing is opened, inlined or resolved."""
    url = serve(Echo())
    with watched():
        for endpoint in ("echo", "echo_on_loop"):
            status, body = raw(url, endpoint, {"doc": {"ref": ref}})
            assert (status, body["ref"]) == (200, ref)
            assert "value" not in body
        status, body = raw(url, "page", {"page": {"scan": {"ref": ref}, "more": [{"kind": "image", "ref": ref}]}})
        assert (status, body["scan"]["ref"], body["more"][0]["ref"]) == (200, ref, ref)
        assert touched(WIRE_REFS) == []
    assert Counted.asked == []


def test_inline_content_from_a_peer_is_read_whatever_its_ref_says(serve: Callable[[Executor], str]) -> None:
    url = serve(Echo())
    for endpoint in ("read", "aread", "opened", "path", "copied"):
        with watched():
            status, body = raw(url, endpoint, {"doc": {"ref": PASSWD, "value": "AAAA"}})
            assert touched([PASSWD]) == []
        assert (status, body) == (200, 3)


def raw(url: str, endpoint: str, body: Any) -> tuple[int, Any]:
    """Post JSON as anybody would."""
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        connection.request(
            "POST", f"/{url.split('/')[3]}/{endpoint}", json.dumps(body), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


class Forwarding(Executor):
    """Passes documents from its peer on, in every way."""

    other: Any = None

    @post
    def in_process(self, doc: Image) -> Image:
        with Echo() as inner:
            return inner.post(on="echo", doc=doc)  # type: ignore[no-any-return]

    @post
    async def in_process_on_loop(self, doc: Image) -> Image:
        return await Echo().apost(on="unsaid", doc=doc)  # type: ignore[no-any-return]

    @post
    def read_in_process(self, doc: Image) -> int:
        with Echo() as inner:
            return inner.post(on="read", doc=doc)  # type: ignore[no-any-return]

    @post
    async def read_in_process_on_loop(self, page: Page) -> list[int]:
        return await Echo().apost(on="in_page", page=page)  # type: ignore[no-any-return]

    @post
    def to_a_remote(self, doc: Image) -> Image:
        return self.other.post(on="echo", doc=doc)  # type: ignore[no-any-return]

    @post
    async def to_a_remote_on_loop(self, doc: Image) -> Image:
        return await self.other.apost(on="echo", doc=doc)  # type: ignore[no-any-return]

    @post
    def read_what_came_back(self, doc: Image) -> int:
        return len(self.other.post(on="echo", doc=doc).read())

    @post
    def wrapped(self, doc: Image) -> Page:
        return Page(scan=doc, more=[doc.model_copy()])


@pytest.fixture
def forwarding() -> Iterator[str]:
    with ExitStack() as stack:
        echo, executor = stack.enter_context(Echo()), stack.enter_context(Forwarding())
        executor.other = stack.enter_context(Echo.at(echo.start(HERE)[0]))
        yield f"{executor.start(HERE)[0]}/forwarding"


@pytest.mark.parametrize("ref", [PASSWD, "counted://secret.png"])
def test_a_ref_from_a_peer_stays_one_on_every_way(forwarding: str, ref: str) -> None:
    """In-process post, remote forward and reply; then reading it is refused."""
    with watched():
        for endpoint in ("in_process", "to_a_remote", "to_a_remote_on_loop"):
            status, body = raw(forwarding, endpoint, {"doc": {"ref": ref}})
            assert (status, body["ref"], "value" in body) == (200, ref, False)
        status, body = raw(forwarding, "wrapped", {"doc": {"ref": ref}})
        assert (status, body["scan"]["ref"], body["more"][0]["ref"]) == (200, ref, ref)
        for endpoint in ("read_in_process", "read_what_came_back"):
            status, body = raw(forwarding, endpoint, {"doc": {"ref": ref}})
            assert (status, body["title"]) == (403, "PERMISSION_DENIED")
        status, body = raw(
            forwarding,
            "read_in_process_on_loop",
            {"page": {"scan": {"value": "AAAA"}, "more": [{"kind": "image", "ref": ref}]}},
        )
        assert (status, body["title"]) == (403, "PERMISSION_DENIED")
        assert touched([ref]) == []
    assert Counted.asked == []


def test_what_a_server_replied_is_a_peers_too(serve: Callable[[Executor], str]) -> None:
    """A client does not open what a server names."""

    class Naming(Executor):
        @post
        def named(self, ref: str) -> Image:
            return Image(ref=ref)

    with Executor(serve(Naming())) as client, watched():
        found = client.post(on="named", ref="https://127.0.0.1:1/x.png")
        with pytest.raises(PermissionDenied):
            found.read()
        with pytest.raises(PermissionDenied):
            asyncio.run(found.aread())


def test_a_local_ref_in_a_reply_is_inlined_by_the_server(
    serve: Callable[[Executor], str], picture: Path, codec: str
) -> None:
    """Design 2: a server does the same with local refs in its replies."""

    class Drawing(Executor):
        @post
        def draw(self) -> Image:
            return Image(ref=str(picture))

        @post
        async def draw_several(self) -> Page:
            return Page(scan=Image(ref=f"file://{picture}"), more=[Image(ref="counted://secret.png")])

    with Drawing.at(serve(Drawing())) as client:
        found = client.post(on="draw", codec=codec)
        assert (found.value, found.ref) == (picture.read_bytes(), None)
        page = client.post(on="draw_several", codec=codec)
        assert [doc.value for doc in page.iter_docs()] == [picture.read_bytes(), b"secret"]
        assert str(picture) not in repr(page)


def test_a_reply_whose_file_is_missing_is_the_handlers_failure(
    serve: Callable[[Executor], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Names of files over there are for its log."""

    class Drawing(Executor):
        @post
        def draw(self) -> Image:
            return Image(ref="/srv/models/gone.png")

    url = serve(Drawing())
    status, body = raw(url, "draw", {})
    assert (status, body["title"]) == (500, "INTERNAL")
    assert "/srv" not in json.dumps(body)
    assert "/srv/models/gone.png" in caplog.text
    with Drawing.at(url) as client, pytest.raises(Internal):
        client.draw()
    with Drawing() as drawing:
        assert drawing.post(on="draw").ref == "/srv/models/gone.png"  # in process it may dangle


def test_a_reply_whose_file_is_too_large_for_a_message_says_where_its_content_is(
    serve: Callable[[Executor], str], tmp_path: Path
) -> None:
    path = tmp_path / "film.png"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)

    class Drawing(Executor):
        @post
        def draw(self) -> Image:
            return Image(ref=str(path))

    status, body = raw(serve(Drawing()), "draw", {})
    assert status == 200
    assert body["ref"].startswith(f"store:xooai/{body['signature']}?g=")
    assert (body["size"], body["media_type"]) == (64 * 1024 * 1024 + 1, "image/png")
    assert "film" not in json.dumps(body)


def test_secrets_in_refs_stand_in_no_error(serve: Callable[[Executor], str]) -> None:
    ref = "https://user:hunter2@127.0.0.1:1/a.png?X-Amz-Signature=hunter3&token=hunter4"
    url = serve(Echo())
    status, body = raw(url, "read", {"doc": {"ref": ref}})
    assert status == 403
    assert "hunter" not in json.dumps(body)
    with Echo() as echo, pytest.raises(XooaiError) as caught:
        echo.post(on="read", doc=Image(ref=ref))
    assert "hunter" not in f"{caught.value}{caught.value.details}"
