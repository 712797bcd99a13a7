"""Endpoints: what a class may declare, what is an error when it is made, and what its methods stay."""

from __future__ import annotations

import abc
import datetime
import functools
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field

from xooai import ComboDoc, Doc, Executor, Image, InvalidArgument, NotFound, Tensor, Text, post

T = TypeVar("T")
U = TypeVar("U")
D = TypeVar("D", bound=Doc)
HERE = "http://127.0.0.1:0"  # any free port


def names(executor: Executor) -> list[str]:
    """The endpoints, as an error lists them."""
    with pytest.raises(NotFound) as caught:
        executor.post(on="-")
    return caught.value.message.rpartition(": ")[2].split(", ")


class Reader(Executor):
    def __init__(self, language: str = "en") -> None:
        self.language = language

    @post
    def read(self, doc: Image, min_score: float = 0.5) -> Text:
        """Read a page."""
        return Text(value=f"{self.language} {min_score}")

    @post(name="open")
    def open_(self, doc: Text) -> Text:
        return doc


# The method itself


def test_a_direct_call_is_plain_python() -> None:
    """No copy, no validation, positions as well as names, its own signature and docstring."""
    reader = Reader("de")
    doc = Text(value="x")

    assert reader.open_(doc) is doc
    assert reader.read("nothing like a picture", 1).value == "de 1"  # type: ignore[arg-type]
    assert Reader.read.__doc__ == "Read a page."
    assert list(inspect.signature(reader.read).parameters) == ["doc", "min_score"]
    assert inspect.getsource(Reader.read).startswith("    @post")
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        reader.read()  # type: ignore[call-arg]


def test_a_subclass_need_not_call_the_constructor_of_its_base() -> None:
    reader = Reader("fr")
    assert (reader.name, reader.post(on="read", doc=Image(value=b"x")).value) == ("reader", "fr 0.5")


# Names


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("MyExecutor", "my_executor"),
        ("OCRReader", "ocr_reader"),
        ("Reader", "reader"),
        ("GPT2Reader", "gpt2_reader"),
        ("reader", "reader"),
        ("HTTPServer2XX", "http_server2_xx"),
        ("_Private", "private"),
    ],
)
def test_an_executor_is_called_after_its_class_in_snake_case(class_name: str, expected: str) -> None:
    assert type(class_name, (Executor,), {})().name == expected


def test_an_executor_is_called_as_it_is_told() -> None:

    class Named(Executor):
        pass

    assert Named(name="reader-2").name == "reader-2"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "../x", ".hidden", "é", "a\n", "x" * 129, "xooai", "docs", "livez"])
def test_a_name_that_no_path_holds_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Executor(name=name)


@pytest.mark.parametrize("name", ["Livez", "Readyz", "Docs", "Metrics", "Status", "Xooai"])
def test_a_class_named_as_a_path_of_the_server_is_an_error_when_it_is_made(name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name.lower()!r}.*the server's own"):
        type(name, (Executor,), {})


@pytest.mark.parametrize(
    "name",
    ["post", "apost", "call", "at", "serve", "start", "stop", "setup", "close", "name", "stream", "astream", "open"],
)
def test_an_endpoint_named_as_an_attribute_of_executor_is_an_error_when_the_class_is_made(name: str) -> None:
    def method(self: Any, doc: Text) -> Text:
        return doc

    with pytest.raises(TypeError, match=rf"Wrong.{name}: .*@post\(name="):
        type("Wrong", (Executor,), {name: post(method)})


def test_post_with_a_name_renames_the_endpoint() -> None:
    """Also to what is an attribute of every executor: the path is what is renamed."""
    reader = Reader()
    doc = Text(value="x")
    assert reader.post(on="open", doc=doc) == doc
    assert names(reader) == ["read", "open"]


