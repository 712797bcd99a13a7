"""Replies in different codecs: one value is made of each, once, however many nodes need it; what has one codec goes unread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import model_validator

from xooai import ComboDoc, Doc, Executor, Flow, Text, post
from xooai.call import Call, Service
from xooai.codec import JSON, MSGPACK

HI = Text(value="hi")
READ: list[str] = []
"""The name of each note that was made of a frame, by whoever read it."""


class Note(Doc, kind="note-that-is-counted"):
    """Says when it is read: in this process by the servers, which are of it, and by the Flow between them."""

    value: str

    @classmethod
    def encode(cls, value: str) -> str:
        return value

    @classmethod
    def decode(cls, data: bytes) -> str:
        return data.decode()

    @model_validator(mode="after")
    def note(self) -> Note:
        READ.append(self.value)
        return self


class Both(ComboDoc):
    one: Note
    other: Note


class Notes(Executor):
    @post
    async def one(self, doc: Text) -> Note:
        return Note(value="one")

    @post
    async def other(self, doc: Text) -> Note:
        return Note(value="other")

    @post
    async def both(self, one: Note, other: Note) -> str:
        return f"{one.value} {other.value}"


def of_two_codecs(service: Service) -> Service:
    """A server's layer: one endpoint answers in JSON whatever it was asked for."""

    async def answer(call: Call) -> None:
        await service(call)
        if call.endpoint.name == "one":
            value = MSGPACK.decode(call.endpoint.result, call.reply or b"", True)
            call.reply, call.reply_codec = JSON.encode(call.endpoint.result, value), JSON.media_type
        READ.clear()  # what the server did here is none of the Flow's

    return answer


@pytest.fixture(scope="module")
def mixed() -> Iterator[str]:
    with Notes(layers=(of_two_codecs,)) as notes:
        yield notes.start("memory://mixed-codecs")[0] + "/notes"


@pytest.fixture(scope="module")
def readers() -> Iterator[list[str]]:
    """Nodes over several drivers, which take both."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("grpc")
    with Notes() as notes:
        bound = notes.start("http://127.0.0.1:0", "grpc://127.0.0.1:0", "memory://mixed-readers")
        yield [f"{url}/notes/both" for url in bound]


def test_what_is_in_two_codecs_is_read_once_for_all_nodes_of_all_drivers(mixed: str, readers: list[str]) -> None:
    with Flow().add(use=f"{mixed}/one", id="one").add(use=f"{mixed}/other", id="other") as f:
        for number, url in enumerate(readers):
            f.add(use=url, id=f"reader {number}", needs=("one", "other"))
        f.check()
        READ.clear()
        found = f.post(doc=HI)

    assert found == {f"reader {number}": "one other" for number in range(len(readers))}
    assert sorted(READ) == ["one"] * (1 + len(readers)) + ["other"] * (1 + len(readers))


def test_what_is_in_one_codec_is_read_by_the_nodes_alone(mixed: str, readers: list[str]) -> None:
    with Flow().add(use=f"{mixed}/other", id="one").add(use=f"{mixed}/other", id="other") as f:
        for number, url in enumerate(readers):
            f.add(use=url, id=f"reader {number}", needs=("one", "other"))
        f.check()
        f.post(doc=HI)

    assert list(READ) == ["other"] * 2 * len(readers)
