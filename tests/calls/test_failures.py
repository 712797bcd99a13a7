"""What goes wrong in a call reaches the caller as one typed error, wherever the handler runs."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
from typing import Any

import pytest
from places import Place

from xooai import (
    AlreadyExists,
    ComboDoc,
    DataLoss,
    DeadlineExceeded,
    Executor,
    FailedPrecondition,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Text,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    XooaiError,
    current,
    post,
)

RAISED = [
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
]
BUILTIN = {
    InvalidArgument: ValueError,
    DeadlineExceeded: TimeoutError,
    NotFound: LookupError,
    PermissionDenied: PermissionError,
    Unimplemented: NotImplementedError,
    Unavailable: ConnectionError,
    DataLoss: ValueError,
    Unauthenticated: PermissionError,
}
SECRET = "hunter2 in /srv/models"


class ShelfEmpty(NotFound):
    """A user's own error."""


class Panic(BaseException):
    """As extensions written in Rust raise it, and test frameworks: no Exception."""


class Part(ComboDoc):
    doc: Image
    count: int = 0


class Failing(Executor):
    """Raises what it is told to."""

    error: BaseException = RuntimeError(SECRET)

    @post
    def in_thread(self, doc: Text) -> Text:
        raise self.error

    @post
    async def on_loop(self, doc: Text) -> Text:
        raise self.error

    @post
    def fine(self, doc: Text) -> Text:
        return doc


ENDPOINTS = ["in_thread", "on_loop"]


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def failing(error: BaseException) -> Failing:
    executor = Failing()
    executor.error = error
    return executor


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_an_error_of_ours_reaches_the_caller_as_it_is(place: Place, endpoint: str, kind: type[XooaiError]) -> None:
    """Design 2: one of our errors raised in a handler reaches the peer as it is."""
    caller = place(failing(kind("not today: é", details={"left": 3, "why": ["a", None]})))

    with pytest.raises(kind) as caught:
        caller.post(on=endpoint, doc=Text(value="x"))

    error = caught.value
    assert type(error) is kind
    assert error.message == str(error) == "not today: é"
    assert error.details.items() >= {"left": 3, "why": ["a", None]}.items()
    assert error.remote is place.is_remote
    assert isinstance(error, BUILTIN.get(kind, XooaiError))


def test_how_long_to_wait_reaches_the_caller(place: Place, endpoint: str) -> None:
    caller = place(failing(ResourceExhausted("busy", reason="load", retry_after=90)))  # longer than a client waits
    with pytest.raises(ResourceExhausted, match="busy") as caught:
        caller.post(on=endpoint, doc=Text(value="x"))
    assert (caught.value.reason, caught.value.retry_after) == ("load", 90)


def test_mistakes_told_by_a_handler_keep_their_locations(place: Place, endpoint: str) -> None:
    mistakes = [{"type": "too_dark", "loc": ("doc", 0, "value"), "msg": "the page is black"}]
    caller = place(failing(InvalidArgument("no", errors=mistakes)))
    with pytest.raises(InvalidArgument) as caught:
        caller.post(on=endpoint, doc=Text(value="x"))
    assert caught.value.errors == mistakes