@pytest.mark.parametrize("name", ["a/b", "", " ", "_x", "x y", "é"])
def test_a_name_that_no_path_holds_is_an_error_when_the_class_is_made(name: str) -> None:
    def method(self: Any) -> None:
        return None

    with pytest.raises(TypeError, match="Wrong.method: .*not a name for an endpoint"):
        type("Wrong", (Executor,), {"method": post(name=name)(method)})


def test_two_endpoints_of_one_name_are_an_error_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="Wrong.second: .*'first'"):

        class Wrong(Executor):
            @post
            def first(self) -> None: ...

            @post(name="first")
            def second(self) -> None: ...


# Parameters


@pytest.mark.parametrize("name", ["on", "timeout", "metadata", "codec"])
def test_a_parameter_that_every_call_has_already_is_an_error_when_the_class_is_made(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def method(self, {name}: int) -> int: ...", {}, namespace)
    with pytest.raises(TypeError, match=f"wrong.method: the parameter name {name!r}"):
        type("Wrong", (Executor,), {"method": post(namespace["method"])})


def test_a_parameter_without_annotation_is_an_error_that_names_the_method() -> None:
    with pytest.raises(TypeError, match="wrong.read: the parameter 'doc' has no annotation"):

        class Wrong(Executor):
            @post
            def read(self, doc) -> Text:  # type: ignore[no-untyped-def]
                return Text(value=doc)


def test_parameters_that_cannot_be_given_by_name_are_an_error() -> None:
    with pytest.raises(TypeError, match=r"wrong.read: the parameter '\*docs' cannot be given by name"):

        class Wrong(Executor):
            @post
            def read(self, *docs: Text) -> None: ...

    with pytest.raises(TypeError, match=r"wrong.read: the parameter '\*\*more' cannot be given by name"):

        class Wrong(Executor):  # type: ignore[no-redef]
            @post
            def read(self, **more: Text) -> None: ...

    with pytest.raises(TypeError, match="wrong.read: the parameter 'doc' cannot be given by name"):

        class Wrong(Executor):  # type: ignore[no-redef]
            @post
            def read(self, doc: Text, /) -> None: ...


class Opaque:
    """What pydantic knows nothing of."""


class PlainWithBytes(BaseModel):
    data: bytes


class PlainWithDocument(BaseModel):
    doc: Text


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Opaque, "Opaque.*annotate it"),
        (list[Opaque], "Opaque"),
        (datetime.datetime | str, "union"),
        (PlainWithBytes, "subclass ComboDoc"),
        (PlainWithDocument, "subclass ComboDoc"),
        (dict[str, PlainWithBytes], "subclass ComboDoc"),
        (AsyncIterator[Text], "."),
        (Callable[[], int], "."),
    ],
    ids=str,
)
def test_a_type_that_cannot_travel_is_an_error_that_names_the_method(annotation: Any, reason: str) -> None:
    def takes(self: Any, doc: Any) -> None: ...

    def gives(self: Any) -> Any: ...

    takes.__annotations__["doc"] = annotation
    gives.__annotations__["return"] = annotation
    for method in (takes, gives):
        with pytest.raises(TypeError, match=f"wrong.{method.__name__}.*{reason}"):
            type("Wrong", (Executor,), {method.__name__: post(method)})


def test_post_stands_on_methods_only() -> None:
    for wrong in (Opaque, 3, staticmethod(lambda: 1), classmethod(lambda cls: 1), property(lambda self: 1), len):
        with pytest.raises(TypeError, match="@post stands on a method"):
            post(wrong)  # type: ignore[type-var]


def test_a_method_without_self_is_an_error_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="wrong.read.*self"):

        class Wrong(Executor):
            @post
            def read() -> None:  # type: ignore[misc]
                ...


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_static_method_is_an_error_when_the_class_is_made(kind: Any) -> None:
    with pytest.raises(TypeError, match="Wrong.read: @post stands on a method"):

        class Wrong(Executor):
            @kind  # type: ignore[untyped-decorator]
            @post
            def read(self, doc: Text) -> None: ...


