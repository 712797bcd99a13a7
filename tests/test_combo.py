"""ComboDoc: all that pydantic can do, with documents in the fields."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from typing import Annotated, Any, Generic, Literal, TypeVar

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, field_validator, model_validator
from typing_extensions import TypedDict

import cases
from unfit import UNFIT, Unfit
from xooai import Audio, ComboDoc, Doc, Executor, File, Image, InvalidArgument, Tensor, Text, Video, post
from xooai.codec import Codec
from xooai.schema import Schema

T = TypeVar("T")


class YourDoc(ComboDoc):
    video: Video
    audio: Audio | None = None


class MyDoc(ComboDoc):
    text: Text
    image: Image
    your: YourDoc


class Deep(ComboDoc):
    docs: list[dict[str, Text | Image]] = Field(default=[])
    inner: Deep | None = None
    boxes: tuple[MyDoc, ...] = ()


def there_and_back(value: Any, codec: Codec) -> Any:
    schema = Schema(type(value), "test")
    return codec.decode(schema, codec.encode(schema, value))


def example() -> MyDoc:
    return MyDoc(text=Text(value="a"), image=Image(ref="a.jpg"), your=YourDoc(video=Video(ref="v.mp4")))


# A model of pydantic's


def test_it_is_a_model_of_pydantics_that_adds_only_iter_docs() -> None:
    assert issubclass(ComboDoc, BaseModel)
    added = set(dir(ComboDoc)) - set(dir(BaseModel))
    assert {name for name in added if not name.startswith("_")} == {"iter_docs"}


def test_the_example_of_nesting_validates() -> None:
    doc = example()
    assert MyDoc.model_validate(doc.model_dump()) == doc
    assert (
        MyDoc.model_validate({"text": {"value": "a"}, "image": {"ref": "a.jpg"}, "your": {"video": {"ref": "v.mp4"}}})
        == doc
    )
    assert MyDoc.model_validate_json(doc.model_dump_json()) == doc


def test_a_wrong_attribute_is_named_by_pydantics_own_error() -> None:
    with pytest.raises(ValidationError) as caught:
        MyDoc(text=5, image=Image(ref="a"), your=YourDoc(video=Video(ref="b")))  # type: ignore[arg-type]
    assert caught.value.errors()[0]["loc"] == ("text",)
    with pytest.raises(ValidationError) as caught:
        MyDoc.model_validate({"text": {"value": "a"}, "image": {"ref": "a"}, "your": {"video": {"value": 5}}})
    assert caught.value.errors()[0]["loc"] == ("your", "video", "value")


def test_three_levels_of_documents_come_back_byte_by_byte(codec: Codec) -> None:
    content = bytes(range(256)) * 10
    inner = Deep(docs=[{"a": Image(value=content), "b": Text(value="é\u2028")}], boxes=(example(), example()))
    value = Deep(docs=[{"x": Image(value=content[::-1])}], inner=Deep(inner=inner))
    back = there_and_back(value, codec)
    assert back == value
    assert back.inner.inner.docs[0]["a"].read() == content
    schema = Schema(Deep, "test")
    assert codec.encode(schema, back) == codec.encode(schema, value)


def test_nesting_has_no_bottom_but_the_limit_of_depth(codec: Codec) -> None:
    value = Deep(docs=[{"a": Text(value="bottom")}])
    for _ in range(20):
        value = Deep(inner=value)
    assert there_and_back(value, codec) == value
    for _ in range(100):
        value = Deep(inner=value)
    schema = Schema(Deep, "test")
    with pytest.raises(InvalidArgument, match="64 levels"):
        codec.decode(schema, codec.encode(schema, value))


def test_iter_docs_gives_the_documents_in_the_order_of_the_fields() -> None:
    class Mixed(ComboDoc):
        first: Text
        table: dict[str, list[Image]]
        pair: tuple[Audio, File | None]
        one: YourDoc
        any_kind: Doc
        number: int = 0

    value = Mixed(
        first=Text(ref="1"),
        table={"b": [Image(ref="2"), Image(ref="3")], "a": [Image(ref="4")]},
        pair=(Audio(ref="5"), None),
        one=YourDoc(video=Video(ref="6")),
        any_kind=Tensor(dtype="int8", shape=(1,), ref="7"),
    )
    assert [doc.ref for doc in value.iter_docs()] == list("1234567")
    assert list(Deep().iter_docs()) == []


def test_equality_and_copies_are_pydantics() -> None:
    assert example() == example()
    assert example() != example().model_copy(update={"text": Text(value="b")})
    assert example().model_copy(deep=True) == example()


# Validators, defaults, configuration


def test_validators_run_where_it_is_made_and_where_it_is_read(codec: Codec) -> None:
    class Checked(ComboDoc):
        text: Text
        score: float = Field(default=0.5, ge=0, le=1)
        twice: int = 0

        @field_validator("text")
        @classmethod
        def _not_empty(cls, text: Text) -> Text:
            if text.value == "":
                raise ValueError("the text is empty")
            return text

        @model_validator(mode="after")
        def _even(self) -> Checked:
            if self.twice % 2:
                raise ValueError("twice is odd")
            return self

    for wrong, loc in (
        ({"text": Text(value="")}, ("text",)),
        ({"text": Text(value="a"), "score": 2}, ("score",)),
        ({"text": Text(value="a"), "twice": 1}, ()),
    ):
        with pytest.raises(ValidationError) as caught:
            Checked(**wrong)
        assert caught.value.errors()[0]["loc"] == loc
    good = Checked(text=Text(value="a"), twice=4)
    assert there_and_back(good, codec) == good
    frame = codec.encode(Schema(Checked, "test"), good.model_copy(update={"score": 7.0}))
    with pytest.raises(InvalidArgument, match="score: .*less than or equal to 1"):
        codec.decode(Schema(Checked, "test"), frame)


def test_a_validator_may_make_a_document(codec: Codec) -> None:
    class Titled(ComboDoc):
        title: Text

        @field_validator("title", mode="before")
        @classmethod
        def _from_text(cls, value: Any) -> Any:
            return {"value": value} if isinstance(value, str) else value

    assert Titled(title="a").title == Text(value="a")  # type: ignore[arg-type]
    assert there_and_back(Titled(title="a"), codec) == Titled(title=Text(value="a"))  # type: ignore[arg-type]


def test_defaults_factories_and_private_attributes_work(codec: Codec) -> None:
    class Full(ComboDoc):
        caption: Text = Text(value="none")
        docs: list[Doc] = Field(default=[Text(value="made")])
        _count: int = pydantic.PrivateAttr(default=3)

    assert there_and_back(Full(), codec) == Full()
    assert Full()._count == 3


def test_a_computed_field_is_written_for_others(codec: Codec) -> None:
    class Sized(ComboDoc):
        text: str

        @computed_field  # type: ignore[prop-decorator]
        @property
        def length(self) -> int:
            return len(self.text)

    assert there_and_back(Sized(text="abc"), codec) == Sized(text="abc")
    assert b"length" in codec.encode(Schema(Sized, "test"), Sized(text="abc"))


def test_a_serializer_of_ones_own_is_used_by_every_codec(codec: Codec) -> None:
    class Hex(ComboDoc):
        colour: Annotated[
            int,
            pydantic.PlainSerializer(hex),
            pydantic.BeforeValidator(lambda given: int(given, 16) if isinstance(given, str) else given),
        ]

    assert there_and_back(Hex(colour=255), codec) == Hex(colour=255)
    assert b"0xff" in codec.encode(Schema(Hex, "test"), Hex(colour=255))


def test_a_frozen_combodoc_and_a_subclass_work(codec: Codec) -> None:
    class Frozen(ComboDoc):
        model_config = ConfigDict(frozen=True)
        image: Image

    class Child(Frozen):
        more: bytes = b"\xff"

    assert there_and_back(Child(image=Image(ref="a")), codec) == Child(image=Image(ref="a"))
    assert hash(Frozen(image=Image(ref="a"))) == hash(Frozen(image=Image(ref="a")))


def test_annotations_may_be_postponed(codec: Codec) -> None:
    class Before(ComboDoc):
        after: After

    class After(ComboDoc):
        image: Image
        content: bytes = b""

    Before.model_rebuild(_types_namespace={"After": After})
    value = Before(after=After(image=Image(value=b"\xff\xfe"), content=b"\xfb\xff"))
    assert there_and_back(value, codec) == value
    assert json.loads(value.model_dump_json())["after"]["content"] == "+/8="


def test_models_that_refer_to_each_other_come_back(codec: Codec) -> None:
    class Node(ComboDoc):
        content: bytes = b""
        edges: list[Edge] = []

    class Edge(ComboDoc):
        weight: float
        to: Node
        image: Image | Text | None = None

    Node.model_rebuild(_types_namespace={"Edge": Edge})
    value = Node(
        content=b"\xff", edges=[Edge(weight=cases.NAN, to=Node(content=b"\xfe"), image=Image(value=b"\xfb\xff"))]
    )
    assert cases.same(there_and_back(value, codec), value)


# Generics


class Scored(ComboDoc, Generic[T]):
    value: T
    score: float = 0.0
    others: list[T] = Field(default=[])


def test_a_generic_combodoc_takes_any_document(codec: Codec) -> None:
    for kind, value in (
        (Image, Image(value=b"\xff")),
        (Text, Text(value="a")),
        (dt.date, dt.date(2024, 2, 29)),
        (YourDoc, YourDoc(video=Video(ref="a"))),
    ):
        scored = Scored[kind](value=value, score=cases.INFINITY, others=[value])  # type: ignore[valid-type]
        assert there_and_back(scored, codec) == scored
    with pytest.raises(ValidationError):
        Scored[Image](value=Text(value="a"))  # type: ignore[arg-type]


def test_a_generic_is_checked_for_what_it_is_made_with() -> None:
    with pytest.raises(TypeError, match=r"Scored\[.*\]\.value: a union of datetime and str"):
        Scored[dt.datetime | str]


# Unions


def test_documents_in_a_union_are_told_apart_by_kind(codec: Codec) -> None:
    class Either(ComboDoc):
        doc: Text | Image | Audio | None = None
        docs: list[Text | Image] = []
        named: dict[str, Image | YourDoc] = {}

    value = Either(
        doc=Audio(ref="a"),
        docs=[Text(ref="a"), Image(ref="a")],
        named={"x": Image(ref="a"), "y": YourDoc(video=Video(ref="b"))},
    )
    assert there_and_back(value, codec) == value
    assert there_and_back(Either(), codec) == Either()
    with pytest.raises(ValidationError, match="'kind'"):
        Either.model_validate({"doc": {"ref": "a"}})
    with pytest.raises(
        ValidationError, match="'video' found using 'kind' does not match any of the expected tags: 'text', 'image'"
    ):
        Either.model_validate({"docs": [{"kind": "video", "ref": "a"}]})


def test_a_kind_is_not_needed_where_one_document_is_possible(codec: Codec) -> None:
    class Maybe(ComboDoc):
        doc: Image | None = None
        text: Text | str = ""

    frame = codec.encode(Schema(dict, "test"), {"doc": {"ref": "a"}, "text": {"value": "b"}})
    assert codec.decode(Schema(Maybe, "test"), frame) == Maybe(doc=Image(ref="a"), text=Text(value="b"))


def test_models_told_apart_by_a_discriminator_come_back(codec: Codec) -> None:
    class Cat(ComboDoc):
        type: Literal["cat"] = "cat"
        image: Image

    class Dog(ComboDoc):
        type: Literal["dog"] = "dog"
        image: Image

    class Pet(ComboDoc):
        pet: Annotated[Cat | Dog, Field(discriminator="type")]

    for pet in (Cat(image=Image(ref="a")), Dog(image=Image(ref="a"))):
        assert there_and_back(Pet(pet=pet), codec) == Pet(pet=pet)


# What is refused when the class is made


@pytest.mark.parametrize("case", [case for case in UNFIT if case.name != "foreign class"], ids=lambda case: case.name)
def test_a_field_whose_values_would_not_come_back_is_refused_naming_class_and_field(case: Unfit) -> None:
    with pytest.raises(TypeError, match=case.words) as caught:
        pydantic.create_model("Unfit", __base__=ComboDoc, field=(case.annotation(), ...))
    assert str(caught.value).startswith("Unfit.field")


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    class Row(TypedDict):
        cells: list[dt.date | str]

    with pytest.raises(TypeError, match=r"^Table\.rows\.cells: a union of date and str"):
        pydantic.create_model("Table", __base__=ComboDoc, rows=(dict[str, Row], ...))


def test_a_plain_model_that_holds_a_document_is_refused_where_it_is_used() -> None:
    class Mine(BaseModel):
        scan: Image

    with pytest.raises(
        TypeError, match=r"Outer\.mine: Mine holds the document Image.*subclass ComboDoc: class Mine\(ComboDoc\)"
    ):
        pydantic.create_model("Outer", __base__=ComboDoc, mine=(list[Mine], ...))
    with pytest.raises(TypeError, match=r"Mine holds the document Image"):

        class Server(Executor):
            @post
            def take(self, mine: Mine) -> None: ...


def test_options_that_would_change_the_wire_form_are_refused() -> None:
    for option in (
        {"ser_json_bytes": "hex"},
        {"val_json_bytes": "utf8"},
        {"ser_json_inf_nan": "null"},
        {"ser_json_timedelta": "float"},
    ):
        with pytest.raises(TypeError, match=f"{next(iter(option))}=.*leave it at"):
            type("Odd", (ComboDoc,), {"model_config": ConfigDict(**option), "__annotations__": {"content": bytes}})  # type: ignore[typeddict-item]


# Calls


def test_a_combodoc_goes_through_a_call_and_keeps_its_refs_unread(codec: Codec) -> None:
    class Server(Executor):
        @post
        def swap(self, doc: MyDoc, times: int = 1) -> list[MyDoc]:
            return [doc] * times

        @post
        async def first(self, docs: dict[str, MyDoc]) -> MyDoc | None:
            return next(iter(docs.values()), None)

    with Server() as server:
        assert server.post(on="swap", doc=example(), times=2, codec=codec.name) == [example()] * 2
        assert server.post(on="first", docs={"a": example()}, codec=codec.name) == example()
        assert asyncio.run(server.apost(on="first", docs={}, codec=codec.name)) is None
        with pytest.raises(InvalidArgument) as caught:
            server.post(on="swap", doc={"text": 5}, codec=codec.name)
        assert {error["loc"] for error in caught.value.errors} >= {("doc", "text"), ("doc", "image")}


# Descriptions


def test_the_json_schema_tells_what_stands_on_the_wire() -> None:
    schema = MyDoc.model_json_schema()
    text, image = schema["$defs"]["Text"], schema["$defs"]["Image"]
    assert text["properties"]["kind"]["const"] == "text"
    assert text["properties"]["value"]["type"] == "string"
    assert image["properties"]["value"]["contentEncoding"] == "base64"
    assert text["anyOf"] == image["anyOf"] == [{"required": ["ref"]}, {"required": ["value"]}]
    assert schema["required"] == ["text", "image", "your"]
    assert all(
        definition["additionalProperties"] is False for name, definition in schema["$defs"].items() if name != "YourDoc"
    )


def test_the_json_schema_of_a_union_of_documents_has_its_discriminator() -> None:
    class Either(ComboDoc):
        doc: Text | Image
        docs: list[Doc] = []

    schema = Either.model_json_schema()
    assert schema["properties"]["doc"]["discriminator"]["mapping"] == {"image": "#/$defs/Image", "text": "#/$defs/Text"}
    assert {"text", "image", "tensor"} <= set(schema["properties"]["docs"]["items"]["properties"]["kind"]["enum"])


@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_what_is_written_is_what_the_json_schema_describes(mode: Literal["validation", "serialization"]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for case in cases.CASES:
        if case.name in (
            "everything",
            "model of itself",
            "typed dict",
            "generic of documents",
            "tensor",
            "mesh",
            "any document",
        ):
            schema = pydantic.TypeAdapter(case.annotation).json_schema(mode=mode)
            jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(example().model_dump_json()), MyDoc.model_json_schema(mode=mode))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"text": {"kind": "text"}, "image": {"ref": "a"}, "your": {"video": {"ref": "a"}}},
            MyDoc.model_json_schema(mode=mode),
        )
