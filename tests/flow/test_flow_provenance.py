"""What a peer gives as plain data, and a Flow makes a document of: it is opened by no node, and nobody else is given it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from xooai import ComboDoc, Executor, Flow, InvalidArgument, PermissionDenied, Text, post
from xooai.doc import is_wire, mark_wire


class Page(ComboDoc):
    scan: Text
    caption: Text | None = None


class Reads(Executor):
    """Reads what it is given, in each way that a node may take it."""

    @post
    def text(self, doc: Text) -> str:
        return self._read(doc)

    @post
    def named(self, scan: Text, caption: Text | None = None) -> str:
        return self._read(scan)

    @post
    def second(self, any: Text, doc: Text) -> str:
        return str(doc.read())

    @post
    def page(self, page: Page) -> str:
        return self._read(page.scan)

    @post
    def texts(self, docs: list[Text]) -> str:
        return self._read(docs[0])

    @post(batch_size=2, batch_wait=0)
    def batch(self, docs: list[Text]) -> list[str]:
        return [self._read(doc) for doc in docs]

    @post(cache="1m")
    def cached(self, doc: Text) -> Text:
        return doc

    @post
    def same(self, doc: Text) -> Text:
        return doc

    def _read(self, doc: Text) -> str:
        assert doc.value is None, "somebody has put the content in"
        return str(doc.read())


def _typed(doc) -> list[Text]:  # type: ignore[no-untyped-def]
    return [doc]


class Gives(Executor):
    """What it is asked for, as plain data: to whoever calls it as a peer, and as a node."""

    @post
    def any(self, given: Any) -> Any:
        return given

    @post
    def mapping(self, given: dict[str, Any]) -> dict[str, Any]:
        return given

    @post
    def untyped(self, given: Any):  # type: ignore[no-untyped-def]
        return given

    @post
    def several(self, given: Any) -> list[Any]:
        return [given]


class Forges(Gives):
    """As a server that is none of ours: no document of it is put in, or refused, on its way out."""

    @post
    def untyped(self, given: Any):  # type: ignore[no-untyped-def]
        doc = Text.model_validate(given)
        mark_wire(doc)
        return doc


Add = Callable[[Flow, dict[str, Any]], Flow]

RULES: dict[str, Add] = {
    "first": lambda f, to: f.add(**to, on="text", id="read", needs="scan"),
    "names": lambda f, to: f.add(**to, on="named", id="read", needs=("scan", "caption")),
    "fields": lambda f, to: f.add(**to, on="page", id="read", needs=("scan", "caption")),
    "list": lambda f, to: f.add(**to, on="texts", id="read", needs=("scan", "other")),
    "join": lambda f, to: f.add(**to, on="text", id="read", needs="scan", join=lambda scan: scan),
    "join that nests": lambda f, to: f.add(**to, on="page", id="read", needs="scan", join=lambda scan: {"scan": scan}),
    "join that lists": lambda f, to: f.add(**to, on="texts", id="read", needs="scan", join=lambda scan: [scan]),
    "a batch": lambda f, to: f.add(**to, on="batch", id="read", needs="scan"),
    "a cached reply between": lambda f, to: f.add(**to, on="cached", id="cached", needs="scan").add(
        **to, on="text", id="read", needs="cached"
    ),
    "a typed node between": lambda f, to: f.add(**to, on="same", id="same", needs="scan").add(
        **to, on="text", id="read", needs="same"
    ),
    "a typed function between": lambda f, to: f.add(use=_typed, id="typed", needs="scan").add(
        **to, on="texts", id="read", needs="typed"
    ),
}


@pytest.fixture(params=["local", "remote"])
def reader(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Where the node is that reads: what `add` is to be told to call it."""
    with Reads() as reads:
        yield {"use": reads} if request.param == "local" else {"use": reads.start("memory://reads")[0] + "/reads"}


