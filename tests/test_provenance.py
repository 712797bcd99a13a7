"""Where a document came from: the ref of a peer is never opened here, one's own never leaves."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import pickle
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest
from pydantic import AfterValidator, BaseModel, ValidationError
from typing_extensions import TypedDict

from counting import PNG, Echo, Page
from xooai import (
    ComboDoc,
    DataLoss,
    Doc,
    Executor,
    File,
    Image,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Tensor,
    Text,
    Unimplemented,
    post,
)
from xooai.codec import Codec
from xooai.driver import MESSAGE_LIMIT
from xooai.offload import offloaded
from xooai.origin import STRANGER, Origin
from xooai.payload import from_peer
from xooai.schema import Schema
from xooai.store import Content
from xooai.way import stays

WIRE_REFS = [
    "/etc/passwd",
    "file:///etc/passwd",
    "counted://a.txt",
    "https://host/a",
    "data:,a",
    "zip://a::/tmp/b.zip",
    "store:sha256:00",
    "~/.ssh/id_rsa",
    "",
]


class Nowhere:
    """The way to a peer that keeps nothing."""

    takes = False

    def __init__(self, limit: int) -> None:
        self.inline_limit = self.message_limit = limit
        self.room = int(limit * 0.7)

    async def put(self, contents: Sequence[Content]) -> Sequence[str]:
        raise Unimplemented("there is no place for more")

    def knows(self, origin: Origin) -> bool:
        return False


def here(value: Any, limit: int = MESSAGE_LIMIT) -> Any:
    return asyncio.run(offloaded(value, Nowhere(limit)))


def arrived(annotation: Any, value: Any, codec: Codec) -> Any:
    """A value as it comes out of a peer's frame."""
    schema = Schema(annotation, "test")
    return from_peer(schema, codec, codec.encode(schema, value), STRANGER)


def survivors() -> dict[str, Callable[[Doc], Doc]]:
    """What a mark has to survive."""

    class Holder(ComboDoc):
        docs: dict[str, list[Doc]]

    class Before(BaseModel):
        doc: Any

    return {
        "itself": lambda doc: doc,
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "model_copy": lambda doc: doc.model_copy(),
        "model_copy with another ref": lambda doc: doc.model_copy(update={"ref": "/etc/hostname"}),
        "deep model_copy": lambda doc: doc.model_copy(deep=True),
        "pickle": lambda doc: pickle.loads(pickle.dumps(doc)),
        "validation": lambda doc: type(doc).model_validate(doc),
        "nesting": lambda doc: Holder(docs={"a": [doc]}).docs["a"][0],
        "deepcopy of what it is in": lambda doc: copy.deepcopy(Holder(docs={"a": [doc]})).docs["a"][0],
        "validation of what it is in": lambda doc: Holder.model_validate(Holder(docs={"a": [doc]})).docs["a"][0],
        "validation of a dict": lambda doc: Holder.model_validate({"docs": {"a": [doc]}}).docs["a"][0],
        "a plain model": lambda doc: Before(doc=doc).doc,
        "a call": lambda doc: Echo().post(on="echo", doc=doc),
        "a call in JSON": lambda doc: Echo().post(on="echo", doc=doc, codec="json"),
        "a call without annotation": lambda doc: Echo().post(on="anything", doc=doc)["docs"][0],
        "a call of a page": lambda doc: Echo().post(on="page", page=Page(scan=Image(value=b"a"), more=[doc])).more[0],
        "two calls": lambda doc: Echo().post(on="echo", doc=Echo().post(on="echo", doc=doc)),
    }


@pytest.mark.parametrize("way", survivors())
def test_a_ref_that_came_from_a_peer_is_never_opened_whatever_is_done_with_it(
    way: str, codec: Codec, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda *given, **_: opened.append(given))
    monkeypatch.setattr("fsspec.filesystem", lambda *given, **_: opened.append(given))
    for ref in WIRE_REFS:
        doc = survivors()[way](arrived(Image, Image(ref=ref), codec))
        assert isinstance(doc, Image)
        for reading in (doc.read, doc.open, doc.path, lambda doc=doc: asyncio.run(doc.aread()), doc.array):
            with pytest.raises(PermissionDenied, match="came from a peer"):
                reading()
        assert set(doc._repr_mimebundle_()) == {"text/plain"}
    assert (opened, counted) == ([], [])


