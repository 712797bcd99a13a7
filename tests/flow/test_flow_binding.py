"""Which reply goes to which parameter: the rules, one by one, and all of them against a model in plain Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import ComboDoc, Executor, Flow, FlowError, Image, InvalidArgument, Text, post


class Page(ComboDoc):
    scan: Image
    caption: Text | None = None


class Source(Executor):
    @post
    async def scan(self, doc: Image) -> Image:
        return doc

    @post
    async def caption(self, doc: Image) -> Text:
        return Text(value="caption of " + doc.read().decode())


class Taker(Executor):
    @post
    async def one(self, doc: Image) -> Text:
        return Text(value="one " + doc.read().decode())

    @post
    async def named(self, scan: Image, caption: Text) -> Text:
        return Text(value=f"named {scan.read().decode()}, {caption.read()}")

    @post
    async def page(self, page: Page) -> Text:
        return Text(value=f"page {page.scan.read().decode()}, {page.caption.read() if page.caption else None}")

    @post
    async def several(self, docs: list[Image | Text]) -> Text:
        return Text(value="list " + ", ".join(doc.kind for doc in docs))

    @post
    async def with_default(self, language: str = "en", doc: Image | None = None) -> Text:
        return Text(value=f"{language} {doc and doc.read().decode()}")

    @post
    async def only_required(self, language: str = "en", *, doc: Image) -> Text:
        return Text(value=f"{language} {doc.read().decode()}")


def flow(on: str, needs: Sequence[str] = ("scan", "caption"), **options: Any) -> Flow:
    f = Flow().add(use=Source, on="scan", id="scan").add(use=Source, on="caption", id="caption")
    return f.add(use=Taker, on=on, id="taker", needs=needs, **options)


IMAGE = Image(value=b"picture")

RULES: dict[str, tuple[str, Sequence[str], dict[str, Any], str]] = {
    "one need, one parameter": ("one", ["scan"], {}, "one picture"),
    "one need, to the only required": ("only_required", ["scan"], {}, "en picture"),
    "constants": ("only_required", ["scan"], {"args": {"language": "de"}}, "de picture"),
    "several, by name": ("named", ["caption", "scan"], {}, "named picture, caption of picture"),
    "several, by field": ("page", ["scan", "caption"], {}, "page picture, caption of picture"),
    "several, as a list in their order": ("several", ["caption", "scan"], {}, "list text, image"),
    "several, joined": ("one", ["scan", "caption"], {"join": lambda caption, scan: scan}, "one picture"),
    "several, joined by their order": ("one", ["scan", "caption"], {"join": lambda a, b: a}, "one picture"),
    "a join goes before what is found": (
        "several",
        ["scan", "caption"],
        {"join": lambda scan, caption: [caption, caption]},
        "list text, text",
    ),
    "several, joined by name and the rest": (
        "one",
        ["caption", "scan"],
        {"join": lambda scan, **rest: scan if list(rest) == ["caption"] else None},
        "one picture",
    ),
    "several, joined by place and the rest": (
        "one",
        ["scan", "caption"],
        {"join": lambda scan, *rest: scan if len(rest) == 1 else None},
        "one picture",
    ),
    "several, joined by what needs no value": (
        "one",
        ["caption", "scan"],
        {"join": lambda scan, quality=9: scan if quality == 9 else None},
        "one picture",
    ),
    "one need, joined": (
        "one",
        ["caption"],
        {"join": lambda caption: Image(value=caption.read().encode())},
        "one caption of picture",
    ),
    "several, the first": ("one", ["scan", "caption"], {}, "one picture"),
    "the input beside a reply": ("several", ["input", "caption"], {}, "list image, text"),
    "the input alone": ("one", ["input"], {}, "one picture"),
    "the input alone, joined": ("one", ["input"], {"join": lambda input: input}, "one picture"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_reply_goes_where_the_rule_says(rule: str) -> None:
    on, needs, options, expected = RULES[rule]

    with flow(on, needs, **options) as f:
        result = f.post(doc=IMAGE)

    assert (result["taker"] if isinstance(result, dict) else result).read() == expected


REFUSED: dict[str, tuple[str, Sequence[str], dict[str, Any], str]] = {
    "a partial match": (
        "named",
        ["scan", "input"],
        {},
        "there is a parameter 'scan' for the need of that id, and none for",
    ),
    "a partial match of fields": ("page", ["scan", "input"], {}, "there is a field 'scan'"),
    "a required parameter without a reply": ("named", ["scan"], {}, "nothing goes to 'caption': Text"),
    "a required field without a reply": ("page", ["caption", "x"], {}, "there is a field 'caption'"),
    "a join that is named as some": ("one", ["caption", "scan"], {"join": lambda scan, x: scan}, "name all of its"),
    "a join that would get another's reply": (
        "one",
        ["caption", "scan"],
        {"join": lambda scan, *x: scan},
        "name all of",
    ),
    "a condition that is named as some": ("one", ["caption", "scan"], {"when": lambda scan, x: True}, "when= takes"),
    "the first reply to the first parameter": ("with_default", ["scan"], {}, "(language: str)"),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_no_rule_fits_is_refused(mistake: str) -> None:
    on, needs, options, complaint = REFUSED[mistake]

    with pytest.raises(FlowError) as told:
        flow(on, needs, **options).check()

    assert complaint in told.value.message


def test_a_reply_that_only_orders_is_warned_of() -> None:
    assert flow("one").check() == [
        "caption's result is ignored: taker takes scan's as 'doc', and only waits for caption; give join= to use both"
    ]
    assert flow("several").check() == []
    assert flow("one", when=lambda caption: True).check() == []
    assert flow("one", join=lambda scan: scan, when=lambda caption: True).check() == []
    assert flow("one", join=lambda scan, sep=",": scan).check() == [
        "caption's result is ignored: join= of taker takes no parameter 'caption'"
    ]


def test_each_root_gets_the_inputs_that_it_names() -> None:
    with Flow().add(use=Taker, on="one", id="a").add(use=Taker, on="only_required", id="b") as f:
        assert {id: text.read() for id, text in f.post(doc=IMAGE, language="fr").items()} == {
            "a": "one picture",
            "b": "fr picture",
        }
        with pytest.raises(InvalidArgument, match="call has no parameter 'lang'; did you mean 'language'"):
            f.post(doc=IMAGE, lang="fr")
        with pytest.raises(InvalidArgument, match="needs the parameter 'doc'"):
            f.post(language="fr")


# The rules against a model of them


class Record(ComboDoc):
    a: str
    b: str | None = None
    c: str = "-"


TYPES: dict[str, Any] = {"text": str, "list": list[str], "record": Record}


class Given(NamedTuple):
    name: str
    type: str
    required: bool


def node(parameters: Sequence[Given]) -> Callable[..., Any]:
    """A function with these parameters, that returns what it was given."""

    def function(**given: Any) -> Any:
        return {name: value.model_dump() if isinstance(value, Record) else value for name, value in given.items()}

    function.__annotations__ = {one.name: TYPES[one.type] for one in parameters}
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=TYPES[one.type],
                default=inspect.Parameter.empty if one.required else None,
            )
            for one in parameters
        ]
    )
    return function


def model(parameters: Sequence[Given], needs: Sequence[str], args: Mapping[str, str]) -> dict[str, Any] | None:
    """What the function is given, as the design says; None for a mistake. Every reply is the id that it is of."""
    if any(name not in [one.name for one in parameters] for name in args):
        return None
    free = [one for one in parameters if one.name not in args]
    required = [one for one in free if one.required]
    named = [one for one in free if one.name in needs]
    lists = [one for one in free if one.type == "list"]
    records = [one for one in free if one.type == "record" and {*needs} & {"a", "b", "c"}]
    if named:
        if len(named) < len(needs) or any(one.type != "text" for one in named):
            return None
        found: dict[str, Any] = {one.name: one.name for one in named}
    elif len(needs) > 1 and records:
        if not {*needs} <= {"a", "b", "c"} or "a" not in needs:
            return None
        found = {records[0].name: {"a": "a", "b": None, "c": "-"} | {need: need for need in needs}}
    elif len(needs) > 1 and len(lists) == 1:
        found = {lists[0].name: list(needs)}
    else:
        one = required[0] if len(required) == 1 else next(iter(free), None)
        if one is None or one.type != "text":
            return None
        found = {one.name: needs[0]}
    return None if any(one.name not in found for one in required) else {**found, **args}


parameters = st.lists(
    st.builds(Given, st.sampled_from("abcxyz"), st.sampled_from(list(TYPES)), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.name,
)
needs = st.lists(st.sampled_from("abcde"), min_size=1, max_size=3, unique=True)
constants = st.dictionaries(st.sampled_from("abx"), st.just("constant"), max_size=1)


@given(parameters=parameters, needs=needs, args=constants)
def test_binding_is_as_the_design_says(parameters: list[Given], needs: list[str], args: dict[str, str]) -> None:
    args = {
        name: value for name, value in args.items() if Given(name, "text", True)[:2] in [one[:2] for one in parameters]
    }
    f = Flow()
    for need in needs:
        f.add(use=_named(need), id=need)
    expected = model(parameters, needs, args)

    try:
        f.add(use=node(parameters), id="node", needs=needs, args=args)
        with f:
            found = f.post()
    except FlowError:
        found = None

    assert found == expected


def _named(id: str) -> Callable[[], str]:
    def name() -> str:
        return id

    return name