def test_a_generator_is_an_error_when_the_class_is_made() -> None:
    """One reply is returned; many are another decorator's."""
    with pytest.raises(TypeError, match="wrong.read.*yield"):

        class Wrong(Executor):
            @post
            def read(self) -> Iterator[Text]:
                yield Text(value="x")

    with pytest.raises(TypeError, match="wrong.read.*yield"):

        class Wrong(Executor):  # type: ignore[no-redef]
            @post
            async def read(self):  # type: ignore[no-untyped-def]
                yield Text(value="x")


def test_parameters_may_be_anything_that_pydantic_validates() -> None:
    class Many(Executor):
        @post
        def many(
            self,
            when: datetime.date,
            scores: Annotated[list[float], Field(max_length=2)],
            *,
            name: Annotated[str, Field(pattern="^[a-z]+$")] = "x",
        ) -> list[Any]:
            return [when.isoformat(), scores, name]

    many = Many()
    assert many.post(on="many", when="2024-02-29", scores=[1]) == ["2024-02-29", [1.0], "x"]
    with pytest.raises(InvalidArgument) as caught:
        many.post(on="many", when="2024-02-30", scores=[1, 2, 3], name="X")
    assert [mistake["loc"] for mistake in caught.value.errors] == [("when",), ("scores",), ("name",)]


def test_a_call_as_python_writes_it_is_bound_by_position() -> None:
    """Of a client: as the method itself would be called."""
    image = Image(value=b"x")
    with Reader() as reader, Reader.at(reader.start(HERE)[0]) as served:
        client: Any = served
        assert client.read(image, 0.25).value == "en 0.25"
        assert client.read(image, min_score=0.75).value == "en 0.75"
        with pytest.raises(TypeError, match=r"read\(\) takes 2 arguments but 3 were given"):
            client.read(image, 0.5, 1)
        with pytest.raises(TypeError, match="multiple values for argument 'doc'"):
            client.read(image, doc=image)


# Annotations


class Early(Executor):
    @post
    def convert(self, page: LatePage, more: list[LatePage] | None = None) -> LatePage:
        return page


class LatePage(ComboDoc):
    text: Text


def test_an_annotation_may_name_what_is_defined_later() -> None:
    page = LatePage(text=Text(value="x"))
    assert Early().post(on="convert", page=page) == page


def test_an_annotation_may_name_a_class_of_the_function_around() -> None:
    class Local(ComboDoc):
        text: Text

    class Converter(Executor):
        @post
        def convert(self, page: Local) -> Local:
            return page

    class Further(Converter):
        @post
        def again(self, page: Local) -> Local:
            return page

    page = Local(text=Text(value="x"))
    for executor in (Converter(), Further()):
        assert executor.post(on="convert", page=page) == page
    assert Further().post(on="again", page=page) == page


def test_an_annotation_may_name_a_class_of_the_executor_itself() -> None:
    class Nested(Executor):
        class Options(BaseModel):
            depth: int = 1

        @post
        def run(self, options: Nested.Options) -> int:
            return options.depth

    assert Nested().post(on="run", options=Nested.Options(depth=3)) == 3


def test_a_base_with_a_hook_of_its_own_does_not_hide_the_function_around() -> None:
    class Registered(Executor):
        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)

    class Local(ComboDoc):
        text: Text

    class Converter(Registered):
        @post
        def convert(self, page: Local) -> Local:
            return page

    page = Local(text=Text(value="x"))
    assert Converter().post(on="convert", page=page) == page


def test_a_subclass_of_a_class_with_late_annotations_works() -> None:
    class First(Executor):
        @post
        def convert(self, page: Later) -> Later:
            return page

    class Later(ComboDoc):
        text: Text

    class Second(First):
        @post
        def again(self, page: Later) -> Later:
            return page

    page = Later(text=Text(value="x"))
    assert Second().post(on="again", page=page) == page
    assert Second().post(on="convert", page=page) == page