@pytest.mark.parametrize("way", survivors())
def test_the_same_ref_of_ones_own_is_opened(way: str, counted: list[str]) -> None:
    """The positive control: what is refused above is refused for where it came from."""
    doc = survivors()[way](Image(ref="counted://a.png"))
    if way != "model_copy with another ref":
        assert doc.read() == PNG
        assert len(counted) == 1


def test_what_came_inline_from_a_peer_is_read(codec: Codec) -> None:
    doc = arrived(Image, Image(value=PNG, ref="/etc/passwd"), codec)
    assert doc.read() == PNG
    assert doc.open().read() == PNG
    assert doc.path().read_bytes() == PNG
    assert asyncio.run(doc.aread()) == PNG
    assert doc.ref == "/etc/passwd"


def test_a_ref_from_a_peer_is_passed_on_as_the_text_that_it_is(codec: Codec, counted: list[str]) -> None:
    for ref in WIRE_REFS:
        doc = arrived(Image, Image(ref=ref), codec)
        assert doc == Image(ref=ref)
        assert Echo().post(on="echo", doc=doc, codec=codec.name) == Image(ref=ref)
    assert counted == []


def test_the_mark_is_never_in_a_frame_or_a_dump(codec: Codec) -> None:
    doc = arrived(Image, Image(ref="a"), codec)
    schema = Schema(Image, "test")
    assert codec.encode(schema, doc) == codec.encode(schema, Image(ref="a"))
    assert "wire" not in doc.model_dump_json()
    assert "wire" not in repr(doc)
    assert hash(doc) == hash(Image(ref="a"))


def test_a_peer_cannot_mark_or_unmark_a_document(codec: Codec) -> None:
    for field in ("_wire", "_kept", "_path", "__dict__"):
        frame = codec.encode(Schema(dict, "test"), {"kind": "image", "ref": "/etc/passwd", field: None})
        with pytest.raises(InvalidArgument, match="not permitted"):
            from_peer(Schema(Image, "test"), codec, frame, STRANGER)


def test_every_document_of_a_frame_is_marked_at_any_depth(codec: Codec) -> None:
    class Deep(ComboDoc):
        inner: list[dict[str, tuple[Page, Text | Image]]] = []
        other: Deep | None = None

    page = Page(
        scan=Image(ref="a"), caption=Text(ref="b"), more=[File(ref="c"), Tensor(dtype="int8", shape=(1,), ref="d")]
    )
    deep = Deep(other=Deep(inner=[{"x": (page, Text(ref="e"))}]))
    found = list(arrived(Deep, deep, codec).iter_docs())
    assert [doc.ref for doc in found] == ["a", "b", "c", "d", "e"]
    for doc in found:
        with pytest.raises(PermissionDenied):
            doc.read()


