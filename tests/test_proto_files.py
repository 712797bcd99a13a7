"""The .proto files of executors: what is in them, and that protoc takes them whatever names a class has."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, Field, RootModel, create_model
from typing_extensions import TypeAliasType, TypedDict

from xooai import ComboDoc, Doc, Executor, Image, InvalidArgument, Tensor, Text, describe, post
from xooai.proto import EXTRA, File, Message
from xooai.proto_schema import files
from xooai.proto_text import text


def echo(annotation: Any) -> type[Executor]:
    """An executor with an endpoint that takes and gives this."""

    def echo(self: Any, value: Any) -> Any:
        return value

    echo.__annotations__ = {"value": annotation, "return": annotation}
    return type("Echo", (Executor,), {"echo": post(echo)})


def file_of(executor: type[Executor]) -> File:
    (file,) = files(describe.plain([object.__new__(executor)._xooai_local()]))
    return file


def message(annotation: Any, name: str = "EchoRequest") -> list[str]:
    """The lines of a message, as its file has them, without comments."""
    written = text(file_of(echo(annotation)))
    body = written.partition(f"message {name} {{\n")[2].partition("\n}")[0]
    return [line.strip() for line in body.splitlines() if not line.strip().startswith("//")]


class Colour(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 7


class Row(TypedDict):
    x: int
    more: NotRequired[str]


class Names(RootModel[list[str]]):
    pass


@pytest.mark.parametrize(
    ("annotation", "field"),
    [
        (bool, "bool value = 1;"),
        (int, "int64 value = 1;"),
        (float, "double value = 1;"),
        (str, "string value = 1;"),
        (bytes, "bytes value = 1;"),
        (dt.datetime, "string value = 1;"),
        (decimal.Decimal, "string value = 1;"),
        (Colour, "Colour value = 1;"),
        (Literal["a", "b"], "EchoRequestValue value = 1;"),
        (list[int], "repeated int64 value = 1;"),
        (set[str], "repeated string value = 1;"),
        (tuple[float, ...], "repeated double value = 1;"),
        (tuple[int, str], "EchoRequestValue value = 1;"),
        (list[list[int]], "repeated Int64List value = 1;"),
        (list[int | None], "repeated OptionalInt64 value = 1;"),
        (dict[str, float], "map<string, double> value = 1;"),
        (dict[int, Image], "map<string, Image> value = 1;"),
        (dict[str, list[str]], "map<string, StringList> value = 1;"),
        (int | None, "optional int64 value = 1;"),
        (list[int] | None, "Int64List value = 1;"),
        (int | str, "Int64OrString value = 1;"),
        (Image | Text | None, "ImageOrText value = 1;"),
        (Names, "repeated string value = 1;"),
        (Row, "Row value = 1;"),
        (Image, "Image value = 1;"),
        (Doc, "Doc value = 1;"),
        (Any, "Value value = 1;"),
        (list, "repeated Value value = 1;"),
        (dict, "map<string, Value> value = 1;"),
        (int | Any, "Value value = 1;"),
    ],
    ids=str,
)
def test_a_type_has_its_field(annotation: Any, field: str) -> None:
    assert message(annotation) == [field]


def test_a_reply_that_is_a_message_is_given_as_it_is_and_any_other_in_one() -> None:
    assert file_of(echo(Image)).methods[0].reply == "Image"
    assert file_of(echo(int)).methods[0].reply == "EchoReply"
    assert message(int, "EchoReply") == ["optional int64 value = 1;"]
    assert message(list[Text], "EchoReply") == ["repeated Text value = 1;"]
    assert message(type(None), "EchoReply") == []


class Filled(ComboDoc):
    required: int
    optional: int = 3
    nullable: int | None = None
    null_or_five: int | None = 5
    must_be_said: int | None
    empty: list[int] = Field(default_factory=list)
    filled: list[int] = Field(default=[1])
    said: list[int] | None = None


def test_what_may_be_left_out_can_be_told_from_what_is_empty() -> None:
    assert message(Filled, "Filled") == [
        "int64 required = 1;",
        "optional int64 optional = 2;",
        "optional int64 nullable = 3;",
        "OptionalInt64 null_or_five = 4;",
        "optional int64 must_be_said = 5;",
        "repeated int64 empty = 6;",
        "Int64List filled = 7;",
        "Int64List said = 8;",
    ]


def test_documents_have_their_fields_but_for_the_kind() -> None:
    fields = ["optional string ref = 1;", "optional bytes value = 2;", "optional string media_type = 3;"]
    more = ["optional string signature = 4;", "optional int64 size = 5;"]

    assert message(Image, "Image") == fields + more
    assert message(Text, "Text") == [fields[0], "optional string value = 2;", fields[2], *more]
    assert message(Tensor, "Tensor") == [*fields, *more, "TensorDtype dtype = 6;", "repeated int64 shape = 7;"]


class Tagged(ComboDoc):
    kind: Literal["tagged"] = "tagged"
    x: int


def test_what_is_always_the_same_has_no_field_and_keeps_its_number() -> None:
    assert message(Tagged, "Tagged") == ["int64 x = 2;"]


class Marked(TypedDict):
    mark: NotRequired[Literal["marked"]]


def test_what_is_the_same_and_may_be_missing_has_one() -> None:
    assert message(Marked, "Marked") == ["optional MarkedMark mark = 1;"]


class Open(ComboDoc):
    model_config = {"extra": "allow"}
    x: int


def test_an_open_object_has_a_field_for_the_rest_that_no_other_field_reaches() -> None:
    assert message(Open, "Open") == ["int64 x = 1;", f"map<string, Value> extra = {EXTRA};"]


def enums(annotation: Any) -> list[tuple[str, int, Any]]:
    found = file_of(echo(annotation)).enums[0]
    return [(found.unset, 0, None), *((one.name, one.number, one.value) for one in found.values)]


def test_an_enums_values_are_numbered_as_they_come_and_0_is_none() -> None:
    assert enums(Level) == [("LEVEL_UNSPECIFIED", 0, None), ("LEVEL_1", 1, 1), ("LEVEL_7", 2, 7)]
    assert enums(Colour)[1:] == [("COLOUR_RED", 1, "red"), ("COLOUR_DARK_BLUE", 2, "dark-blue")]


def test_values_that_are_written_alike_have_names_of_their_own() -> None:
    found = enums(Literal["a", "A", "", "-", "1", 1, True, None, "UNSPECIFIED", "ä"])

    assert len({name.replace("_", "").lower() for name, _, _ in found}) == len(found)


Nested = TypeAliasType("Nested", "int | list[Nested]")


def test_a_type_of_itself_is_a_message_of_itself() -> None:
    assert message(Nested, "Nested") == ["Int64OrNestedList value = 1;"]
    assert message(Nested, "NestedList") == ["repeated Nested value = 1;"]


class Price(ComboDoc):
    amount: decimal.Decimal
    parts: list[Price] = []


def test_a_class_that_is_read_and_written_differently_in_json_only_is_one_message() -> None:
    assert [found.name for found in file_of(echo(Price)).messages] == ["EchoRequest", "Price"]


class Either(ComboDoc):
    value: int = Field(validation_alias="Value")
    model_config = {"validate_by_name": True}


def test_a_class_that_is_read_by_one_name_and_written_by_another_is_two_messages() -> None:
    assert message(Either, "EitherInput") == ["int64 Value = 1;"]
    assert message(Either, "EitherOutput") == ["int64 value = 1;"]


def test_fields_added_at_the_end_change_none_before_them() -> None:
    before = create_model("Page", __base__=ComboDoc, a=(int, ...), b=(list[str], ...))
    after = create_model("Page", __base__=before, c=(int | None, None), d=(Image | Text | None, None))

    assert message(after, "Page")[:2] == message(before, "Page")


def test_two_executors_have_packages_of_their_own() -> None:
    found = files({"executors": {name: {"read": _endpoint()} for name in ("a.b", "a-b", "A_b", "2d")}})

    assert [file.package for file in found] == ["xooai.a_b", "xooai.a_b_2", "xooai.a_b_3", "xooai.f_2d"]
    assert [file.service for file in found] == ["AB", "AB", "AB", "X2d"]


def _endpoint() -> dict[str, Any]:
    return {"shape": "UNARY", "summary": "", "body": {"type": "object", "properties": {}}, "reply": {"type": "null"}}


def test_more_fields_than_protobuf_has_are_refused_with_what_would_be_right() -> None:
    wide = {"type": "object", "properties": {f"f{index}": {"type": "integer"} for index in range(19_000)}}

    with pytest.raises(
        InvalidArgument, match=r"ReadValue\.f18999: protobuf keeps the field numbers .* class of their own"
    ):
        files({"executors": {"a": {"read": {**_endpoint(), "reply": wide}}}})


# What protoc says


WORDS = """message enum service rpc returns stream option import package syntax reserved extensions extend oneof map group
optional required repeated to max inf nan true false bool string bytes double float int32 int64 None True False class def
from lambda self descriptor DESCRIPTOR public weak edition export local""".split()


class Odd(ComboDoc):
    """A class whose names are hard.

    /* and */ a comment of // two lines.
    """

    text: Text | None = None
    capital: int = Field(default=3, alias="Text")
    min_score: float = 0.5
    camel: float = Field(default=0.5, alias="minScore")
    capitals: float = Field(default=0.5, alias="MIN-SCORE")
    digit: int = Field(default=0, alias="2d", description="two\nlines")
    nothing: int = Field(default=0, alias="ä")
    private: int = Field(default=0, alias="_x_")
    quoted: str = Field(default='"\\\n', alias='a"b')
    value: Literal["value", "Value"] | int = 3


class Value(ComboDoc):
    value: Any = None


class ReadRequest(ComboDoc):
    x: int = 0


class OptionalInt64(BaseModel):
    x: list[int | None]


class Hard(Executor):
    @post
    def read(self, odd: Odd, value: Value, request: ReadRequest, box: OptionalInt64) -> Odd | None:
        return odd

    @post
    def text(self, doc: Text) -> Text:
        return doc

    @post(name="te-xt")
    def other(self, hard: Annotated[Literal["Hard", "HARD"], Field()]) -> list[Value]:
        return []


def words() -> type[Executor]:
    """Parameters, classes and endpoints whose names are words of protobuf or of a language."""
    fields: Any = {f"x_{word}": (str, Field(alias=word)) for word in WORDS}
    classes = [create_model(word, __base__=ComboDoc, x=(int, 0)) for word in ("None", "Message", "string", "map")]
    held: Any = {f"c_{index}": (cls, ...) for index, cls in enumerate(classes)}
    words = create_model("Words", __base__=ComboDoc, **fields, **held)
    return echo(words)


@pytest.mark.parametrize("executor", [Hard, words()], ids=["hard names", "reserved words"])
def test_protoc_takes_a_file_whatever_the_names_are(executor: type[Executor], tmp_path: Path) -> None:
    protoc = pytest.importorskip(
        "grpc_tools.protoc", reason="needs grpcio-tools; it comes with: pip install -e '.[dev]'"
    )
    (tmp_path / "hard.proto").write_text(text(file_of(executor)))

    assert protoc.main(["protoc", f"-I{tmp_path}", f"--python_out={tmp_path}", "hard.proto"]) == 0


def test_the_descriptors_made_at_run_time_are_those_that_protoc_makes(tmp_path: Path) -> None:
    protoc = pytest.importorskip(
        "grpc_tools.protoc", reason="needs grpcio-tools; it comes with: pip install -e '.[dev]'"
    )
    descriptors = pytest.importorskip(
        "xooai_grpc.descriptors", reason="needs gRPC; it comes with: pip install 'xooai[grpc]'"
    )
    from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool

    executors: list[type[Executor]] = [Hard, words(), echo(Filled), echo(Open), echo(Nested)]
    for index, executor in enumerate(executors):
        file = file_of(executor)
        (tmp_path / f"f{index}.proto").write_text(text(file))
        assert protoc.main(["protoc", f"-I{tmp_path}", f"--descriptor_set_out={tmp_path}/set", f"f{index}.proto"]) == 0
        (theirs,) = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
        pool, ours = DescriptorPool(), FileDescriptorProto()
        pool.FindFileByName(descriptors.added(file, pool)).CopyToProto(ours)
        theirs.ClearField("options")
        theirs.name = ours.name = ""
        for message in theirs.message_type:
            for field in (*message.field, *(inner for entry in message.nested_type for inner in entry.field)):
                field.ClearField("json_name")
        assert ours == theirs


def test_the_description_that_a_server_gives_is_the_same_file() -> None:
    """What a URL is exported from has been JSON."""
    local = object.__new__(Hard)._xooai_local()
    described = json.loads(describe.document("json", [local]))

    assert files(described) == files(describe.plain([local]))
    assert all(isinstance(found, Message) for found in files(described)[0].messages)
