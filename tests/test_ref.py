"""Refs in the user's own process: which are local, what they are called, and reading them."""

from __future__ import annotations

import errno
import io
import os
import string
import threading
import traceback
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from xooai.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PluginError,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)
from xooai.ref import is_local, local_path, media_type_of, open_ref, read_ref, redact, size_of


class Broken(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Opens no file: raises what the path names."""

    protocol: ClassVar[str] = "broken"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    errors: ClassVar[dict[str, Exception]] = {
        "forbidden": PermissionError(errno.EACCES, "secret-in-text"),
        "timeout": TimeoutError("secret-in-text"),
        "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        "strange": RuntimeError("secret-in-text"),
    }

    def _open(self, path: str, *_: Any, **__: Any) -> io.BytesIO:
        name = path.strip("/").rpartition("/")[2].partition("?")[0]
        raise self.errors[name]


class Halting(io.RawIOBase):
    """Gives its bytes in small pieces, as a stream from a network does."""

    def __init__(self, left: bytes, name: str) -> None:
        self.left, self.fails, self.short = left, "fails" in name, "short" in name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if not self.short:
            raise ValueError("Cannot seek")
        return 20 if whence == os.SEEK_END else offset

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self.left and self.fails:
            raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        given, self.left = self.left[:3], self.left[3:]
        return given


class Streams(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files that cannot seek; `fails` breaks off in the middle, `short` ends there while it announces more."""

    protocol: ClassVar[str] = "streams"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    opened: ClassVar[list[Halting]] = []

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        self.opened.append(Halting(b"0123456789", path))
        return self.opened[-1]


@pytest.fixture(autouse=True, scope="module")
def filesystems() -> None:
    fsspec.register_implementation("broken", Broken, clobber=True)
    fsspec.register_implementation("streams", Streams, clobber=True)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


# Which are local


@pytest.mark.parametrize(
    "ref",
    [
        "233.jpg",
        "./a/b.png",
        "/etc/passwd",
        "~/a.png",
        "C:/a.png",
        "C:\\a.png",
        "\\\\server\\share\\a.png",
        "",
        " https://host/a",
        "https:/host/a",
        "https",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "local:///etc/passwd",
        "memory://a",
        "data:,a",
        "git://here:main@a.png",
        "unheard-of://host/a",
        "simplecache::https://host/a.png",
        "filecache::s3://bucket/a.png",
        "zip://a.png::https://host/b.zip",
        "https://host/a.png::file:///etc/passwd",
        "http://[::1]/a::/etc/passwd",
        "reference://::https://host/a.json",
        "dir::/etc",
    ],
)
def test_what_means_something_here_only_is_local(ref: str) -> None:
    assert is_local(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "https://host/a.png",
        "HTTP://host/a.png",
        "http://[::1]:8080/a.png",
        "http://user:word@[2001:db8::1]/a.png?b=c",
        "s3://bucket/a.png",
        "gs://bucket/a.png",
        "abfs://box@account/a.png",
        "hf://datasets/a/b.png",
        "store:sha256:00",
    ],
)
def test_what_another_machine_can_understand_is_not_local(ref: str) -> None:
    assert not is_local(ref)


@given(st.text(alphabet=string.ascii_letters + string.digits + "/\\.:~@?#[]% -_"))
def test_only_text_that_begins_with_a_scheme_leaves_the_process(ref: str) -> None:
    if not is_local(ref):
        assert ref.startswith("store:") or ref.partition("://")[0].isalnum()
        assert "://" in ref or ref.startswith("store:")


# What they are called


@pytest.mark.parametrize(
    ("ref", "media_type"),
    [
        ("a.png", "image/png"),
        ("a.b/c.JPG", "image/jpeg"),
        ("C:\\a.b\\c.webp", "image/webp"),
        ("a?b#c.png", "image/png"),
        ("file:///a?b.png", "image/png"),
        ("https://host/a.png?b=c.gif#d.gif", "image/png"),
        ("https://host.png", None),
        ("https://host.png/a", None),
        ("https://host/a?b.png", None),
        ("https://[::1]/a.gif", "image/gif"),
        ("zip://a.wav::https://host/b.zip", "audio/wav"),
        ("simplecache::s3://bucket/a.mp3", "audio/mpeg"),
        ("a.tar.gz", "application/gzip"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"),
        ("a.ogg", "audio/ogg"),
        ("data:image/png;base64,AAAA", "image/png"),
        ("data:,a", "text/plain"),
        ("a.unheard-of", None),
        (".png", None),
        ("a", None),
        ("", None),
    ],
)
def test_the_extension_tells_the_media_type(ref: str, media_type: str | None) -> None:
    assert media_type_of(ref) == media_type


# What may be shown


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        ("a?b@c.png", "a?b@c.png"),
        ("file:///a?b@c.png", "file:///a?b@c.png"),
        ("https://host/a.png", "https://host/a.png"),
        ("https://host/@a/b", "https://host/@a/b"),
        ("https://user:word@host/a?sig=b#c", "https://***@host/a?***"),
        ("https://user:wo/rd@host/a", "https://***@host/a"),
        ("https://user:wo?rd@host/a", "https://***@host/a"),
        ("https://user@na.me:word@host/a", "https://***@host/a"),
        ("https://host/a#token", "https://host/a?***"),
        ("http://[::1]:80/a?b", "http://[::1]:80/a?***"),
        ("zip://a::https://u:w@host/b.zip?t=1", "zip://a::https://***@host/b.zip?***"),
        ("simplecache::https://u:w@host/a", "simplecache::https://***@host/a"),
        ("https://user::word::@host/a", "https://***@host/a"),
        ("unheard-of://u:w@host/a", "unheard-of://***@host/a"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,..."),
    ],
)
def test_a_ref_is_shown_without_its_secrets(ref: str, shown: str) -> None:
    assert redact(ref) == shown