def test_a_frame_that_was_refused_leaves_no_mark_on_what_is_made_next(codec: Codec, counted: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        from_peer(Schema(Image, "test"), codec, b"\x81", STRANGER)
    assert Image(ref="counted://a.png").read() == PNG


def test_a_mixture_keeps_each_documents_own_mark(codec: Codec, counted: list[str]) -> None:
    own, foreign = Image(ref="counted://a.png"), arrived(Image, Image(ref="counted://a.txt"), codec)
    page = Echo().post(on="page", page=Page(scan=own, more=[foreign, own]), codec=codec.name)
    assert page.scan.read() == PNG
    assert page.more[1].read() == PNG
    with pytest.raises(PermissionDenied):
        page.more[0].read()


def test_what_a_handler_is_given_in_a_call_keeps_its_mark(codec: Codec) -> None:
    class Reader(Executor):
        @post
        def read(self, doc: File) -> Text:
            return Text(value=doc.read().decode())

        @post
        async def aread(self, doc: File) -> Text:
            return Text(value=(await doc.aread()).decode())

    with Reader() as r:
        for on in ("read", "aread"):
            with pytest.raises(PermissionDenied, match="came from a peer"):
                r.post(on=on, doc=arrived(File, File(ref="/etc/passwd"), codec), codec=codec.name)


def test_a_validator_that_changes_the_order_does_not_unmark_anything(codec: Codec, counted: list[str]) -> None:
    class Sorter(Executor):
        @post
        def refs(
            self, docs: Annotated[list[File], AfterValidator(lambda docs: sorted(docs, key=lambda doc: doc.ref))]
        ) -> list[str]:
            found = []
            for doc in docs:
                try:
                    found.append(f"{doc.ref}: {doc.read()!r}")
                except PermissionDenied:
                    found.append(f"{doc.ref}: denied")
            return found

    docs = [
        arrived(File, File(ref="counted://b"), codec),
        File(ref="counted://a.txt"),
        arrived(File, File(ref="/etc/passwd"), codec),
    ]
    assert Sorter().post(on="refs", docs=docs, codec=codec.name) == [
        "/etc/passwd: denied",
        "counted://a.txt: b'hello'",
        "counted://b: denied",
    ]


# On the way to a peer


def test_local_refs_are_inlined_at_any_depth_before_they_leave(tmp_path: Path, counted: list[str]) -> None:
    class Pair(NamedTuple):
        number: int
        doc: Doc

    class Row(TypedDict):
        doc: Image

    class Nested(ComboDoc):
        one: Image
        more: dict[str, list[tuple[Doc, ...]]]
        queue: deque[Doc]
        pair: Pair
        row: Row
        inner: Nested | None = None

    (tmp_path / "a.png").write_bytes(PNG)
    own = Image(ref=str(tmp_path / "a.png"))
    leaf = Nested(
        one=own, more={"x": [(own, Text(value="a"))]}, queue=deque([own], maxlen=3), pair=Pair(1, own), row={"doc": own}
    )
    value = leaf.model_copy(update={"inner": leaf})

    sent = here(value)

    found = [doc for doc in sent.iter_docs() if isinstance(doc, Image)]
    assert len(found) == 10
    assert {(doc.ref, doc.value, doc.media_type) for doc in found} == {(None, PNG, "image/png")}
    assert sent.queue.maxlen == 3
    assert type(sent.pair) is Pair
    assert own.value is None
    assert str(tmp_path) not in sent.model_dump_json()


def test_what_may_leave_as_it_is_is_not_touched(counted: list[str], codec: Codec) -> None:
    remote = Image(ref="https://host/a.png")
    foreign = arrived(Image, Image(ref="/etc/passwd"), codec)
    value = {"docs": [remote, foreign, Text(value="a"), Image(value=PNG, ref="/there/is/none")]}
    assert stays(value, 1000)
    assert here(value) is value
    assert counted == []


def test_a_file_that_is_missing_or_too_large_is_refused_before_anything_leaves(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="none"):
        here([File(ref=str(tmp_path / "none"))])
    (tmp_path / "large").write_bytes(bytes(101))
    with pytest.raises(ResourceExhausted, match="101 bytes, the limit is 100 bytes") as caught:
        here({"doc": File(ref=str(tmp_path / "large"))}, 100)
    assert caught.value.reason == "size"
    assert "there is no place" in caught.value.message
    (tmp_path / "large").write_bytes(bytes(70))
    assert here(File(ref=str(tmp_path / "large")), 100).value == bytes(70)


class Mesh(Doc, kind="mesh_with_texture"):
    """A kind that holds another document."""

    value: str | None = None
    texture: Image | None = None

    @classmethod
    def encode(cls, value: Any) -> Any:
        return value

    @classmethod
    def decode(cls, data: bytes) -> str:
        return data.decode()


def test_a_document_inside_of_one_keeps_its_mark_over_hops(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")

    class Reader(Executor):
        @post
        def direct(self, mesh: Mesh) -> str:
            return "" if mesh.texture is None else mesh.texture.read().decode()

        @post
        def outer(self, mesh: Mesh) -> str:
            return str(self.post("direct", mesh=mesh))

    with Reader() as reader:
        url = reader.start("http://127.0.0.1:0")[0]
        body = json.dumps({"mesh": {"value": "", "texture": {"ref": str(secret)}}}).encode()
        for name in ("direct", "outer"):
            request = urllib.request.Request(f"{url}/reader/{name}", body, {"content-type": "application/json"})
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request, timeout=20)
            assert caught.value.code == 403
            caught.value.close()
        assert Reader.at(url).direct(mesh=Mesh(value="", texture=Image(ref=str(secret)))) == "secret"  # inlined


class Passing(Executor):
    """Takes documents in every place, and gives some back as dicts."""

    @post
    def one(self, doc: Image) -> bytes:
        return bytes(doc.read())

    @post
    def many(self, docs: list[Image], pages: dict[str, Image] = {}) -> int:  # noqa: B006
        return sum(len(doc.read()) for doc in [*docs, *pages.values()])

    @post
    def given_back(self, ref: str) -> list[Image]:
        return [{"ref": ref}]  # type: ignore[list-item]

    @post
    def given_back_untyped(self, ref: str):  # type: ignore[no-untyped-def]
        return [{"kind": "image", "ref": ref}]


def test_a_dict_that_stands_for_a_document_is_sent_as_the_document(tmp_path: Path) -> None:
    ref = str(tmp_path / "a.png")
    Path(ref).write_bytes(PNG)
    with Passing() as passing, Passing.at(passing.start("http://127.0.0.1:0")[0]) as client:
        for there in (passing, client):
            assert there.post("one", doc={"ref": ref}) == PNG
            assert there.post("many", docs=[{"ref": ref}], pages={"ref": {"ref": ref}}) == 2 * len(PNG)
        with pytest.raises(NotFound):
            client.post("one", doc={"ref": f"{ref}.gone"})


@pytest.mark.parametrize("name", ["given_back", "given_back_untyped"])
def test_a_server_opens_and_tells_no_local_ref_for_a_dict_of_its_handler(name: str) -> None:
    with Passing() as passing, Passing.at(passing.start("http://127.0.0.1:0")[0]) as client:
        with pytest.raises(Internal) as caught:
            client.post(name, ref="/etc/hosts")
        assert "/etc/hosts" not in str(caught.value)
        assert client.post("given_back", ref="https://example.org/a.png")[0].ref == "https://example.org/a.png"


class Album(ComboDoc, extra="allow"):
    """Documents under any name."""

    __pydantic_extra__: dict[str, Image]


def test_documents_among_the_extra_fields_are_sent_inline(tmp_path: Path) -> None:
    ref = str(tmp_path / "a.png")
    Path(ref).write_bytes(PNG)

    class Sizes(Executor):
        @post
        def of(self, album: Album) -> dict[str, int]:
            return {name: len(doc.read()) for name, doc in (album.__pydantic_extra__ or {}).items()}

    with Sizes() as sizes, Sizes.at(sizes.start("http://127.0.0.1:0")[0]) as client:
        assert client.of(album=Album.model_validate({"front": Image(ref=ref)})) == {"front": len(PNG)}


def test_signature_and_size_are_checked_beside_inline_content(tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    right = "sha256:" + hashlib.sha256(b"content").hexdigest()
    kinds: list[tuple[Any, str | bytes]] = [(Text, "content"), (File, b"content")]
    for kind, content in kinds:
        with pytest.raises(ValidationError, match=right):
            kind(value=content, signature=wrong)
        with pytest.raises(ValidationError, match="the content has 7 bytes, size says 999"):
            kind(value=content, size=999)
        assert kind(value=content, signature=right, size=7).read() == content
    there = tmp_path / "content"
    there.write_bytes(b"content")
    with pytest.raises(DataLoss, match="has 7 bytes, size says 8"):
        File(ref=str(there), size=8).read()


def test_a_document_inside_of_a_reply_goes_inline(tmp_path: Path) -> None:
    ref = str(tmp_path / "a.png")
    Path(ref).write_bytes(PNG)

    class Meshes(Executor):
        @post
        def one(self) -> Mesh:
            return Mesh(value="content", texture=Image(ref=ref))

    with Meshes() as meshes, Meshes.at(meshes.start("http://127.0.0.1:0")[0]) as client:
        found = client.one().texture
        assert found is not None
        assert (found.value, found.ref) == (PNG, None)
