"""S3 as a store passes the suite, on servers of moto and SeaweedFS."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")
pytest.importorskip("moto.server", reason="no module 'moto'; it comes with: pip install -e '.[dev]'")


from store_proxy import Proxy, failing

from servers import ACCESS, SECRET, bucket, client, seaweed
from xooai.content import MemoryContent
from xooai.errors import DataLoss, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from xooai.plugins import open_store
from xooai.store import StoreOptions
from xooai.testing import StoreTests
from xooai.testing.stores.fixtures import Broken, Gated, Open, bytes_of, got, is_there
from xooai_fsspec.places import place_at
from xooai_fsspec.s3 import S3


def options(endpoint: str, **more: Any) -> StoreOptions:
    given = {"access_key_id": ACCESS, "secret_access_key": SECRET, "region": "us-east-1", "endpoint": endpoint}
    return StoreOptions(storage_options={**given, **more})


class TestMoto(StoreTests):
    large = 9_000_000
    secrets = (SECRET,)

    @pytest.fixture
    def open_store(self, endpoint: str) -> Open:
        name = bucket(endpoint)
        return lambda: open_store(f"s3://{name}/some/prefix", options(endpoint))

    @pytest.mark.skip(reason="moto has all uploads begin in 2010; SeaweedFS, below, tells when")
    def test_a_sweep_spares_contents_and_puts_under_way(self) -> None:  # type: ignore[override]
        """Skipped."""


@pytest.fixture(scope="module")
def seaweed_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as url:
        yield url


@pytest.fixture(scope="module")
def seaweed_bucket(seaweed_endpoint: str) -> str:
    """One bucket for all tests: each has volumes of its own, of which there are few."""
    return bucket(seaweed_endpoint)


@pytest.mark.slow
class TestSeaweed(StoreTests):
    secrets = (SECRET,)

    @pytest.fixture
    def open_store(self, seaweed_endpoint: str, seaweed_bucket: str) -> Open:
        prefix = secrets.token_hex(8)
        return lambda: open_store(f"s3://{seaweed_bucket}/{prefix}", options(seaweed_endpoint))


@pytest.fixture
def place(endpoint: str) -> str:
    return f"s3://{bucket(endpoint)}/some/prefix"


def uploads(endpoint: str, place: str) -> list[str]:
    """The uploads that were begun and not ended."""
    found = client(endpoint).list_multipart_uploads(Bucket=place.split("/")[2]).get("Uploads", [])
    return [upload["Key"] for upload in found]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 60))


LARGE = MemoryContent(bytes_of(20 << 20))


def test_a_content_is_an_object_whose_key_is_its_digest(endpoint: str, place: str) -> None:
    run(open_store(place, options(endpoint)).put(MemoryContent(b"hello")))

    digest = MemoryContent(b"hello").signature.removeprefix("sha256:")
    (found,) = client(endpoint).list_objects_v2(Bucket=place.split("/")[2])["Contents"]
    assert found["Key"] == f"some/prefix/{digest[:2]}/{digest[2:4]}/{digest}"


@pytest.mark.slow
def test_uploads_that_end_leave_no_parts(endpoint: str, place: str) -> None:
    async def put() -> None:
        async with aclosing(open_store(place, options(endpoint))) as store:
            await store.put(LARGE)
            with pytest.raises(DataLoss):
                await store.put(Broken(bytes_of(20 << 20, 1), bytes_of(20 << 20, 2)))
            gated = Gated(bytes_of(40 << 20, 3))
            putting = asyncio.ensure_future(store.put(gated))
            await gated.reach(putting)
            putting.cancel()
            await asyncio.wait([putting])

    run(put())

    assert uploads(endpoint, place) == []


def test_a_writer_that_is_killed_leaves_nothing_that_is_seen_and_a_sweep_removes_it(endpoint: str, place: str) -> None:
    code = f"""