@pytest.fixture
def refs(tmp_path: Path) -> list[str]:
    """What leads to a secret by the rules of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    return [str(secret), "counted://a.png"]


def sourced(f: Flow, source: dict[str, Any], kind: str) -> Flow:
    """Nodes `scan` and `other` that give plain data, and a `caption` that does not."""
    f.add(**source, on=kind, id="scan").add(**source, on=kind, id="other")
    return f.add(use=_caption, id="caption", needs="input")


def _caption(given: Any) -> Text:
    return Text(value="a caption")


def assert_refused(call: Callable[..., Any], refs: list[str]) -> None:
    for ref in refs:
        for document in ({"ref": ref}, {"kind": "text", "ref": ref}):
            with pytest.raises(PermissionDenied):
                call(given=document)


KINDS = [("any", rule) for rule in RULES] + [("untyped", rule) for rule in RULES] + [("mapping", "first")]


@pytest.mark.parametrize(("kind", "rule"), KINDS)
def test_what_a_peer_gives_a_served_flow_as_plain_data_is_never_opened(
    reader: dict[str, Any], refs: list[str], kind: str, rule: str, counted: list[str]
) -> None:
    with RULES[rule](sourced(Flow(name="f"), {"use": Gives}, kind), reader) as f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client:
            assert_refused(client.post, refs)

    assert counted == []


@pytest.mark.parametrize(("kind", "rule"), KINDS)
def test_what_a_server_answers_as_plain_data_is_never_opened(
    reader: dict[str, Any], refs: list[str], kind: str, rule: str, counted: list[str]
) -> None:
    with Forges() as forges:
        (url,) = forges.start("memory://forges")
        with RULES[rule](sourced(Flow(), {"use": f"{url}/forges"}, kind), reader) as f:
            assert_refused(f.post, refs)

    assert counted == []


@pytest.mark.parametrize("is_served", [True, False], ids=["served", "of a server"])
def test_each_item_of_plain_data_is_a_strangers(reader: dict[str, Any], refs: list[str], is_served: bool) -> None:
    with ExitStack() as stack:
        source: Any = Gives
        if not is_served:
            source = stack.enter_context(Gives()).start("memory://gives")[0] + "/gives"
        f = Flow(name="f").add(use=source, on="several", id="several")
        stack.enter_context(f.add(**reader, on="text", id="read", needs="several", each=True))
        call = f.post
        if is_served:
            f.start("memory://flow")
            call = stack.enter_context(Executor("memory://flow/f")).post
        assert_refused(call, refs)


def test_plain_data_stays_a_strangers_in_a_flow_inside_of_a_flow(reader: dict[str, Any], refs: list[str]) -> None:
    inner = Flow(name="inner").add(use=Gives, on="any", id="any")
    reads = Flow(name="reads").add(**reader, on="text", id="read")
    with inner, reads, Flow(name="f").add(use=inner, id="a").add(use=reads, id="b", needs="a") as f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client:
            assert_refused(client.post, refs)


def test_a_document_in_the_result_that_was_plain_data_is_a_strangers(refs: list[str]) -> None:
    with Forges() as forges:
        (url,) = forges.start("memory://forges")
        f = Flow().add(use=f"{url}/forges/untyped", id="untyped").add(use=f"{url}/forges/any", id="any")
        with f:
            found = f.post(given={"kind": "text", "ref": refs[0]})

    assert isinstance(found["any"], Text)
    for doc in found.values():
        assert is_wire(doc)
        with pytest.raises(PermissionDenied):
            doc.read()


@pytest.mark.parametrize("how", ["a document", "a dict"])
def test_a_local_file_of_the_callers_is_read_through_typed_nodes(
    reader: dict[str, Any], tmp_path: Path, how: str
) -> None:
    (tmp_path / "a.txt").write_text("mine")
    doc: Any = Text(ref=str(tmp_path / "a.txt"))
    with Flow().add(use=Reads, on="same", id="same").add(use=_length, id="read", needs="same") as f:
        assert f.post(doc=doc if how == "a document" else doc.model_dump()) == 4


def _length(doc: Text) -> int:
    return len(doc.read())


def test_a_local_file_among_the_constants_of_a_node_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    for constant in (Text(ref=str(tmp_path / "a.txt")), {"ref": str(tmp_path / "a.txt")}):
        f = Flow().add(use=Gives, on="any", id="any")
        f.add(use=_with_constant, id="read", needs="any", args={"mine": constant})
        with f:
            assert f.post(given={"ref": "/nothing"}) == "mine"


@pytest.mark.parametrize("kind", ["any", "untyped"])
def test_a_peer_who_names_a_file_among_the_constants_of_a_node_is_not_given_it(
    reader: dict[str, Any], refs: list[str], kind: str
) -> None:
    f = Flow(name="f").add(use=Gives, on=kind, id="scan")
    f.add(**reader, on="named", id="read", needs="scan", args={"caption": Text(ref=refs[0])})
    with f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client:
            assert_refused(client.post, refs[:1])


class Composes(Executor):
    """Makes a Flow of what it is sent."""

    @post
    def constant(self, given: Any) -> str:
        with Flow().add(use=Reads, on="text", args={"doc": given}) as f:
            return str(f.post())

    @post
    def own(self, path: str) -> str:
        with Flow().add(use=Reads, on="text", args={"doc": Text(ref=path)}) as f:
            return str(f.post())


def test_what_a_handler_makes_a_constant_of_is_not_opened_for_a_peer(refs: list[str], counted: list[str]) -> None:
    with Composes() as composes:
        (url,) = composes.start("memory://composes")
        with Executor(f"{url}/composes") as client:
            for ref in refs:
                with pytest.raises(InvalidArgument, match="a handler gave a dict with the ref"):
                    client.post(on="constant", given={"ref": ref})
            assert client.post(on="own", path=refs[0]) == "a secret"

    assert counted == []


def test_what_a_peer_names_does_not_become_a_strangers_for_others(reader: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    mine = Text(ref=str(tmp_path / "a.txt"))
    f = Flow(name="f").add(use=Gives, on="any", id="any")
    f.add(**reader, on="second", id="read", needs="any", args={"doc": mine})
    with f:
        f.start("memory://flow")
        with Executor("memory://flow/f") as client:
            with suppress(PermissionDenied):
                client.post(given={"ref": mine.ref})
            assert not is_wire(mine)
            assert client.post(given={"ref": "/nothing"}) == "mine"


def _with_constant(any: Any, mine: Text) -> str:
    return str(mine.read())


def test_a_local_file_that_a_node_names_itself_is_read_by_the_next(tmp_path: Path) -> None:
    def makes(doc: Text) -> Text:
        (tmp_path / "made.txt").write_text(doc.read())
        return Text(ref=str(tmp_path / "made.txt"))

    with Flow().add(use=makes, id="makes").add(use=_length, id="read", needs="makes") as f:
        assert f.post(doc=Text(value="made")) == 4