def test_an_annotation_that_is_never_defined_is_an_error_that_names_the_method() -> None:
    class Never(Executor):
        @post
        def convert(self, page: Nowhere) -> Text:  # type: ignore[name-defined]  # noqa: F821
            return Text(value="")

    for _ in range(2):
        with pytest.raises(NameError, match="never.convert.*Nowhere"):
            Never().post(on="convert", page=1)


def test_a_class_does_not_keep_what_stood_around_it() -> None:
    """The names of the function around are looked up once; a model that stood there is not held for ever."""

    class Model:
        pass

    def make(model: Model) -> type[Executor]:
        class Holder(Executor):
            @post
            def run(self) -> int:
                return 1

        return Holder

    model = Model()
    gone = weakref.ref(model)
    holder = make(model)
    assert holder().post(on="run") == 1
    del model
    gc.collect()
    assert gone() is None


# Inheritance


class Base(Executor):
    @post
    def read(self, doc: Text) -> Text:
        return Text(value=f"base {doc.read()}")

    @post
    async def keep(self, doc: Text) -> Text:
        return doc


def test_endpoints_are_inherited() -> None:
    class Derived(Base):
        @post
        def more(self, doc: Text) -> Text:
            return doc

    assert names(Derived()) == ["read", "keep", "more"]
    assert names(Base()) == ["read", "keep"]
    assert Derived().post(on="read", doc=Text(value="x")).value == "base x"


def test_an_overridden_endpoint_is_the_subclasss_with_its_signature() -> None:
    class Derived(Base):
        def read(self, doc: Text, times: int = 2) -> Text:
            """Overridden without @post: it is one already."""
            return Text(value=super().read(doc).read() * times)

    assert Derived().post(on="read", doc=Text(value="x"), times=3).value == "base x" * 3
    assert names(Derived()) == ["read", "keep"]
    with pytest.raises(InvalidArgument, match="no parameter 'times'"):
        Base().post(on="read", doc=Text(value="x"), times=3)


def test_an_overriding_method_may_become_async() -> None:
    class Derived(Base):
        @post
        async def read(self, doc: Text) -> Text:  # type: ignore[override]
            return doc

    assert Derived().post(on="read", doc=Text(value="x")).value == "x"


def test_an_overriding_method_may_rename_the_endpoint() -> None:
    class Derived(Base):
        @post(name="recite")
        def read(self, doc: Text) -> Text:
            return doc

    assert names(Derived()) == ["recite", "keep"]
    assert Derived().post(on="recite", doc=Text(value="x")).value == "x"


def test_an_endpoint_that_is_overridden_by_something_else_is_an_error() -> None:
    with pytest.raises(TypeError, match="Derived.read: .*endpoint"):

        class Derived(Base):
            read = None  # type: ignore[assignment]


def test_endpoints_of_several_bases_come_together() -> None:
    class Other(Executor):
        @post
        def rank(self, docs: list[Text]) -> int:
            return len(docs)

    class Both(Base, Other):
        pass

    assert sorted(names(Both())) == ["keep", "rank", "read"]
    assert Both().post(on="rank", docs=[]) == 0
    assert Both().post(on="read", doc=Text(value="x")).value == "base x"


def test_endpoints_of_a_plain_mixin_count() -> None:
    class Pinging:
        @post
        def ping(self) -> str:
            return f"{type(self).__name__} is here"

    class Server(Pinging, Executor):
        pass

    assert Server().post(on="ping") == "Server is here"


def test_an_abstract_class_declares_what_its_clients_call() -> None:
    class Api(Executor, abc.ABC):
        @post
        @abc.abstractmethod
        def read(self, doc: Text) -> Text: ...

    class Real(Api):
        def read(self, doc: Text) -> Text:
            return doc

    with Real(name="api") as real, Api.at(real.start(HERE)[0]) as remote:
        assert remote.read(doc=Text(value="x")).value == "x"
    with pytest.raises(TypeError, match="abstract"):
        Api()  # type: ignore[abstract]