def test_an_error_that_a_user_derived_from_ours_arrives_as_ours(place: Place, endpoint: str) -> None:
    caller = place(failing(ShelfEmpty("nothing on it")))
    with pytest.raises(NotFound, match="nothing on it"):
        caller.post(on=endpoint, doc=Text(value="x"))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        KeyError(SECRET),
        StopIteration(SECRET),
        StopAsyncIteration(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
        SystemExit(SECRET),
        asyncio.CancelledError(SECRET),
        GeneratorExit(SECRET),
        XooaiError(SECRET),
        OSError(2, SECRET),
        Panic(SECRET),
        BaseExceptionGroup(SECRET, [Panic(SECRET)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_is_told_to_the_log_alone(
    place: Place, endpoint: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged with an id, and that id is what the peer learns."""
    caller = place(failing(error))

    with pytest.raises(Internal) as caught:
        caller.post(on=endpoint, doc=Text(value="x"))

    found = caught.value
    assert found.id
    assert SECRET not in f"{found.message}{found.details}{found.args}"
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(record.name, found.id in record.getMessage()) for record in records] == [("xooai", True)]
    assert SECRET in caplog.text
    assert caller.post(on="fine", doc=Text(value="still there")).value == "still there"


def test_ids_of_two_failures_differ(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caller = place(Failing())
    ids = set()
    for _ in range(3):
        with pytest.raises(Internal) as caught:
            caller.post(on="on_loop", doc=Text(value="x"))
        ids.add(caught.value.id)
    assert len(ids) == 3


def test_a_peer_never_sees_the_text_of_a_failure(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """In the bytes of the response itself."""
    url = serve(Failing())
    connection = http.client.HTTPConnection(url.split("/")[2])
    try:
        for endpoint in ENDPOINTS:
            connection.request(
                "POST", f"/failing/{endpoint}", b'{"doc":{"value":"x"}}', {"content-type": "application/json"}
            )
            response = connection.getresponse()
            body = response.read()
            assert response.status == 500
            assert b"hunter2" not in body + str(response.getheaders()).encode()
            assert b"Traceback" not in body
            assert json.loads(body)["id"] == response.getheader("x-request-id") != ""
    finally:
        connection.close()


NOWHERE = "/nowhere/of-the-server.png"


class Own(Executor):
    """Reads files of its own, which are not there."""

    @post
    def by_read(self) -> int:
        return len(Image(ref=NOWHERE).read())

    @post
    async def by_aread(self) -> int:
        return len(await Image(ref=NOWHERE).aread())

    @post
    def by_open(self) -> int:
        return len(Image(ref=f"file://{NOWHERE}").open().read())

    @post
    def of_a_folder(self) -> int:
        return len(Image(ref="/").read())

    @post
    def in_process(self) -> Any:
        return self.post(on="by_read")

    @post
    async def sent_on(self, url: str) -> Any:
        return await self.apost(on=f"{url}/told", doc=Image(ref=NOWHERE))

    @post
    def told(self, doc: Image) -> int:
        try:
            return len(Image(ref=NOWHERE).read())
        except NotFound as error:
            raise NotFound("there is no such page") from error


@pytest.mark.parametrize("endpoint", ["by_read", "by_aread", "by_open", "of_a_folder", "in_process", "sent_on"])
def test_a_ref_of_the_servers_own_that_cannot_be_read_is_told_to_the_log_alone(
    serve: Any, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The paths of a server are nothing that its peers asked for."""
    url = serve(Own())
    with Own.at(url) as client:
        with pytest.raises(Internal) as caught:
            client.post(on=endpoint, **({"url": url} if endpoint == "sent_on" else {}))
        assert caught.value.id
        assert "nowhere" not in f"{caught.value.message}{caught.value.details}"
        assert "'/" in caplog.text
        with pytest.raises(NotFound, match="there is no such page"):
            client.told(doc=Image(value=b"x"))


def test_in_process_a_ref_that_cannot_be_read_is_told_as_it_is() -> None:
    with Own() as own, pytest.raises(NotFound, match=NOWHERE):
        own.post(on="by_read")


def test_in_process_the_cause_is_at_hand(endpoint: str, caplog: pytest.LogCaptureFixture) -> None:
    executor = failing(ValueError("why"))
    with executor, pytest.raises(Internal) as caught:
        executor.post(on=endpoint, doc=Text(value="x"))
    assert repr(caught.value.__cause__) == "ValueError('why')"


def test_an_error_with_details_that_cannot_travel_still_arrives_as_an_error(
    place: Place, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    caller = place(failing(NotFound("gone", details={"object": object()})))
    with pytest.raises((NotFound, Internal)):
        caller.post(on=endpoint, doc=Text(value="x"))
    assert caller.post(on="fine", doc=Text(value="next")).value == "next"


def test_an_error_with_half_a_character_still_arrives_as_an_error(
    place: Place, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    caller = place(failing(NotFound("gone: \ud83d")))
    with pytest.raises((NotFound, Internal)):
        caller.post(on=endpoint, doc=Text(value="x"))
    assert caller.post(on="fine", doc=Text(value="next")).value == "next"


class Wrong(Executor):
    """Returns what it did not promise."""

    @post
    def text(self) -> Text:
        return Image(value=b"x")  # type: ignore[return-value]

    @post
    async def part(self) -> Part:
        return {"doc": Image(value=b"x")}  # type: ignore[return-value]

    @post
    def none(self) -> None:
        return 1  # type: ignore[return-value]

    @post
    def forgotten(self) -> Text:  # type: ignore[empty-body]
        pass

    @post
    async def integer(self) -> int:
        return "many"  # type: ignore[return-value]

    @post
    def string(self) -> str:
        return None  # type: ignore[return-value]

    @post
    def listed(self) -> list[Text]:
        return [Image(ref="https://example.org/x.png")]  # type: ignore[list-item]

    @post
    def maybe(self) -> Text | None:
        return Image(value=b"x")  # type: ignore[return-value]

    @post
    async def unknown(self):  # type: ignore[no-untyped-def]
        return object()

    @post
    def half_a_character(self) -> str:
        return "\ud83d"


WRONG = ["text", "part", "none", "forgotten", "integer", "string", "listed", "maybe", "unknown", "half_a_character"]


@pytest.mark.parametrize("endpoint", WRONG)
def test_a_reply_of_the_wrong_type_is_the_handlers_failure(
    place: Place, codec: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asked did nothing wrong."""
    caller = place(Wrong())
    with pytest.raises(Internal):
        caller.post(on=endpoint, codec=codec)


def test_the_log_says_what_was_expected(caplog: pytest.LogCaptureFixture) -> None:
    with Wrong() as wrong, pytest.raises(Internal):
        wrong.post(on="text")
    assert "wrong.text returned Image, expected Text" in caplog.text


class Reader(Executor):
    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        return Text(value="")

    @post
    def embed(self, docs: list[Text], part: Part | None = None) -> int:
        return 0


def test_an_unknown_endpoint_lists_the_known_ones_and_the_nearest(place: Place) -> None:
    caller = place(Reader())
    with pytest.raises(NotFound) as caught:
        caller.post(on="raed", doc=Image(value=b"x"))
    assert "'raed'" in caught.value.message
    assert "did you mean 'read'?" in caught.value.message
    assert "read, embed" in caught.value.message


def test_an_unknown_parameter_lists_the_known_ones_and_the_nearest(place: Place) -> None:
    caller = place(Reader())
    with pytest.raises(InvalidArgument) as caught:
        caller.post(on="read", doc=Image(value=b"x"), min_scor=0.5)
    assert "'min_scor'; did you mean 'min_score'?" in caught.value.message
    assert "doc, min_score" in caught.value.message
    assert [mistake["loc"] for mistake in caught.value.errors] == [("min_scor",)]


def test_a_missing_parameter_is_named(place: Place) -> None:
    caller = place(Reader())
    with pytest.raises(InvalidArgument, match="needs the parameter 'doc'") as caught:
        caller.post(on="read")
    assert [(mistake["type"], mistake["loc"]) for mistake in caught.value.errors] == [("missing", ("doc",))]


@pytest.mark.parametrize(
    ("endpoint", "arguments", "loc"),
    [
        ("read", {"doc": Image(value=b"x"), "min_score": "high"}, ("min_score",)),
        ("read", {"doc": 5}, ("doc",)),
        ("embed", {"docs": [Text(value="a"), 5]}, ("docs", 1)),
        ("embed", {"docs": "none"}, ("docs",)),
        ("embed", {"docs": [], "part": {"doc": Image(value=b"x"), "count": "x"}}, ("part", "count")),
    ],
    ids=str,
)
def test_a_value_that_does_not_validate_is_located(
    place: Place, codec: str, endpoint: str, arguments: dict[str, Any], loc: tuple[str | int, ...]
) -> None:
    """By pydantic's locations, the same by every route."""
    caller = place(Reader())
    with pytest.raises(InvalidArgument) as caught:
        caller.post(on=endpoint, codec=codec, **arguments)
    assert [mistake["loc"] for mistake in caught.value.errors] == [loc]
    assert ".".join(map(str, loc)) in caught.value.message


def test_a_document_of_another_kind_is_refused(place: Place, codec: str) -> None:
    caller = place(Reader())
    with pytest.raises(InvalidArgument) as caught:
        caller.post(on="read", doc=Text(value="x"), codec=codec)
    assert caught.value.errors[0]["loc"][0] == "doc"


def test_a_value_that_no_codec_writes_is_refused_before_it_is_sent(place: Place, codec: str) -> None:
    """The whole call stack runs, so what cannot be written fails."""
    caller = place(Reader())
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        caller.post(on="read", doc=Image(value=b"x"), min_score=object(), codec=codec)


def test_a_direct_call_takes_what_a_post_cannot_write() -> None:
    """A document whose type is not serialisable fails in post and not in a direct call."""

    class Holder(Executor):
        @post
        def keep(self, doc: Text, extra: Any = None) -> Any:
            return extra

    thing = object()
    with Holder() as holder:
        assert holder.keep(doc=Text(value="x"), extra=thing) is thing
        with pytest.raises(InvalidArgument, match="cannot be sent"):
            holder.post(on="keep", doc=Text(value="x"), extra=thing)


def test_an_unknown_codec_lists_the_known_ones(place: Place) -> None:
    caller = place(Reader())
    with pytest.raises(Unimplemented, match=r"'yaml'.*application/json, application/msgpack"):
        caller.post(on="read", doc=Image(value=b"x"), codec="yaml")


def test_a_handler_that_failed_can_say_more_beside_its_error(place: Place, codec: str) -> None:
    """current() is there for a handler that fails, too."""

    class Noting(Executor):
        @post
        def note(self) -> None:
            current().reply_metadata["x-seen"] = "yes"
            raise NotFound("nothing")

    with pytest.raises(NotFound, match="nothing"):
        place(Noting()).post(on="note", codec=codec)
