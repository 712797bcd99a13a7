"""Clients: of a class, without it, and executors that call each other."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from places import HERE, PATIENCE, Place

from xooai import (
    Executor,
    FailedPrecondition,
    Image,
    InvalidArgument,
    NotFound,
    PluginError,
    Text,
    Unavailable,
    Unimplemented,
    XooaiError,
    post,
)


class Reader(Executor):
    """Loads a model that no client has."""

    loaded = 0

    def __init__(self, language: str = "en", **options: Any) -> None:
        super().__init__(**options)
        type(self).loaded += 1
        self.language = language
        self.model = {"pages": 0}

    async def setup(self) -> None:
        self.model["ready"] = 1

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        """Read a page."""
        self.model["pages"] += 1
        return Text(value=f"{self.language} {min_score}")

    @post
    async def keep(self, doc: Text) -> Text:
        return doc

    @post(name="open")
    def open_(self, doc: Text) -> Text:
        return doc

    def helper(self) -> int:
        return self.model["pages"]

    def close(self) -> None:
        self.model.clear()


class Careful(Reader):
    def read(self, doc: Image, min_score: float = 0.9) -> Text:
        return Text(value="careful")


class Unrelated(Executor):
    @post
    def read(self, doc: Image) -> Text:
        return Text(value="unrelated")


IMAGE = Image(value=b"x")


# Of a class


def test_a_client_has_the_methods_of_its_class(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader("de"))
    with Reader.at(url) as client:
        assert client.read(doc=IMAGE).value == "de 0.5"
        assert client.read(IMAGE, 0.75).value == "de 0.75"
        assert client.open_(Text(value="x")).value == "x"
        assert client.post(on="open", doc=Text(value="x")).value == "x"
        assert isinstance(client, Reader)
        assert inspect.signature(client.read) == inspect.signature(Reader("en").read)
        assert client.read.__doc__ == "Read a page."


def test_an_async_method_of_a_client_is_awaited(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())

    async def main() -> list[str | None]:
        async with Reader.at(url) as client:
            return [
                (await client.keep(doc=Text(value="x"))).value,
                (await client.call(Reader.keep, doc=Text(value="y"))).value,
                (await client.call(Reader.read, IMAGE, min_score=0.25)).value,
                (await client.apost(on="read", doc=IMAGE)).value,
            ]

    assert asyncio.run(main()) == ["x", "y", "en 0.25", "en 0.5"]


def test_call_is_typed_in_process_too() -> None:
    async def main() -> list[str | None]:
        reader = Careful()
        return [
            (await reader.call(Reader.read, doc=IMAGE)).value,
            (await reader.call(Careful.read, doc=IMAGE)).value,
            (await reader.call(Reader.open_, Text(value="x"))).value,
        ]

    assert asyncio.run(main()) == ["careful", "careful", "x"]


@pytest.mark.parametrize(
    "wrong", [Unrelated.read, Reader.helper, len, Executor.post], ids=lambda wrong: wrong.__qualname__
)
def test_call_takes_endpoints_of_its_own_class_only(wrong: Any) -> None:
    async def main() -> None:
        with pytest.raises(NotFound, match="is not an endpoint of reader; there are: read, keep, open"):
            await Reader().call(wrong, doc=IMAGE)

    asyncio.run(main())


def test_a_client_never_runs_the_constructor(serve: Callable[[Executor], str]) -> None:
    """No model is loaded, and what only the constructor sets says why it is not there."""
    url = serve(Reader())
    before = Reader.loaded
    with Reader.at(url) as client:
        assert client.read(doc=IMAGE).value == "en 0.5"
        with pytest.raises(AttributeError, match=r"'model'.*this is a client of http://127\.0\.0\.1:"):
            client.helper()
        with pytest.raises(AttributeError, match="this is a client of"):
            _ = client.language
        assert not hasattr(client, "language")
    assert Reader.loaded == before


def test_the_hooks_of_a_class_do_not_run_in_its_clients(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())
    client = Reader.at(url)
    with client:
        client.read(doc=IMAGE)
    client.close()

    async def main() -> None:
        async with Reader.at(url) as other:
            await other.apost(on="read", doc=IMAGE)

    asyncio.run(main())


def test_a_client_has_nothing_to_serve(serve: Callable[[Executor], str]) -> None:
    with Reader.at(serve(Reader())) as client, pytest.raises(FailedPrecondition, match="is a client"):
        client.start(HERE)


def test_the_name_may_stand_in_the_url_or_be_the_classs_own(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())
    named = serve(Reader(name="other"))
    with ExitStack() as stack:
        for address in (url, url.removesuffix("/reader"), f"{url}/", named):
            client = stack.enter_context(Reader.at(address))
            assert client.read(doc=IMAGE).value == "en 0.5"
            assert (client.name, repr(client)) == (
                address.rstrip("/").rpartition("/")[2] if address.count("/") > 2 else "reader",
                f"<Reader {client.name!r} at {'/'.join(address.split('/')[:3])}>",
            )


def test_a_subclass_of_a_class_has_clients_of_its_own(serve: Callable[[Executor], str]) -> None:
    with Careful.at(serve(Careful())) as client:
        assert isinstance(client, Careful)
        assert client.read(doc=IMAGE).value == "careful"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "reader",
        "127.0.0.1:80",
        "http://",
        "http:///reader",
        "http://host:port",
        "http://host:99999",
        "http://host/a/b/c",
        "http://host/a?x=1",
        "http://host/a#x",
        "http://user:hunter2@host/a",
        "http://[::1",
    ],
)
def test_a_url_that_names_no_server_is_one_clear_error(url: str) -> None:
    for make in (Reader.at, Executor):
        with pytest.raises(InvalidArgument) as caught:
            make(url)
        assert "hunter2" not in str(caught.value)


def test_a_url_of_an_endpoint_makes_no_client() -> None:
    for make in (Reader.at, Executor):
        with pytest.raises(InvalidArgument, match="names an endpoint"):
            make("http://127.0.0.1:1/reader/read")


def test_making_a_client_connects_to_nothing() -> None:
    with Reader.at("http://127.0.0.1:1") as client, pytest.raises(Unavailable, match=r"127\.0\.0\.1:1") as caught:
        client.read(doc=IMAGE)
    assert isinstance(caught.value, ConnectionError)


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with (
        Executor("gopher://127.0.0.1:1/reader") as client,
        pytest.raises(PluginError, match=r"gopher://.*http://, https://"),
    ):
        client.post(on="read")


@pytest.mark.parametrize("codec", ["json", "msgpack", "application/json"])
def test_a_client_may_be_told_its_codec(serve: Callable[[Executor], str], codec: str) -> None:
    with Reader.at(serve(Reader()), codec=codec) as client:
        assert client.read(doc=IMAGE).value == "en 0.5"


def test_an_unknown_codec_is_refused_when_the_client_is_made() -> None:
    with pytest.raises(Unimplemented, match="'yaml'"):
        Reader.at("http://127.0.0.1:1", codec="yaml")


def test_clients_of_one_server_are_independent(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())
    first, second = Reader.at(url), Reader.at(url)
    with second:
        with first:
            first.read(doc=IMAGE)
        assert second.read(doc=IMAGE).value == "en 0.5"
        assert first.read(doc=IMAGE).value == "en 0.5"  # connects anew
        with first:
            pass


# Without the class


def test_a_plain_executor_at_a_url_is_a_client_too(serve: Callable[[Executor], str]) -> None:
    with Executor.at(serve(Reader())) as client:
        assert client.post(on="read", doc=IMAGE).value == "en 0.5"


def test_a_client_without_class_must_say_which_executor_where_there_are_several(
    serve_together: Callable[..., str],
) -> None:
    class Ranker(Executor):
        @post
        def rank(self) -> int:
            return 1

    url = serve_together(Reader(), Ranker())
    with Executor(url) as unsaid, Executor(f"{url}/ranker") as ranker, Reader.at(url) as reader:
        with pytest.raises(InvalidArgument, match="several executors .*reader, ranker"):
            unsaid.post(on="rank")
        assert ranker.post() == 1
        assert reader.read(doc=IMAGE).value == "en 0.5"


# Executors that call executors


class Relay(Executor):
    """Calls another executor by its URL."""

    target = ""

    @post
    def in_thread(self, doc: Text) -> Text:
        return self.post(on=self.target, doc=doc)  # type: ignore[no-any-return]

    @post
    async def on_loop(self, doc: Text) -> Text:
        return await self.apost(on=self.target, doc=doc)  # type: ignore[no-any-return]


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_a_handler_calls_another_executor_by_url(
    place: Place, serve: Callable[[Executor], str], endpoint: str, codec: str
) -> None:
    relay = Relay()
    caller = place(relay)
    url = serve(Reader())
    for target in (f"{url}/keep", f"{url.removesuffix('/reader')}/keep"):
        relay.target = target
        assert caller.post(on=endpoint, doc=Text(value="x"), codec=codec).value == "x"


@pytest.mark.parametrize("endpoint", ["in_thread", "on_loop"])
def test_an_executor_posts_through_its_gateway(place: Place, serve: Callable[[Executor], str], endpoint: str) -> None:
    url = serve(Reader()).removesuffix("/reader")
    for gateway in (url, f"{url}/"):
        relay = Relay(gateway=gateway)
        relay.target = "reader/keep"
        assert place(relay).post(on=endpoint, doc=Text(value="x")).value == "x"


def test_without_a_gateway_a_path_alone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="gateway="):
        Executor().post(on="reader/keep", doc=Text(value="x"))


def test_any_executor_posts_to_urls(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())
    with Executor() as executor:
        assert executor.post(on=f"{url}/keep", doc=Text(value="x")).value == "x"
        with pytest.raises(NotFound, match="no endpoint 'reader/kep'; did you mean 'keep'"):
            executor.post(on=f"{url}/kep", doc=Text(value="x"))
        with pytest.raises(NotFound, match="no executor 'raeder'; did you mean 'reader'"):
            executor.post(on=f"{url.replace('reader', 'raeder')}/keep", doc=Text(value="x"))
        with pytest.raises(NotFound, match="no endpoints 'nothing'"):
            executor.post(on=f"{url.removesuffix('reader')}nothing", doc=Text(value="x"))
        with pytest.raises(InvalidArgument, match="no parameter 'dog'"):
            executor.post(on=f"{url}/keep", dog=Text(value="x"))


def test_only_so_many_servers_are_remembered(serve: Callable[[Executor], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xooai.by_url.Elsewhere.LIMIT", 1)
    urls = [serve(Reader("a")), serve(Reader("b"))]
    with Executor() as executor:
        found = [executor.post(on=f"{url}/read", doc=IMAGE).value for url in urls * 2]
    assert found == ["a 0.5", "b 0.5"] * 2


def test_endpoints_elsewhere_are_asked_for_again_before_they_are_missing(serve: Callable[[Executor], str]) -> None:
    class Other(Executor):
        @post
        def more(self) -> int:
            return 1

    with ExitStack() as stack:
        reader, other, executor = (stack.enter_context(one) for one in (Reader(), Other(name="reader"), Executor()))
        bound = reader.start(HERE)[0]
        assert executor.post(on=f"{bound}/reader/read", doc=IMAGE).value == "en 0.5"
        reader.stop()
        other.start(bound)
        assert executor.post(on=f"{bound}/reader/more") == 1
        assert executor.post(on=f"{bound}/more") == 1


def test_errors_from_further_away_keep_their_type(place: Place, serve: Callable[[Executor], str]) -> None:
    class Failing(Executor):
        @post
        async def keep(self, doc: Text) -> Text:
            raise NotFound("not on this shelf", details={"shelf": 3})

    relay = Relay()
    relay.target = f"{serve(Failing())}/keep"
    with pytest.raises(NotFound, match="not on this shelf") as caught:
        place(relay).post(on="on_loop", doc=Text(value="x"))
    assert caught.value.details["shelf"] == 3


def test_two_executors_may_call_each_other(serve: Callable[[Executor], str]) -> None:
    class Ping(Executor):
        other = ""

        @post
        async def hit(self, count: int) -> list[str]:
            if count == 0:
                return []
            return [self.name, *await self.apost(on=self.other, count=count - 1)]

    ping, pong = Ping(name="ping"), Ping(name="pong")
    ping.other, pong.other = f"{serve(pong)}/hit", f"{serve(ping)}/hit"
    assert ping.post(on="hit", count=4) == ["ping", "pong", "ping", "pong"]


# What clients leave behind


def test_a_loop_that_has_ended_is_let_go(serve: Callable[[Executor], str]) -> None:
    """Each asyncio.run() is a loop of its own: a client that lives longer does not collect them."""
    url = serve(Reader())
    client, local = Reader.at(url), Reader()
    loops = []

    async def once() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await client.keep(doc=Text(value="x"))
        await local.apost(on="read", doc=IMAGE, timeout=PATIENCE)
        await local.apost(on="read", doc=IMAGE, timeout=1)

    with client, local:
        for _ in range(3):
            asyncio.run(once())
        asyncio.run(client.apost(on="read", doc=IMAGE))
        asyncio.run(local.apost(on="read", doc=IMAGE, timeout=PATIENCE))
        gc.collect()
        assert [loop() for loop in loops] == [None] * 3


def test_a_client_may_be_closed_twice_and_from_anywhere(serve: Callable[[Executor], str]) -> None:
    url = serve(Reader())
    client = Reader.at(url)
    client.read(doc=IMAGE)
    with client:
        pass
    with client:
        pass

    async def main() -> None:
        async with client:
            await client.keep(doc=Text(value="x"))
            await asyncio.to_thread(client.read, IMAGE)

    asyncio.run(main())


def test_a_thread_that_is_interrupted_gives_its_call_up(serve: Callable[[Executor], str]) -> None:
    """Ctrl-C in a blocking call ends the call over there too."""
    started, cancelled, interrupted = threading.Event(), threading.Event(), threading.Event()

    class Waiting(Executor):
        @post
        async def wait(self) -> None:
            started.set()
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    url = serve(Waiting())
    main = threading.get_ident()

    def interrupt() -> None:
        started.wait(PATIENCE)
        while sys._current_frames()[main].f_code.co_name != "wait":  # the call is under way before its caller waits
            pass
        for _ in range(5):  # Python hears none that comes just before it begins to wait, unless another follows
            signal.pthread_kill(main, signal.SIGINT)  # to the process, it may reach a thread that does not wait
            if interrupted.wait(2):
                break

    interrupter = threading.Thread(target=interrupt)
    with Waiting.at(url) as client:
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            client.post(on="wait")
        interrupted.set()
        assert cancelled.wait(PATIENCE)
    interrupter.join(PATIENCE)


def test_a_store_is_one_by_what_it_can_do_or_by_its_url() -> None:
    with pytest.raises(InvalidArgument, match="store=object has no put and get; it takes a Store, or a URL of one"):
        Executor(store=object())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="'xooai' cannot be the name of a store"):
        Executor(store="memory://xooai")
    with pytest.raises(InvalidArgument, match="store='media' says no place; .*media=s3://.*a folder, as ./media"):
        Executor(store="media")


def test_errors_name_the_server_and_no_secret() -> None:
    """They end in logs."""
    with pytest.raises(XooaiError) as caught:
        Executor("http://user:hunter2@127.0.0.1:1/x?token=hunter3")
    assert "hunter" not in str(caught.value)
