"""Flows in YAML files: what is loaded is what was written, names are resolved in allowed modules alone, mistakes have lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import filed
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xooai import Executor, Flow, FlowError, InvalidArgument, NotFound, PluginError, ResourceExhausted, Text

pytest.importorskip("yaml")

PAGES = """\
flow: pages
nodes:
  - id: title
    use: filed:Words
    on: title
  - id: body
    use: filed:Words
    with: {language: de}
    on: clean
    args: {width: 9}
  - id: page
    use: filed:Words
    on: page
    needs: [title, body]
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Flow]:
    """The Flow that a text tells of, once it is in a file."""

    def load(text: str | bytes, modules: Any = ("filed",), name: str = "flow.yaml") -> Flow:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Flow.load(path, modules=modules)

    return load


@pytest.fixture
def refusal(load: Callable[..., Flow], tmp_path: Path) -> Callable[..., str]:
    """What is said of a text that is refused, without the folder."""

    def refusal(text: str | bytes, modules: Any = ("filed",)) -> str:
        with pytest.raises(FlowError) as refused:
            load(text, modules)
        assert "\n" not in str(refused.value)
        return str(refused.value).replace(f"{tmp_path}/", "")

    return refusal


def test_a_flow_in_a_file_runs_as_one_in_python(load: Callable[..., Flow]) -> None:
    with load(PAGES) as f:
        assert f.name == "pages"
        assert f(doc=Text(value="A  card\nfrom the sea")).read() == "A  CARD: A card fr"


def test_loading_makes_no_executor_and_asks_no_server(load: Callable[..., Flow]) -> None:
    before = filed.Counter.made

    load(
        "gateway: http://127.0.0.1:1\n"
        "nodes: [{use: 'filed:Counter'}, {use: a/b}, {use: 'http://127.0.0.1:1/c/d', optional: true}]"
    )

    assert filed.Counter.made == before


def test_a_word_is_a_text_where_it_is_no_number(load: Callable[..., Flow]) -> None:
    f = load(
        "nodes: [{use: 'filed:Words', on: title, with: {language: no, sizes: [on, 12:30, 2024-01-01, 1e3, 0x10, ~]}}]"
    )

    assert "{language: no, sizes: [on, '12:30', 2024-01-01, 1000.0, 16, null]}" in f.dump()
    assert f._used["words/title"].with_ == {"language": "no", "sizes": ["on", "12:30", "2024-01-01", 1000.0, 16, None]}


def test_functions_join_and_decide(load: Callable[..., Flow]) -> None:
    f = load(
        PAGES
        + "  - {id: glued, use: 'filed:wrapped', join: 'filed:glued', needs: [title, body]}\n"
        + "  - {id: maybe, use: 'filed:Words', on: title, when: 'filed:long'}\n"
    )
    with f:
        assert f(doc=Text(value="a b")) == {"page": Text(value="A B: a b"), "glued": "<A B-a b>", "maybe": None}


def test_conditions_and_several_servers_are_data(load: Callable[..., Flow]) -> None:
    f = load(
        "nodes:\n"
        "  - {id: title, use: 'filed:Words', on: title}\n"
        "  - {id: end, use: 'filed:Words', on: clean, needs: title, when: {title.value: {ne: A}}}\n"
        "  - {id: away, use: ['http://127.0.0.1:1/a/b', 'http://127.0.0.1:2/a/b'], optional: true}\n"
    )

    assert load(f.dump()).dump() == f.dump()
    assert "  when: {title.value: {ne: A}}\n" in f.dump()
    with f:
        assert [f(doc=Text(value=text))["end"] for text in ("a", "b")] == [None, Text(value="B")]


def test_a_constructor_that_passes_on_what_nobody_takes_fails_by_the_name_of_its_node(
    load: Callable[..., Flow],
) -> None:
    f = load("nodes: [{id: a, use: 'filed:Words', on: title, with: {lang: de, sizes: [1], name: b}}]")

    assert f.check() == ["node 'a': with_= has 'lang', which Words() passes on and nobody takes"]
    with f, pytest.raises(FlowError, match=r"node 'a' .*unexpected keyword argument 'lang'"):
        f(doc=Text(value="x"))


def test_a_class_may_stand_in_another_and_a_function_may_be_wrapped(load: Callable[..., Flow]) -> None:
    with load("nodes: [{id: a, use: 'filed:Words.Inner'}, {use: 'filed:wrapped', needs: a}]") as f:
        assert f(doc=Text(value="x")) == "<x>"