def test_a_generic_base_works() -> None:
    class Stage(Executor, Generic[T]):
        @post
        def count(self, docs: list[Text]) -> int:
            return len(docs)

    class TextStage(Stage[Text]):
        pass

    assert TextStage().post(on="count", docs=[Text(value="a")]) == 1


def test_what_a_type_variable_of_a_base_stands_for_is_read_off_the_subclass() -> None:
    class Pair(ComboDoc, Generic[T]):
        one: T

    class Stage(Executor, Generic[T, U]):
        @post
        def echo(self, doc: T) -> T:
            return doc

        @post
        def both(self, docs: list[T], named: dict[str, U] | None = None) -> tuple[T, U] | None:
            return (docs[0], named["a"]) if named else None

        @post
        def pair(self, pairs: list[Pair[T]], limit: Annotated[U | None, Field(description="x")] = None) -> Pair[T]:
            return pairs[0]

    class Half(Stage[T, Text]):
        pass

    class Whole(Half[Image]):
        pass

    class Other(Half[Tensor]):
        pass

    image, text = Image(value=b"GIF89a"), Text(value="a")
    whole = Whole()
    assert whole.post(on="echo", doc=image) == image
    assert whole.post(on="both", docs=[image], named={"a": text}) == (image, text)
    assert whole.post(on="pair", pairs=[Pair[Image](one=image)], limit=text) == Pair[Image](one=image)
    with pytest.raises(InvalidArgument, match="kind"):
        whole.post(on="echo", doc=text)
    with pytest.raises(InvalidArgument):
        Other().post(on="echo", doc=image)
    with whole, Whole.at(whole.start(HERE)[0]) as remote, Executor(f"{remote._xooai_remote.server}/whole") as plain:  # type: ignore[union-attr]
        assert remote.echo(doc=image) == image
        assert plain.post(on="both", docs=[image], named={"a": text}) == (image, text)


def test_a_type_variable_that_stays_open_is_an_error_when_the_class_is_made() -> None:
    class Stage(Executor, Generic[T]):
        @post
        def echo(self, doc: list[T]) -> T:
            return doc[0]

    with pytest.raises(
        TypeError, match=r"^loose.echo: nothing says what the type variable ~T stands for; .*Loose\(Stage\["
    ):

        class Loose(Stage):  # type: ignore[type-arg]
            pass

    with pytest.raises(
        TypeError, match=r"^lone.echo: nothing says what the type variable ~T stands for; .*Generic\[T\]"
    ):

        class Lone(Executor):
            @post
            def echo(self, doc: T) -> T:
                return doc


def test_a_type_variable_with_a_bound_is_its_bound_where_nothing_else_is_said() -> None:
    class Stage(Executor, Generic[D]):
        @post
        def echo(self, doc: D) -> D:
            return doc

    class Bounded(Stage):  # type: ignore[type-arg]
        pass

    assert Bounded().post(on="echo", doc=Text(value="a")) == Text(value="a")


def test_a_decorated_method_is_an_endpoint_with_the_signature_that_it_shows() -> None:
    def shouting(function: Callable[..., Text]) -> Callable[..., Text]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Text:
            return Text(value=function(*args, **kwargs).read().upper())

        return wrapper

    class Loud(Executor):
        @post
        @shouting
        def read(self, doc: Text) -> Text:
            return doc

    loud = Loud()
    assert loud.post(on="read", doc=Text(value="x")).value == "X"
    with pytest.raises(InvalidArgument, match="needs the parameter 'doc'"):
        loud.post(on="read")


def test_an_executor_without_endpoints_says_so() -> None:
    with pytest.raises(NotFound, match="executor has: none"):
        Executor().post(on="read")
    with pytest.raises(InvalidArgument, match="0 endpoints"):
        Executor().post()


def test_on_has_to_be_said_where_there_are_several() -> None:
    with pytest.raises(InvalidArgument, match="reader has 2 endpoints; say which: on= one of read, open"):
        Reader().post(doc=Text(value="x"))
