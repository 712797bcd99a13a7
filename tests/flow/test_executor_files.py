"""Executors in YAML files: the class, what its constructor gets, what it is called, and which endpoints it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import filed
import pytest

from xooai import Executor, Flow, InvalidArgument, Text, post

pytest.importorskip("yaml")

GERMAN = """\
use: filed:Words
with: {language: de}
metas: {name: german, description: Words in German.}
requests: {heading: title, cut: clean}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """The executor that a text tells of, once it is in a file."""

    def load(text: str, kind: type[Executor] = Executor, modules: Any = ("filed",)) -> Executor:
        (tmp_path / "words.yaml").write_text(text)
        return kind.load(tmp_path / "words.yaml", modules=modules)

    return load


def test_an_executor_is_made_as_its_file_says(load: Callable[..., Any]) -> None:
    with load(GERMAN) as e:
        assert isinstance(e, filed.Words)
        assert (e.name, e.language, type(e).__doc__) == ("german", "de", "Words in German.")
        assert e.post(on="heading", doc=Text(value="a\nb")).read() == "A"
        with pytest.raises(LookupError, match=r"no endpoint 'title'.*german has: heading, cut"):
            e.post(on="title", doc=Text(value="a"))


def test_it_is_served_by_the_names_in_its_file(load: Callable[..., Any], serve: Callable[..., str]) -> None:
    url = serve(load(GERMAN))

    assert url.endswith("/german")
    assert Executor(url).post(on="cut", doc=Text(value="a  b"), width=2).read() == "a "
    with pytest.raises(LookupError):
        Executor(url).post(on="page", page={})


def test_the_class_that_loads_is_allowed_and_need_not_be_named(load: Callable[..., Any]) -> None:
    assert load("with: {language: de}", filed.Words, ()).language == "de"
    assert load("use: filed:Words", filed.Words, ()).language == "en"
    with pytest.raises(InvalidArgument, match=r"words.yaml, line 1: 'filed:Counter' is no Words"):
        load("use: filed:Counter", filed.Words)


def test_what_is_dumped_is_loaded_as_it_was(load: Callable[..., Any]) -> None:
    assert load(GERMAN).dump() == GERMAN
    assert filed.Words("de", name="w").dump() == "use: filed:Words\nwith: {language: de, name: w}\n"
    assert load(filed.Words(sizes=[1, {"a": None}]).dump()).sizes == [1, {"a": None}]
    assert filed.Counter().dump() == "use: filed:Counter\n"


@pytest.mark.parametrize(
    ("executor", "complaint"),
    [
        (lambda: filed.Words(sizes=object()), "it is not known what its constructor got"),
        (lambda: filed.Words(sizes=[b"x"]), "with['sizes'][0] is bytes; a file holds texts"),
        (lambda: Executor("http://127.0.0.1:1/words"), "it is a client of http://127.0.0.1:1"),
        (lambda: filed.Words.at("http://127.0.0.1:1"), "it is a client of http://127.0.0.1:1"),
        (type("Local", (Executor,), {}), "Local cannot be named as module:name"),
    ],
    ids=["object", "bytes", "client", "typed client", "class without a module"],
)
def test_what_a_file_cannot_say_is_told(executor: Callable[[], Executor], complaint: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be written") as refused:
        executor().dump()

    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("with: {}", "line 1: an executor has no 'use'"),
        ("use: os:system", "line 1: 'os:system' is of the module 'os', which is not among those allowed ('filed')"),
        ("use: filed:glued", "line 1: 'filed:glued' is a function, not a class of executors"),
        ("use: filed:Counter\nwiht: {}", "line 2: an executor has no key 'wiht'; did you mean 'with'?"),
        ("use: filed:Counter\nwith: {a: 1}", "line 2: with= is not what Counter takes"),
        ("use: filed:Words\nwith: {a: 1}", "line 2: with= is not what Words takes"),
        ("use: filed:Words\nwith: {self: 1}", "line 2: with= is not what Words takes"),
        ("use: filed:Counter\nmetas:\n  nme: x", "line 3: metas has no key 'nme'; did you mean 'name'?"),
        ("use: filed:Counter\nmetas:\n  name: a/b", "line 3: 'a/b' is not a name for an executor"),
        ("use: filed:Counter\nrequests:\n  a: made", "line 3: Counter has no endpoint 'made'; its methods: load"),
        ("use: filed:Counter\nrequests:\n  a/b: load", "line 3: 'a/b' is not a name for an endpoint"),
        ("use: filed:Counter\nrequests: {}", "line 2: requests is empty"),
        ("nodes: []", "line 1: this is a Flow"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_file_and_its_line(
    load: Callable[..., Any], tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        load(text)

    assert str(refused.value).replace(f"{tmp_path}/", "").startswith(f"words.yaml, {complaint}")


def test_endpoints_may_be_called_load_and_dump_as_the_methods_are() -> None:
    class Store(Executor):
        @post
        def load(self, key: str) -> str:  # type: ignore[override]
            return key

        @post
        def dump(self, key: str) -> str:  # type: ignore[override]
            return key

    assert Store().post(on="load", key="a") == "a"
    assert Store().post(on="dump", key="a") == "a"


def test_a_constructor_keeps_what_it_looks_like_and_gets() -> None:
    class Mixed(Executor):
        def __new__(cls, *args: Any, **kwargs: Any) -> Mixed:
            made = super().__new__(cls, *args, **kwargs)
            made.seen = (args, kwargs)
            return made

        def __init__(self, a: int, *, b: int = 2) -> None:
            self.given = (a, b)

        seen: Any

    e = Mixed(1, b=3)

    assert (e.seen, e.given) == (((1,), {"b": 3}), (1, 3))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        Mixed()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Executor.__init__\(\) got an unexpected keyword argument 'nme'"):
        filed.Words(nme="x")
    assert Flow().add(use=filed.Words.Inner, with_={"name": "x"}) is not None