def test_other_files_are_found_from_the_folder_of_the_one_that_names_them(
    load: Callable[..., Flow], tmp_path: Path
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "words.yaml").write_text(
        "use: filed:Words\nwith: {language: de, sizes: '${HOME} $HOME ~'}\nrequests: {cut: clean}\nmetas: {name: german}\n"
    )
    (tmp_path / "inner" / "flow.yaml").write_text("nodes: [{use: words.yaml, args: {width: 3}}]")

    f = load("nodes: [{id: a, use: inner/flow.yaml}, {use: ./inner/words.yaml, with: {language: fr}, needs: a}]")
    with f:
        assert f._used["german/cut"].with_ == {"language": "fr", "sizes": "${HOME} $HOME ~"}
        assert f(doc=Text(value="a b c d")).read() == "a b"
        assert list(f.run(doc=Text(value="a")).replies) == ["a", "german/cut"]


def test_an_alias_stands_for_what_is_written(load: Callable[..., Flow]) -> None:
    f = load(
        PAGES.replace("{language: de}", "&with {language: de, sizes: [1]}")
        + "  - {use: 'filed:Words', on: title, with: *with}"
    )

    assert f._used["words/title"].with_ == f._used["body"].with_ == {"language": "de", "sizes": [1]}
    assert f._used["words/title"].with_ is not f._used["body"].with_


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("flow: !!python/object/apply:os.system [ls]\nnodes: []", "line 1: the tag"),
        ("nodes:\n- use: x/y\n  with:\n    a: !!python/name:os.system ''", "line 4: the tag"),
        ("nodes:\n- use: os:system", "line 2: 'os:system' is of the module 'os', which is not among those allowed ('filed')"),
        ("nodes:\n- use: filed:system", "line 2: 'filed:system' is an instance of builtin_function_or_method"),
        ("nodes:\n- use: filed:json.dumps", "line 2: 'filed' has no 'json.dumps'"),
        ("nodes:\n- use: filed:post", "line 2: 'filed:post' is of the module 'xooai"),
        ("nodes:\n- use: filed:Text", "line 2: 'filed:Text' is a class of something else"),
        ("nodes:\n- use: filed:Quiet", "line 2: 'filed:Quiet' is a class of something else"),
        ("nodes:\n- use: filed:Wrds", "line 2: 'filed' has no 'Wrds'; did you mean 'Words'?"),
        ("nodes:\n- use: filed:Words.__init__", "line 2: 'filed' has no 'Words.__init__'"),
        ("nodes:\n- use: filed.py:Words", "line 2: 'filed.py:Words' names a file; write its module, filed:Words"),
        ("nodes:\n- use: 'a b:c'", "line 2: 'a b:c' is neither a URL nor"),
        ("executors:\n  a/b: filed:Counter\nnodes: []", "line 2: 'a/b' is no name for an executor here"),
        ("executors:\n  a: filed:glued\nnodes: []", "line 2: 'a' is no executor"),
        ("executors:\n  a: http://127.0.0.1:1/x\nnodes: []", "line 2: 'a' is no executor"),
        ("executors:\n  a: {use: 'filed:Counter', with: {x: 1}}\nnodes: []", "line 2: with_={'x': 1} is not what"),
        ("executors:\n  a: filed:Counter\nnodes:\n- {use: a, with: {x: 1}}", "line 4: with_= is for the constructor of a class"),
        ("nodes:\n- use: x/y", "line 2: use='x/y' names no host"),
        (f"nodes:\n- use: {'x' * 500}", f"line 2: use='{'x' * 79} names no host"),
        ("nodes:\n- use: filed:long\n  with: {x: 1}", "line 2: with_= is for the constructor of a class, and use=long is none"),
        ("nodes:\n- use: [1]", "line 2: use=[1] is nothing that a node calls"),
        ("nodes:\n- use: none.yaml", "line 2: there is no file"),
        ("nodes:\n- use: flow.yaml", "line 2: 'flow.yaml' leads back to itself"),
        ("nodes:\n- on: x", "line 2: a node has no 'use'"),
        ("nodes:\n- x", "line 2: a node is a mapping, key: value, and not a text"),
        ("nodes:\n- use: filed:Words\n  on: title\n  retyr: 1", "line 4: a node has no key 'retyr'; did you mean 'retry'?"),
        ("nodes:\n- use: filed:Words\n  on: title\n  retry: '1'", "line 4: retry takes a whole number, and not a text"),
        ("nodes:\n- use: filed:Words\n  on: title\n  retry: 99", "line 2: retry=99 is not how many times"),
        ("nodes:\n- use: filed:Words\n  on: title\n  optional: yes", "line 4: optional takes true or false"),
        ("nodes:\n- use: filed:Words\n  on: title\n  args: [1]", "line 4: args takes a mapping"),
        ("nodes:\n- use: filed:Words\n  on: title\n  args: {nam: 1}", "line 2: node 'words/title': args={'nam': ...}"),
        ("nodes:\n- use: filed:Counter\n  with: {nam: 1}", "line 2: with_={'nam': 1} is not what Counter() takes"),
        ("nodes:\n- use: filed:Counter\n  when: filed:Words", "line 3: 'filed:Words' is a class of executors, not a function"),
        ("nodes:\n- use: filed:Words\n  on: title\n  join: os:system", "line 4: 'os:system' is of the module 'os'"),
        ("nodes:\n- use: filed:Words\n  on: titel", "line 2: no endpoint 'titel'; did you mean 'title'?"),
        ("nodes:\n- {id: a, use: 'filed:Counter'}\n- {id: b, use: 'filed:Counter',\n   needs: c}", "line 4: node 'b' needs 'c'"),
        ("nodes:\n- {id: a, use: 'filed:Words', on: title,\n   when: {a: {nee: 1}}}", "line 2: node 'a': when="),
        ("nodes:\n- {id: a, use: 'filed:Counter', needs: a}", "line 2: the nodes need each other in a circle: a → a"),
        ("nodes:\n- use:\n    use: filed:Words\n    metas:\n      nam: x", "line 5: metas has no key 'nam'"),
        ("nodes:\n- use:\n    use: filed:Words\n    requests:\n      cut: clan", "line 5: Words has no endpoint 'clan'"),
        ("nodes:\n- use:\n    nodes:\n    - use: nope:Nope", "line 4: 'nope:Nope' is of the module 'nope'"),
        ("nodse: []", "line 1: a Flow has no key 'nodse'; did you mean 'nodes'?"),
        ("flow: a", "line 1: a Flow has no 'nodes', which it needs"),
        ("\nuse: filed:Words", "line 2: this is an executor: Executor.load(...), or xooai serve "),
        ("nodes: []\nmodules: [os]", "line 2: a Flow has no key 'modules'"),
        ("nodes: []\nnodes: []", "line 2: the key 'nodes' is given twice"),
        ("nodes: []", "line 1: the Flow has no nodes"),
        ("flow: docs\nnodes: [{use: a}]", "line 1: an executor cannot be called 'docs'"),
        ("nodes: []\nstore: nowhere://x", "line 2: "),
        ("- 1", "line 1: a Flow is a mapping"),
        ("", "line 1: the file is empty"),
        ("a: 1\nb: [", "line 2: "),
        ("a: 1\n---\nb: 1", "line 2: a second document begins"),
        ("a: {? [1] : 2}", "line 1: a key is a text"),
        ("a: *b", "line 1: *b stands for nothing"),
        ("&a [*a]", "line 1: *a stands for nothing"),
        (b"a: 1\nb: \xff", "line 2: this is not UTF-8"),
        (b"a: 1\nb: \x00", "line 2: there is a character that YAML does not take"),
        ("a: " + 5000 * "9", "line 1: a number of 5000 digits"),
        ("[" * 100_000, "line 1: more than 50 lists and mappings in one another"),
        ("nodes: [{use: 'filed:Words', on: title, when: {a: &a [x], b: *a, c: !!set {}}}]", "line 1: the tag"),
    ],
    ids=lambda one: None if isinstance(one, str) and one.startswith("line") else ascii(one)[:40],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_file_and_its_line(
    refusal: Callable[..., str], text: str | bytes, complaint: str
) -> None:
    assert refusal(text).startswith(f"flow.yaml, {complaint}")