import asyncio, os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_s3 import LARGE, open_store, options, uploads
class Killing:
    signature, size = LARGE.signature, LARGE.size
    async def read(self, start=0, end=None):
        async for chunk in LARGE.read(0, 17 << 20):
            yield chunk
        while not uploads({endpoint!r}, {place!r}):
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(open_store({place!r}, options({endpoint!r})).put(Killing()))
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr

    async def swept() -> list[Any]:
        async with aclosing(open_store(place, options(endpoint))) as store:
            assert isinstance(store, S3)
            return [await is_there(store, LARGE.signature), *[await store.sweep(older) for older in (3600, -60, -60)]]

    assert len(uploads(endpoint, place)) == 1
    assert run(swept()) == [False, 0, 1, 0]
    assert uploads(endpoint, place) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "pattern", "how"),
    [
        (1, "partNumber=2", "500"),
        (1, "partNumber=3", "lost"),
        (1, "POST .*uploads", "503"),
        (1, "POST .*uploadId", "500"),
        (1, "POST .*uploadId", "lost"),
        (1, "HEAD", "503"),
    ],
)
def test_what_a_server_fails_at_once_is_tried_again(
    endpoint: str, place: str, times: int, pattern: str, how: str
) -> None:
    async def put(url: str) -> bool:
        async with aclosing(open_store(place, options(url))) as store:
            await store.put(LARGE)
            return await got(store, LARGE.signature) == bytes_of(20 << 20)

    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(times, pattern, how))
        assert run(put(proxy.url))
    assert uploads(endpoint, place) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_put_whose_last_answer_is_lost_for_good_is_looked_up(endpoint: str, place: str, size: int) -> None:
    """The server stored it, and every answer that says so is lost."""
    content = MemoryContent(bytes_of(size))

    async def put(url: str) -> bool:
        more = {"retry_config": {"max_retries": 0}}
        async with aclosing(open_store(place, options(url, **more))) as store:
            await store.put(content)
            return await is_there(store, content.signature)

    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(-1, "POST .*uploadId|PUT [^?]*$", "lost"))
        assert run(put(proxy.url))


@pytest.mark.slow
def test_a_server_that_fails_on_and_on_is_unavailable_and_keeps_no_parts(endpoint: str, place: str) -> None:
    async def put(url: str) -> None:
        async with aclosing(open_store(place, options(url, retry_config={"max_retries": 1}))) as store:
            with pytest.raises(Unavailable, match="the store 's3' does not work: HTTP status 500"):
                await store.put(LARGE)
            assert not await is_there(store, LARGE.signature)

    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(-1, "partNumber=2", "500"))
        run(put(proxy.url))
    assert uploads(endpoint, place) == []


def test_a_server_without_room_says_so(endpoint: str, place: str) -> None:
    async def put(url: str) -> str:
        async with aclosing(open_store(place, options(url, retry_config={"max_retries": 0}))) as store:
            with pytest.raises(ResourceExhausted) as raised:
                await store.put(MemoryContent(b"x"))
            return raised.value.reason

    with Proxy(endpoint) as proxy:
        proxy.failures.append(failing(-1, "PUT", "507"))
        assert run(put(proxy.url)) == "storage"


@pytest.mark.slow
def test_an_answer_that_is_cut_off_is_never_a_short_content(endpoint: str, place: str) -> None:
    async def get(url: str) -> None:
        async with aclosing(open_store(place, options(url))) as store:
            await store.put(LARGE)
            proxy.failures.append(failing(-1, "GET", "cut"))
            try:
                assert await got(store, LARGE.signature) == bytes_of(20 << 20)
            except Unavailable:
                pass

    with Proxy(endpoint) as proxy:
        run(get(proxy.url))


def test_a_put_of_what_is_there_moves_no_bytes(endpoint: str, place: str) -> None:
    async def put(url: str) -> None:
        async with aclosing(open_store(place, options(url))) as store:
            await store.put(LARGE)
            proxy.requests.clear()
            await store.put(LARGE)

    with Proxy(endpoint) as proxy:
        run(put(proxy.url))
        assert [request.partition(" ")[0] for request in proxy.requests] == ["HEAD"]


@pytest.mark.slow
def test_who_cannot_be_reached_is_unavailable_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        store = open_store("s3://bucket/x", options(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(Unavailable, match="cannot be reached"):
            run(got(store, LARGE.signature))
        with pytest.raises(Unavailable, match="cannot be reached"):
            run(store.put(LARGE))


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_told(endpoint: str) -> None:
    store = open_store("s3://no-such-bucket/x", options(endpoint))
    for work in (store.put(MemoryContent(b"x")), store.put(LARGE), got(store, LARGE.signature)):
        with pytest.raises(Unavailable, match="has no such bucket"):
            run(work)


def test_a_closed_store_says_so(endpoint: str, place: str) -> None:
    store = open_store(place, options(endpoint))
    run(store.aclose())
    with pytest.raises(Unavailable, match="has been closed"):
        run(got(store, LARGE.signature))


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///x",
        "s3://key:secret@bucket/x",
        "s3://secret@bucket/x",
        "s3://b%2f..%2fc/x",
        "s3://a b/x",
        "s3://evil.com\\x/y",
        "s3://b/x?y=z",
        "s3://b/../x",
        "s3://b/a//b",
        "s3://b/ü",
        "s3://b/a b",
    ],
)
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        open_store(url, options("http://127.0.0.1:1"))
    assert "secret" not in str(raised.value)


