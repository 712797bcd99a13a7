"""A reply that is not what its endpoint promises is the server's failure, whoever asked and in whatever codec."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import logging
from typing import Any

import msgspec
import pytest
from places import Place
from typing_extensions import TypedDict

from xooai import ComboDoc, Doc, Executor, Image, Internal, Text, post

MEDIA_TYPES = {"json": "application/json", "msgpack": "application/msgpack"}


class Page(ComboDoc):
    title: Text
    caption: Text | None = None
    notes: list[Text] = []


class Row(TypedDict):
    count: int


def altered(**fields: Any) -> Page:
    """A page whose fields were set after it was made: pydantic does not look at them then."""
    page = Page(title=Text(value="a"))
    for name, value in fields.items():
        setattr(page, name, value)
    return page


WRONG: list[tuple[Any, Any]] = [
    (list[Text], [Text(value="a"), Image(value=b"a")]),
    (list[Text], [Image(ref="https://host/a.png")]),
    (list[Text], ["a"]),
    (list[Doc], [Text(value="a"), 5]),
    (dict[str, Text], {"a": Image(value=b"a")}),
    (Text | list[Text], [Image(value=b"a")]),
    (Page, altered(caption="a")),
    (Page, altered(notes=["a"])),
    (list[Page], [altered(title=5)]),
    (list[int], [1, "2"]),
    (list[float], ["1"]),
    (dict[str, int], {"a": "b"}),
    (tuple[int, str], (1, 2)),
    (tuple[int, int], (1, 2, 3)),
    (Row, {"count": "five"}),
    (Row, {}),
    (list[Row], [{}]),
    (dt.date, "tomorrow"),
    (list[dt.date], [5]),
]

# Other than annotated, and read as what is annotated.
READABLE: list[tuple[Any, Any, Any]] = [
    (list[int], (1, 2), [1, 2]),
    (list[float], [1, 2.5], [1, 2.5]),
    (set[int], [1, 2], [1, 2]),
    (list[Text], [{"value": "a"}], [{"value": "a"}]),
    (dt.date, "2024-02-29", "2024-02-29"),
    (Page | None, None, None),
]


def executor(annotation: Any, value: Any) -> Executor:
    """One that promises the type, and answers with the value."""

    def answer(self: Any) -> Any:
        return value

    answer.__annotations__ = {"return": annotation}
    careless: type[Executor] = type("Careless", (Executor,), {"answer": post(answer)})
    return careless()


def asked(url: str, codec: str) -> tuple[int, dict[str, str], bytes]:
    """What somebody gets who knows nothing of types."""
    connection = http.client.HTTPConnection(url.split("/")[2])
    body = b"{}" if codec == "json" else msgspec.msgpack.encode({})
    try:
        connection.request("POST", "/careless/answer", body, {"content-type": MEDIA_TYPES[codec]})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.fixture(params=range(len(WRONG)))
def careless(request: pytest.FixtureRequest) -> Executor:
    return executor(*WRONG[request.param])


def test_a_peer_is_answered_by_an_internal_error_with_the_logged_id(
    careless: Executor, codec: str, serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, body = asked(serve(careless), codec)
    assert status == 500
    assert json.loads(body)["id"] == headers["x-request-id"]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert headers["x-request-id"] in record.getMessage()
    assert "careless.answer returned" in caplog.text


def test_every_caller_gets_internal(careless: Executor, codec: str, place: Place) -> None:
    with pytest.raises(Internal):
        place(careless).post(on="answer", codec=codec)


@pytest.mark.parametrize(
    ("annotation", "value", "read"), READABLE, ids=[str(annotation) for annotation, _, _ in READABLE]
)
def test_what_can_be_read_as_promised_is_sent(annotation: Any, value: Any, read: Any, codec: str, serve: Any) -> None:
    status, _, body = asked(serve(executor(annotation, value)), codec)
    assert status == 200
    found = json.loads(body) if codec == "json" else msgspec.msgpack.decode(body)
    assert found == read