def test_aliases_that_grow_are_refused_before_they_are_written_out(refusal: Callable[..., str]) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for one, two in zip("abcdefghi", "bcdefghij", strict=True):
        bomb += f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n"

    assert refusal(bomb) == "flow.yaml, line 6: more than 100,000 values, aliases written out"


def test_files_that_name_each_other_again_and_again_are_refused(load: Callable[..., Flow], tmp_path: Path) -> None:
    for number in range(12):
        inner = f"{number + 1}.yaml" if number < 11 else "filed:Counter"
        (tmp_path / f"{number}.yaml").write_text(
            f"nodes: [{{id: a, use: '{inner}'}}, {{id: b, use: '{inner}', needs: a}}]"
        )

    with pytest.raises(FlowError, match="more than 100 files"):
        Flow.load(tmp_path / "0.yaml", modules=["filed"])


def test_a_huge_file_a_missing_one_and_one_of_the_network_are_refused(
    load: Callable[..., Flow], tmp_path: Path
) -> None:
    with pytest.raises(ResourceExhausted, match="flow.yaml has more, the limit is 1,048,576 bytes"):
        load(b"# " + bytes(2 * 1024 * 1024))
    with pytest.raises(NotFound, match="there is no file"):
        Flow.load(tmp_path)
    with pytest.raises(NotFound, match=r"cannot be read: \w+"):
        Flow.load(tmp_path / ("x" * 5000))
    with pytest.raises(FlowError, match="is no path; what is run is read from a file of this machine alone"):
        Flow.load("http://127.0.0.1:1/flow.yaml")