def test_unknown_options_are_refused_and_no_value_is_shown() -> None:
    with pytest.raises(InvalidArgument, match="do not fit.*given are: .*endpoint, .*secret_key, some_option") as raised:
        open_store("s3://bucket", options("http://127.0.0.1:1", some_option=SECRET, secret_key=SECRET))
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_an_endpoint_without_credentials_is_refused_and_the_instance_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    for more in ({}, {"region": "us-east-1"}):
        with pytest.raises(InvalidArgument, match="needs access_key_id and secret_access_key"):
            open_store("s3://bucket/x", StoreOptions(storage_options={"endpoint": "http://127.0.0.1:1", **more}))
    for given in ({"endpoint": "http://127.0.0.1:1", "skip_signature": True}, {}):
        open_store("s3://bucket/x", StoreOptions(storage_options=given))


def test_the_user_of_an_endpoint_is_shown_to_nobody() -> None:
    place = options("http://somebody:hidden-word@127.0.0.1:1", retry_config={"max_retries": 0})
    with pytest.raises(Unavailable) as raised:
        run(got(open_store("s3://bucket/x", place), LARGE.signature))
    assert "hidden-word" not in "".join(traceback.format_exception(raised.value))


def test_what_shows_options_and_places_nicely_shows_no_secret() -> None:
    pretty = pytest.importorskip("rich.pretty", reason="no module 'rich'; it comes with: pip install 'xooai[cli]'")
    given = options("http://127.0.0.1:1")
    assert SECRET not in pretty.pretty_repr(given)
    assert SECRET not in pretty.pretty_repr(place_at("s3://bucket/x", given))


@pytest.mark.slow
def test_wrong_credentials_are_told_and_shown_to_nobody(seaweed_endpoint: str, seaweed_bucket: str) -> None:
    store = open_store(f"s3://{seaweed_bucket}", options(seaweed_endpoint, secret_access_key=f"not-{SECRET}"))
    assert isinstance(store, S3)
    for work in (store.put(MemoryContent(b"x")), store.put(LARGE), got(store, LARGE.signature), store.sweep()):
        with pytest.raises(PermissionDenied) as raised:
            run(work)
        assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "mib", "allowed"), [(1, 256, 72), (8, 64, 128)])
def test_much_is_put_and_got_with_little_memory(
    endpoint: str, place: str, tmp_path: Path, count: int, mib: int, allowed: int
) -> None:
    files = [tmp_path / str(number) for number in range(count)]
    for number, path in enumerate(files):
        with path.open("wb") as file:
            file.truncate((mib << 20) + number)
    code = f"""
import asyncio, resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_s3 import open_store, options
from xooai.content import FileContent
async def got(store, content):
    size = 0
    async for chunk in store.get(content.signature):
        size += len(chunk)
        if size < 16 << 20:
            await asyncio.sleep(0.01)
    return size
async def main():
    store = open_store({place!r}, options({endpoint!r}))
    contents = [await FileContent.of(path) for path in {[str(path) for path in files]!r}]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await asyncio.gather(*(store.put(content) for content in contents))
    sizes = await asyncio.gather(*(got(store, content) for content in contents))
    await store.aclose()
    print(sum(sizes), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    size, grown = map(int, re.findall(r"\d+", ended.stdout))

    assert size == sum(path.stat().st_size for path in files)
    assert grown >> 10 < allowed, f"{grown >> 10} MiB"


def test_the_child_of_a_fork_is_told_that_it_cannot(endpoint: str, place: str) -> None:
    """The engine's threads are not there, and it would wait for them."""
    code = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_s3 import MemoryContent, open_store, options
store = open_store({place!r}, options({endpoint!r}))
asyncio.run(store.put(MemoryContent(b"x")))
if os.fork() == 0:
    try:
        asyncio.run(store.put(MemoryContent(b"y")))
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
os.wait()
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("Unavailable the store 's3' cannot be used here: this process was forked")