_WORD = st.text(alphabet=string.ascii_letters + string.digits + "/?#:%+&=.-_", min_size=8, max_size=30)


@given(_WORD, _WORD)
def test_no_password_and_no_query_is_ever_shown(word: str, query: str) -> None:
    # "x", since a password that is a number and then a '/' cannot be told from a port and a path
    shown = redact(f"https://user:x{word}!hidden!@host.example/a?{query}!hidden!")
    assert shown == "https://***@host.example/a?***"


def test_a_very_long_ref_is_shown_cut() -> None:
    assert len(redact("a" * 100_000)) < 300
    assert len(redact("data:" + "a" * 100_000)) < 300


# Reading


def test_a_path_a_home_and_a_file_url_are_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b%20?#.txt").write_bytes(b"hello")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    refs = [
        "a b%20?#.txt",
        "~/a b%20?#.txt",
        f"{tmp_path}/a b%20?#.txt",
        f"file://{tmp_path}/a b%20?#.txt",
        f"file:{tmp_path}/a b%20?#.txt",
    ]
    for ref in refs:
        assert read_ref(ref) == b"hello"
        assert size_of(ref) == 5
        path = local_path(ref)
        assert path is not None
        assert path.read_bytes() == b"hello"


def test_a_name_with_two_colons_is_a_name_unless_it_is_a_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("12::30.txt").write_bytes(b"noon")
    assert read_ref("12::30.txt") == b"noon"
    assert is_local("12::30.txt")


def test_an_open_file_can_seek_and_belongs_to_the_caller(tmp_path: Path, memory: MemoryFileSystem) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    memory.pipe_file("/a", b"0123456789")
    for ref in (str(tmp_path / "a"), "memory://a", "streams://a", "data:,0123456789"):
        with open_ref(ref) as file:
            assert file.read(2) == b"01"
            assert file.seek(-3, os.SEEK_END) == 7
            assert file.read() == b"789"


def test_two_readers_of_one_memory_file_do_not_share_a_position(memory: MemoryFileSystem) -> None:
    memory.pipe_file("/a", b"0123456789")
    with open_ref("memory://a") as one, open_ref("memory://a") as two:
        assert one.read(4) == b"0123"
        assert two.read() == b"0123456789"


def test_a_member_of_an_archive_outlives_the_filesystem_that_opened_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.txt", "hello")
    ref = f"zip://b.txt::{tmp_path}/a.zip"
    assert read_ref(ref) == b"hello"
    assert size_of(ref) == 5
    assert local_path(ref) is None
    with pytest.raises(NotFound):
        read_ref(f"zip://c.txt::{tmp_path}/a.zip")


def test_a_stream_is_read_to_its_end_and_its_size_is_not_known_before() -> None:
    Streams.opened.clear()
    assert size_of("streams://a") is None
    assert read_ref("streams://a") == b"0123456789"
    assert [file.closed for file in Streams.opened] == [True, True]


@pytest.mark.parametrize("read", [read_ref, lambda ref: open_ref(ref).close()])
def test_a_stream_that_breaks_off_is_unavailable_and_closed(read: Any) -> None:
    Streams.opened.clear()
    with pytest.raises(Unavailable, match="Connection reset by peer"):
        read("streams://fails")
    assert Streams.opened[0].closed


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1])
def test_content_of_just_the_limit_is_read_and_a_byte_more_is_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    ref = str(tmp_path / "a")
    assert read_ref(ref) == read_ref(ref, size) == b"x" * size
    if size:
        with pytest.raises(ResourceExhausted, match=f"{size:,} bytes, the limit is {size - 1:,} bytes") as caught:
            read_ref(ref, size - 1)
        assert caught.value.reason == "size"


def test_a_stream_of_just_the_limit_is_read_and_a_byte_more_is_refused() -> None:
    assert read_ref("streams://a", 10) == b"0123456789"
    with pytest.raises(ResourceExhausted, match="the limit is 9 bytes"):
        read_ref("streams://a", 9)


def test_a_file_that_announces_nothing_is_read_whole() -> None:
    if not os.path.exists("/proc/self/status"):
        pytest.skip("there is no /proc here")
    assert b"Threads:" in read_ref("/proc/self/status")


# What goes wrong