def test_nothing_is_imported_that_is_not_allowed(
    refusal: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_allowed_here.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "broken_when_imported.py").write_text("raise ValueError('it\\nbroke')")
    monkeypatch.syspath_prepend(tmp_path)

    assert "is not among those allowed (none)" in refusal("nodes: [{use: 'not_allowed_here:A'}]", ())
    assert "is not among those allowed ('not')" in refusal("nodes: [{use: 'not_allowed_here:A'}]", ("not",))
    assert "cannot import 'broken_when_imported': ValueError: it broke" in refusal(
        "nodes: [{use: 'broken_when_imported:A'}]", ["broken_when_imported"]
    )
    assert "not_allowed_here" not in sys.modules


def test_where_the_parser_is_missing_the_extra_is_named(
    load: Callable[..., Flow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(PluginError, match=r"flow.yaml needs PyYAML; try: pip install 'xooai\[yaml\]'"):
        load(PAGES)


def test_modules_are_names_or_modules(load: Callable[..., Flow]) -> None:
    assert load(PAGES, [filed]).name == "pages"
    for wrong in ("filed", ["a/b"], [""]):
        with pytest.raises(InvalidArgument, match="modules="):
            load(PAGES, wrong)


def test_what_is_dumped_is_loaded_as_it_was(load: Callable[..., Flow]) -> None:
    inner = Flow(name="inner").add(use=filed.Counter)
    f = Flow(name="outer", gateway="http://127.0.0.1:1", store="media=memory://x")
    f.add(
        use=filed.Words, on="title", id="title", with_={"language": "no\n\u2028", "sizes": [1, 2.5, None, {"a": "~"}]}
    )
    f.add(use=inner, needs="title", id="~", optional=True, timeout=2.5)
    f.add(use="words/title", id="1", retry=3)
    f.add(use=filed.Words(language="de"), on="clean", id="body", args={"width": 9})
    f.add(use=Executor("http://127.0.0.1:1/words"), on="title", id="client")
    f.add(use=filed.wrapped, needs=("title", "body"), join=filed.glued, id="join", when=None)

    text = f.dump()

    assert load(text).dump() == text
    assert text.startswith("flow: outer\ngateway: http://127.0.0.1:1\nstore: media=memory://x\nnodes:\n- id: title\n")
    assert "  use: filed:Words\n  with: {language: de}\n  on: clean\n  args: {width: 9}\n" in text


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ({"use": lambda doc: doc}, "<lambda> cannot be named as module:name"),
        ({"use": partial(filed.glued, body=Text(value="x"))}, "cannot be named as module:name"),
        ({"use": filed.Counter, "when": lambda doc: True}, "<lambda> cannot be named"),
        ({"use": filed.Words, "on": "title", "with_": {"language": object()}}, "with['language'] is object; a file holds"),
        ({"use": filed.Words, "on": "title", "with_": {"language": {1: 2}}}, "has the key 1, and a file's keys are texts"),
        ({"use": filed.Words(sizes=object()), "on": "title"}, "it is not known what its constructor got"),
        ({"use": filed.Words.at("http://127.0.0.1:1", timeout=5), "on": "title"}, "with options of its own"),
        ({"use": Flow().add(use=lambda doc: doc, id="b")}, "node 'b' cannot be written"),
        ({"use": filed.Words(gateway="http://127.0.0.1:1"), "on": "a/b"}, "on='a/b' is an endpoint elsewhere"),
    ],
    ids=["function", "compiled", "condition", "argument", "key", "instance", "client", "inner", "elsewhere"],
)  # fmt: skip
def test_what_a_file_cannot_say_names_the_node(node: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FlowError, match="node 'a' cannot be written|node 'b' cannot be written") as refused:
        Flow().add(id="a", **node).dump()

    assert complaint in str(refused.value)


SHARED = """\
executors:
  words:
    use: filed:Counter
    requests: {first: load, second: load}
nodes:
- id: a
  use: words
  on: first
- id: b
  use: words
  on: second
  needs: [a]
"""


