"""A client without the class: what its own classes say arrives as the server's classes have it, or is refused."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from xooai import ComboDoc, Executor, Image, InvalidArgument, Text, post
from xooai.json_schema import described


class Cap(Text):
    lang: str = "en"


class Framed(Image):
    dpi: int
    caption: Text | None = None


class Labelled(ComboDoc):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    first_doc: Text
    other_thing: int = 1


class Shelf(ComboDoc):
    labelled: list[Labelled] = []
    either: Labelled | Text | None = None


class More(Labelled):
    extra_thing: int = 5


class Permission(enum.IntFlag):
    READ = 1
    WRITE = 2


class Library(Executor):
    @post
    def cap(self, doc: Cap) -> Cap:
        return doc

    @post
    def framed(self, doc: Framed) -> list[Framed]:
        return [doc]

    @post
    def either(self, doc: Cap | Image) -> Cap | Image:
        return doc

    @post
    def shelf(self, shelf: Shelf) -> Shelf:
        return shelf

    @post
    def labelled(self, doc: Labelled) -> Labelled:
        return doc

    @post
    def permit(self, permission: Permission) -> Permission:
        return permission


@pytest.fixture
def client(serve: Any) -> Any:
    with Executor(serve(Library())) as client:
        yield client


def test_a_kind_with_a_field_of_its_own_keeps_it(client: Any, codec: str) -> None:
    reply: Any = client.post("cap", doc=Cap(value="a", lang="de"), codec=codec)
    assert isinstance(reply, Text)
    assert (reply.read(), reply.lang) == ("a", "de")  # type: ignore[attr-defined]
    again = client.post("cap", doc=reply, codec=codec)
    assert again.lang == "de"
    assert client.post("cap", doc=Text(value="a"), codec=codec).lang == "en"


def test_a_kind_with_a_needed_field_and_a_document_of_its_own_keeps_them(client: Any, codec: str) -> None:
    doc = Framed(value=b"GIF89a", dpi=3, caption=Text(value="a"))
    [reply] = client.post("framed", doc=doc, codec=codec)
    assert isinstance(reply, Image)
    assert (reply.read(), reply.dpi, reply.caption) == (b"GIF89a", 3, Text(value="a"))  # type: ignore[attr-defined]


def test_a_kind_with_a_field_of_its_own_is_told_apart_in_a_union(client: Any, codec: str) -> None:
    assert client.post("either", doc=Cap(value="a", lang="de"), codec=codec).lang == "de"
    assert client.post("either", doc=Image(value=b"GIF89a"), codec=codec) == Image(value=b"GIF89a")


def test_fields_are_sent_by_the_names_that_the_description_has(client: Any, codec: str) -> None:
    given = Labelled(first_doc=Text(value="a"), other_thing=7)
    reply = client.post("labelled", doc=given, codec=codec)
    assert (reply.firstDoc, reply.otherThing) == (Text(value="a"), 7)
    assert client.post("labelled", doc=reply, codec=codec).otherThing == 7


def test_fields_inside_of_others_are_sent_by_the_names_that_the_description_has(client: Any, codec: str) -> None:
    one = Labelled(first_doc=Text(value="a"), other_thing=7)
    reply = client.post("shelf", shelf=Shelf(labelled=[one], either=one), codec=codec)
    assert (reply.labelled[0].otherThing, reply.either.otherThing) == (7, 7)
    assert client.post("shelf", shelf=Shelf(either=Text(value="b")), codec=codec).either == Text(value="b")


def test_a_field_that_the_description_has_not_is_refused_before_it_is_sent(client: Any, codec: str) -> None:
    with pytest.raises(InvalidArgument, match="keeps no field 'extraThing'") as caught:
        client.post("labelled", doc=More(first_doc=Text(value="a")), codec=codec)
    assert not caught.value.remote


def test_flags_that_stand_together_arrive(client: Any, codec: str) -> None:
    assert client.post("permit", permission=Permission.READ | Permission.WRITE, codec=codec) == 3


def test_flags_are_described_as_an_integer() -> None:
    endpoints = {endpoint.name: endpoint for endpoint, _ in Library()._xooai_local().endpoints()}
    found = described(endpoints, "#/$defs/{model}")
    assert found.definitions["Permission"]["type"] == "integer"
    assert "enum" not in found.definitions["Permission"]
