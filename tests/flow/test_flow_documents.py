"""Documents on their way through a Flow: nobody reads them but who needs to, and whose they are stays with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import model_validator

from counting import PNG, Echo, Page
from xooai import Doc, Executor, File, Flow, Image, PermissionDenied, Text, post
from xooai.doc import mark_wire

Put = Callable[[Executor], dict[str, Any]]


class Reads(Executor):
    @post
    def size(self, doc: Doc) -> int:
        return len(doc.read())


def hops(there: dict[str, Any]) -> Flow:
    """A document through five nodes, alone, in a list, in a model and beside itself."""
    f = Flow(name="hops").add(**there, on="echo", id="1").add(**there, on="echo_async", id="2", needs="1")
    f.add(use=_listed, id="3", needs=("1", "2")).add(use=_paged, id="4", needs="2")
    f.add(**there, on="page", id="5", needs="4")
    return f.add(use=_scan, id="6", needs="5", when=lambda page: page.scan.ref is not None)


def _listed(docs: list[Doc]) -> list[Doc]:
    return docs


def _read(docs: list[Doc]) -> str:
    return str(docs[0].read())


def _scan(page: Page) -> Image:
    return page.scan


def _read_page(page: Page) -> str:
    return str(page.scan.read())


def _paged(doc: Doc) -> Page:
    assert isinstance(doc, Image)
    return Page(scan=doc, more=[doc])


def test_a_document_that_is_passed_on_is_read_by_nobody(counted: list[str]) -> None:
    with Echo() as echo, hops({"use": echo}) as f:
        found = f.post(doc=Image(ref="counted://a.png"))
        assert counted == []
        assert found["6"].ref == "counted://a.png"
        assert found["6"].read() == PNG


def test_only_the_node_that_reads_a_document_reads_it(counted: list[str]) -> None:
    with Echo() as echo, Flow().add(use=echo, on="echo", id="a").add(use=Reads, id="b", needs="a") as f:
        assert f.post(doc=Image(ref="counted://a.png")) == len(PNG)

    assert len(counted) == 1


def test_a_remote_ref_goes_through_nodes_elsewhere_as_the_text_that_it_is(put: Put, counted: list[str]) -> None:
    with hops(put(Echo())) as f:
        found = f.post(doc=Image(ref="https://example.invalid/a.png"))

    assert found["6"].ref == "https://example.invalid/a.png"
    assert counted == []


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_the_ref_of_a_peer_is_opened_by_no_node_of_a_served_flow(
    put: Put, serve: Callable[[Any], str], tmp_path: Path, codec: str
) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    there = put(Echo())
    echo = Flow(name="echo").add(**there, on="echo", id="a").add(**there, on="echo_async", id="b", needs="a")
    reads = Flow(name="reads").add(use=echo, id="a").add(use=Reads, id="b", needs="a")
    joined = Flow(name="joined").add(use=echo, id="a").add(use=Reads, needs=("a", "input"), join=lambda a, input: input)
    listed = Flow(name="listed").add(use=echo, id="a").add(use=_read, needs=("a", "a2"))
    listed.add(use=echo, id="a2")

    fielded = Flow(name="fielded").add(use=echo, id="scan").add(use=lambda doc: Text(value="a"), id="caption")
    fielded.add(use=_read_page, needs=("scan", "caption"))

    for f in (reads, joined, listed, fielded):
        with Executor(serve(f)) as client, pytest.raises(PermissionDenied):
            client.post(doc=forged(ref=secret.as_uri()), codec=codec)
    with Executor(serve(echo)) as client:
        assert client.post(doc=forged(ref=secret.as_uri()), codec=codec).ref == secret.as_uri()


def forged(ref: str) -> Image:
    """A document with a local ref that goes out as it is, which no client of ours would send."""
    doc = Image(ref=ref)
    mark_wire(doc)
    return doc


def test_a_local_file_goes_to_a_node_elsewhere_and_is_read_there(put: Put, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    there = put(Echo())
    f = Flow().add(**there, on="echo", id="a").add(use=Reads, id="b", needs="a")

    with f:
        assert f.post(doc=Text(ref=str(tmp_path / "a.txt"))) == 5


def test_large_content_that_one_server_keeps_is_read_two_nodes_further(put: Put, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(300_000))
    f = Flow().add(**put(Echo()), on="echo", id="a").add(use=Echo, on="echo", id="b", needs="a")
    f.add(use=Reads, id="c", needs="b")

    with f:
        assert f.post(doc=File(ref=str(tmp_path / "large.bin"))) == 300_000


class Checked(Text):
    """Counts how often one is made of what was written."""

    made: ClassVar[list[str]] = []

    @model_validator(mode="after")
    def _note(self) -> Checked:
        self.made.append(str(self.value))
        return self


def test_a_document_in_this_process_goes_from_node_to_node_as_it_is() -> None:
    def same(doc: Checked) -> Checked:
        return doc

    def listed(docs: list[Checked]) -> list[Checked]:
        return docs

    f = Flow().add(use=same, id="a").add(use=same, id="b", needs="a").add(use=same, id="c", needs="a")
    with f.add(use=listed, id="d", needs=("b", "c")):
        doc = Checked(value="Hi")
        Checked.made.clear()
        found = f.post(doc=doc)

    assert found == [doc, doc]
    assert Checked.made == []


def test_what_a_node_reads_of_a_file_is_not_kept_by_who_passed_it_on(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    doc = Text(ref=str(tmp_path / "a.txt"))
    with Flow().add(use=Reads, on="size", id="a") as f:
        assert f.post(doc=doc) == 5

    assert doc._here() is None