def test_an_executor_that_nodes_share_is_made_once_and_closed_with_the_flow(load: Callable[..., Flow]) -> None:
    before, closed = filed.Counter.made, filed.Counter.closed

    for _ in range(2):
        with load(SHARED) as f:
            assert f(doc=Text(value="x")).read() == "x"

    assert (filed.Counter.made - before, filed.Counter.closed - closed) == (2, 2)
    assert f.dump() == SHARED


def test_an_executor_that_nodes_share_is_written_once(load: Callable[..., Flow]) -> None:
    words, others = filed.Words("de"), filed.Words("fr", name="words")
    f = Flow()
    for number, executor in enumerate((words, others, words, others)):
        f.add(use=executor, on="title", id=str(number))

    text = f.dump()

    assert text.startswith(
        "executors:\n  words:\n    use: filed:Words\n    with: {language: de}\n"
        "  words2:\n    use: filed:Words\n    with: {language: fr, name: words}\n"
    )
    assert load(text).dump() == text
    one = filed.Words(sizes=object())
    f = Flow().add(use=one, on="title", id="a").add(use=one, on="clean", id="b")
    with pytest.raises(FlowError, match="node 'a' cannot be written: it is not known what its constructor got"):
        f.dump()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    "on no ~ null true 1e3 0o14 0x1F .inf 1_000 12:30 << = - ? a#b {} !x &a *a % @ ` '".split()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Flows of any form: each node needs some of those before it."""
    f = Flow(name=draw(st.sampled_from([None, "pages"])))
    ids = draw(st.lists(TEXTS.filter(lambda id: id and id != "input"), min_size=1, max_size=5, unique=True))
    for number, id in enumerate(ids):
        needs = tuple(draw(st.lists(st.sampled_from(ids[:number]), unique=True, max_size=3))) if number else ()
        limits: dict[str, Any] = {
            "timeout": draw(st.sampled_from([None, 0.5])),
            "retry": draw(st.integers(0, 3)),
            "optional": draw(st.booleans()),
        }
        if draw(st.booleans()):
            f.add(use="http://127.0.0.1:1/a/b", id=id, needs=needs, args={"x": draw(VALUES)}, **limits)
        else:
            with_ = {"language": draw(TEXTS), "sizes": draw(VALUES)}
            f.add(
                use=filed.Words,
                on="clean",
                id=id,
                needs=needs,
                with_=with_,
                args={"width": draw(st.integers(0, 9))},
                **limits,
            )
    return f


@settings(max_examples=40)
@given(flows())
def test_any_flow_survives_its_file(tmp_path_factory: pytest.TempPathFactory, f: Flow) -> None:
    path = tmp_path_factory.getbasetemp() / "survives.yaml"
    path.write_text(f.dump(), encoding="utf-8")

    loaded = Flow.load(path, modules=["filed"])

    assert loaded._planning.graph.nodes == f._planning.graph.nodes
    assert loaded._planning.limits == f._planning.limits
    assert [loaded._used[id].with_ for id in loaded._used] == [f._used[id].with_ for id in f._used]
    assert (loaded.name, loaded.dump()) == (f.name, f.dump())


@settings(max_examples=40)
@given(VALUES)
def test_what_is_written_as_json_is_read_as_json_is(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assume(text.isprintable() and "Infinity" not in text)  # YAML takes the rest as escapes alone, and says .inf
    path = tmp_path_factory.getbasetemp() / "json.yaml"
    path.write_text(f"nodes: [{{use: 'filed:Words', on: title, with: {{sizes: {text}}}}}]")

    with_ = Flow.load(path, modules=["filed"])._used["words/title"].with_

    assert with_ == {"sizes": value}


PIECES = (
    "nodes:|use:|- |  |\n|\t|[|]|{|}|,|: |&a |*a|!!map |!x|? |'|\"|\\|#|---|...|%YAML 9|<<: |@|`|>|"
    "\0|\x85|\ufeff|filed:Words|os:system|on: x|1e999|9"
)
JUNK = st.lists(
    st.tuples(st.integers(0, len(PAGES)), st.integers(0, 9), st.sampled_from(PIECES.split("|")) | st.text(max_size=3)),
    max_size=6,
)


@settings(max_examples=40)
@given(JUNK)
def test_whatever_is_in_a_file_it_loads_or_is_refused_by_a_line(
    tmp_path_factory: pytest.TempPathFactory, junk: list[tuple[int, int, str]]
) -> None:
    text = PAGES
    for place, length, piece in junk:
        text = text[:place] + piece + text[place + length :]
    path = tmp_path_factory.getbasetemp() / "junk.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))

    try:
        Flow.load(path, modules=["filed"])
    except FlowError as refused:
        assert "junk.yaml, line " in str(refused)