def test_a_missing_file_is_not_found_by_every_way(tmp_path: Path, memory: MemoryFileSystem) -> None:
    (tmp_path / "file").write_bytes(b"")
    for ref in (str(tmp_path / "none"), str(tmp_path / "file" / "none"), f"file://{tmp_path}/none", "memory://none"):
        assert local_path(ref) is None
        for read in (read_ref, size_of, open_ref):
            with pytest.raises(NotFound) as caught:
                read(ref)
            assert repr(ref) in caught.value.message


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for ref, words in (
        (str(tmp_path), "is a directory"),
        (str(tmp_path / "pipe"), "no regular file"),
        ("/dev/zero", "no regular file"),
    ):
        assert local_path(ref) is None
        with pytest.raises(InvalidArgument, match=words):
            open_ref(ref)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("", "empty ref"),
        ("a\0b", "null (byte|character)"),
        ("a" * 5000, "File name too long"),
        ("unheard-of://host/a?secret", "unknown scheme 'unheard-of'"),
        ("data:no-comma", "cannot be opened"),
        ("reference://a", "cannot be opened"),
        ("store:sha256:00", "a key in a store"),
    ],
)
def test_a_ref_that_makes_no_sense_is_an_invalid_argument(ref: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        read_ref(ref)
    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 500


def test_a_broken_archive_is_an_invalid_argument(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"this is no archive")
    with pytest.raises(InvalidArgument, match="not a zip file"):
        read_ref(f"zip://b.txt::{tmp_path}/a.zip")


def test_content_shorter_than_announced_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="'streams://short' ended after 10 of 20 bytes"):
        read_ref("streams://short")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_permission_denied(tmp_path: Path) -> None:
    (tmp_path / "a").touch(mode=0)
    with pytest.raises(PermissionDenied):
        read_ref(str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("forbidden", PermissionDenied, "may not be read"),
        ("timeout", Unavailable, "TimeoutError"),
        ("reset", Unavailable, "Connection reset by peer"),
        ("strange", Unavailable, "RuntimeError"),
    ],
)
def test_what_a_filesystem_raises_becomes_ours_and_tells_no_secret(
    name: str, kind: type[XooaiError], words: str
) -> None:
    ref = "broken://user:word@host/{}?signature=1234".format  # not on the line that raises: a traceback shows that line
    with pytest.raises(kind, match=words) as caught:
        read_ref(ref(name))
    shown = "".join(traceback.format_exception(caught.value))
    assert f"broken://***@host/{name}?***" in shown
    for secret in ("user:word", "1234", "secret-in-text"):
        assert secret not in shown


def test_the_original_error_is_kept_where_the_ref_has_no_secret() -> None:
    with pytest.raises(PermissionDenied) as caught:
        read_ref("broken://host/forbidden")
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_package_that_fsspec_needs_is_named() -> None:
    fsspec.register_implementation("nodriver", "xooai_missing_package.FileSystem", errtxt="none", clobber=True)
    with pytest.raises(PluginError, match="'nodriver://a' needs the module 'xooai_missing_package'; try: pip install"):
        read_ref("nodriver://a")


# HTTP


class Site(BaseHTTPRequestHandler):
    """Serves `content`, with ranges or without, and some failures."""

    content: ClassVar[bytes] = bytes(range(256)) * 40

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        name = self.path.partition("?")[0].strip("/")
        if name.isdigit():
            self.send_error(int(name))
            return
        whole, asked = (self.content, self.headers.get("Range") if name == "ranges" else None)
        self.send_response(206 if asked else 200)
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            end = min(int(last or len(whole) - 1), len(whole) - 1)
            self.send_header("Content-Range", f"bytes {first}-{end}/{len(whole)}")
            whole = whole[int(first) : end + 1]
        if name == "ranges":
            self.send_header("Accept-Ranges", "bytes")
        if name != "unsized":
            self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        if body:
            self.wfile.write(whole[:100] if name == "truncated" else whole)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="reading https:// through fsspec needs aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["ranges", "plain", "unsized"])
def test_http_is_read_with_ranges_without_and_without_a_size(site: str, name: str) -> None:
    assert read_ref(f"{site}/{name}?a=b") == Site.content
    assert size_of(f"{site}/{name}") == (None if name == "unsized" else len(Site.content))
    with open_ref(f"{site}/{name}") as file:
        file.seek(256)
        assert file.read(256) == bytes(range(256))
    with pytest.raises(ResourceExhausted):
        read_ref(f"{site}/{name}", len(Site.content) - 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("404", NotFound),
        ("403", PermissionDenied),
        ("401", PermissionDenied),
        ("500", Unavailable),
        ("truncated", Unavailable),
    ],
)
def test_a_failure_over_http_is_typed_and_tells_no_secret(site: str, name: str, kind: type[XooaiError]) -> None:
    ref = f"{site}/{name}?signature=hidden"
    with pytest.raises(kind) as caught:
        read_ref(ref)
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_a_server_that_is_not_there_is_unavailable(site: str) -> None:
    with pytest.raises(Unavailable):
        read_ref("http://127.0.0.1:1/a")
