"""Documents: what they hold, when they fetch, what they refuse, and where they came from."""

from __future__ import annotations

import asyncio
import copy
import gc
import hashlib
import os
import pickle
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

import xooai
from counting import PNG, Counted, Echo, Page
from xooai import (
    Audio,
    ComboDoc,
    DataLoss,
    Doc,
    Executor,
    FailedPrecondition,
    File,
    Image,
    InvalidArgument,
    NotFound,
    Tensor,
    Text,
    Video,
    post,
)
from xooai.codec import Codec
from xooai.doc import kinds


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# What a document is made of


def test_a_document_with_a_ref_is_made_without_touching_the_file() -> None:
    doc = Text(ref="233.txt")
    assert (doc.ref, doc.value) == ("233.txt", None)


def test_a_document_with_a_url_is_made_without_touching_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was made"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    assert Text(ref="https://some.domain/233.txt").ref == "https://some.domain/233.txt"


def test_a_document_with_a_value_has_no_ref() -> None:
    doc = Text(value="Aa")
    assert (doc.value, doc.ref, doc.read()) == ("Aa", None, "Aa")


def test_the_value_is_the_content_and_the_ref_says_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("there")
    doc = Text(ref=str(tmp_path / "a.txt"), value="here")
    assert doc.read() == "here"
    assert doc.open().read() == b"here"
    assert doc.path().read_text() == "here"
    assert doc.ref == str(tmp_path / "a.txt")


def test_a_document_needs_a_ref_or_a_value() -> None:
    with pytest.raises(ValidationError, match="needs a ref or a value"):
        Text()
    with pytest.raises(ValidationError, match="needs a ref or a value"):
        Image.model_validate({"kind": "image"})


@pytest.mark.parametrize(
    "empty", [Text(value=""), Image(value=b""), File(value=b""), Tensor(dtype="int8", shape=(0,), value=b"")]
)
def test_an_empty_content_is_a_content(empty: Doc) -> None:
    assert len(empty.read()) == 0
    assert empty.open().read() == b""
    assert empty.path().read_bytes() == b""
    assert Echo().post(on="echo", doc=empty) == empty


def test_doc_is_abstract() -> None:
    assert issubclass(Text, Doc)
    with pytest.raises(TypeError, match="abstract"):
        Doc(ref="a")  # type: ignore[abstract]


def test_a_kind_without_decode_cannot_be_made() -> None:
    class Half(Doc, kind="half_a_kind"):
        @classmethod
        def encode(cls, value: Any) -> Any:
            return value

    with pytest.raises(TypeError, match="abstract"):
        Half(ref="a")  # type: ignore[abstract]
    with pytest.raises(ValidationError, match="known are: audio, "):  # nor by a peer
        TypeAdapter(Doc).validate_json('{"kind": "half_a_kind", "ref": "a"}')


@pytest.mark.parametrize("name", ["Audio", "Doc", "File", "Image", "Tensor", "Text", "Video", "ComboDoc"])
def test_the_documents_come_from_xooai(name: str) -> None:
    assert name in xooai.__all__
    assert hasattr(xooai, name)


def test_ref_is_declared_once_on_doc() -> None:
    assert "ref" in Doc.__annotations__
    for kind in (Text, Image, Audio, Video, File, Tensor):
        assert "ref" in kind.model_fields
        assert "ref" not in kind.__dict__.get("__annotations__", {})


@pytest.mark.parametrize(
    "wrong",
    [{"value": 5}, {"ref": 5}, {"value": "a", "unknown": 1}, {"value": "a", "size": -1}, {"value": "a", "size": 2**63}],
)
def test_what_is_no_document_raises_pydantics_own_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Text(**wrong)
    assert caught.value.errors()[0]["loc"] == (list(wrong)[-1],)


@pytest.mark.parametrize("signature", ["", "md5", "sha256:00", "SHA256:" + "0" * 64, "sha256:" + "0" * 64 + "\n"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    with pytest.raises(ValidationError, match="signature"):
        Text(value="a", signature=signature)


@pytest.mark.parametrize("given", [bytearray(b"ab"), memoryview(b"ab")])
def test_other_forms_of_bytes_are_kept_as_bytes(given: Any) -> None:
    assert type(File(value=given).value) is bytes
    assert File(value=given).value == b"ab"


def test_an_array_is_kept_as_png() -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    array = numpy.arange(24, dtype="uint8").reshape(2, 4, 3)
    doc = Image(value=array)
    assert doc.media_type == "image/png"
    assert (doc.array() == array).all()
    assert (Echo().post(on="echo_async", doc=doc).array() == array).all()


def test_a_pil_image_is_kept_as_png() -> None:
    pillow = pytest.importorskip("PIL.Image")
    doc = Image(value=pillow.new("RGB", (3, 2), "red"))
    assert (doc.media_type, doc.pil().size) == ("image/png", (3, 2))


def test_sound_is_kept_as_wav() -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("soundfile")
    doc = Audio(value=(numpy.zeros((10, 2), "float32"), 8000))
    assert (doc.media_type, doc.rate, doc.array().shape) == ("audio/wav", 8000, (10, 2))


@pytest.mark.parametrize("wrong", [object(), 5, [1], {"a": 1}])
def test_what_cannot_be_kept_is_refused_at_its_field(wrong: Any) -> None:
    for kind in (Text, Image, Audio, Video, File):
        with pytest.raises(ValidationError) as caught:
            kind(value=wrong)
        assert caught.value.errors()[0]["loc"] == ("value",)


def test_an_array_that_is_no_picture_is_refused_in_pydantics_own_error() -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("PIL")
    with pytest.raises(ValidationError, match="a picture is uint8, not float64") as caught:
        Image(value=numpy.zeros((2, 2)))
    assert caught.value.errors()[0]["loc"] == ("value",)


def test_a_tensor_takes_dtype_and_shape_from_its_array() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6, dtype=">i4").reshape(2, 3)
    doc = Tensor(value=array)
    assert (doc.dtype, doc.shape, doc.value) == ("int32", (2, 3), array.astype("<i4").tobytes())
    assert (Echo().post(on="echo", doc=doc).array() == array).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": "int8", "shape": (3,)},
        {"dtype": "object", "shape": (2,)},
        {"dtype": "int8", "shape": (-2,)},
        {"dtype": "int8", "shape": (1,) * 40},
        {"dtype": "int8", "shape": (2**62, 2**62)},
        {"shape": (2,)},
        {"dtype": "int8"},
    ],
)
def test_a_tensor_whose_parts_do_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Tensor(value=b"ab", **wrong)


# Media types


@pytest.mark.parametrize(
    ("doc", "media_type"),
    [
        (Image(ref="a.jpg", media_type="image/webp"), "image/webp"),
        (Image(ref="a.jpg", value=PNG), "image/jpeg"),
        (Image(value=PNG), "image/png"),
        (Image(ref="a", value=PNG), "image/png"),
        (Image(ref="a.txt"), "text/plain"),
        (Image(value=b"what is this"), None),
        (Image(ref="a"), None),
        (Audio(ref="a.wav"), "audio/wav"),
        (File(ref="https://host/a.pdf?b=c"), "application/pdf"),
        (Text(value="a"), "text/plain"),
        (Text(ref="a"), "text/plain"),
        (Text(ref="a.md"), "text/markdown"),
        (Text(ref="a.md", media_type="text/plain"), "text/plain"),
        (Text(value="a", media_type="text/html"), "text/html"),
    ],
)
def test_the_media_type_is_the_argument_then_the_extension_then_the_first_bytes(
    doc: Doc, media_type: str | None
) -> None:
    assert doc.media_type == media_type
    assert Echo().post(on="echo", doc=doc).media_type == media_type


def test_a_document_is_never_refused_for_its_extension() -> None:
    for kind in (Text, Image, Audio, Video, File):
        assert kind(ref="a.exe").ref == "a.exe"


# When it fetches


def test_nothing_is_fetched_by_anything_but_reading(counted: list[str], codec: Codec) -> None:
    doc = Image(ref="counted://a.png")
    page = Page(scan=doc, caption=Text(ref="counted://a.txt"), more=[doc])
    (
        repr(doc),
        str(page),
        doc == copy.deepcopy(doc),
        hash(doc),
        doc.value,
        doc.media_type,
        doc.size,
        doc.signature,
        list(page.iter_docs()),
    )
    (
        doc.model_dump(),
        page.model_dump_json(),
        doc.model_copy(),
        pickle.loads(pickle.dumps(page)),
        Page.model_validate(page),
    )
    Page.model_validate_json(page.model_dump_json())
    with Echo() as e:
        assert e.post(on="echo", doc=doc, codec=codec.name) == doc
        assert e.post(on="echo_async", doc=doc, codec=codec.name) == doc
        assert e.post(on="page", page=page, codec=codec.name) == page
        assert e.post(on="anything", doc=doc, codec=codec.name) == {"docs": [doc]}
    assert counted == []


def test_the_first_read_fetches_and_the_second_does_not(counted: list[str]) -> None:
    doc = Text(ref="counted://a.txt")
    assert doc.read() == doc.read() == "hello"
    assert len(counted) == 1


def test_aread_fetches_once_too(counted: list[str]) -> None:
    doc = Text(ref="counted://a.txt")

    async def twice() -> list[str]:
        return [await doc.aread(), await doc.aread(), doc.read()]

    assert asyncio.run(twice()) == ["hello"] * 3
    assert len(counted) == 1


def test_readers_at_the_same_time_fetch_once(counted: list[str]) -> None:
    doc = Text(ref="counted://a.txt")
    Counted.gate.clear()
    contents: list[str] = []
    threads = [threading.Thread(target=lambda: contents.append(doc.read())) for _ in range(8)]
    for thread in threads:
        thread.start()
    Counted.gate.set()
    for thread in threads:
        thread.join()
    assert contents == ["hello"] * 8
    assert len(counted) == 1


def test_a_read_that_failed_is_tried_again(counted: list[str]) -> None:
    doc = Text(ref="counted://b.txt")
    with pytest.raises(NotFound):
        doc.read()
    Counted.contents["b.txt"] = b"now"
    assert doc.read() == "now"


def test_what_was_read_is_kept_privately(counted: list[str]) -> None:
    doc, twin = Image(ref="counted://a.png"), Image(ref="counted://a.png")
    before = doc.model_dump_json()
    doc.read()
    assert doc.value is None
    assert doc == twin
    assert hash(doc) == hash(twin)
    assert doc.model_dump_json() == before
    assert repr(doc) == repr(twin)
    assert Echo().post(on="echo", doc=doc).value is None
    assert pickle.loads(pickle.dumps(doc)).read() == PNG
    assert len(counted) == 2  # a pickle does not carry what was read


def test_a_read_on_a_running_loop_that_would_fetch_names_aread(counted: list[str]) -> None:
    doc = Text(ref="counted://a.txt")

    async def scenario() -> None:
        for fetch in (doc.read, doc.open, doc.path):
            with pytest.raises(FailedPrecondition, match="await doc.aread"):
                fetch()
        assert counted == []
        assert await asyncio.to_thread(doc.read) == "hello"
        assert doc.read() == "hello"
        assert doc.open().read() == b"hello"
        assert Text(value="inline").read() == "inline"

    asyncio.run(scenario())


def test_a_handler_reads_what_it_is_given(counted: list[str]) -> None:
    class Reader(Executor):
        @post
        def read(self, doc: Text) -> Text:
            return Text(value=doc.read().upper())

        @post
        async def aread(self, doc: Text) -> Text:
            return Text(value=(await doc.aread()).upper())

    with Reader() as r:
        for on in ("read", "aread"):
            assert r.post(on=on, doc=Text(ref="counted://a.txt")) == Text(value="HELLO")


def test_open_gives_a_file_that_can_seek(counted: list[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    for doc in (Text(value="hello"), File(value=b"hello"), File(ref="counted://a.txt"), File(ref=str(tmp_path / "a"))):
        with doc.open() as file:
            assert file.read(2) == b"he"
            assert file.seek(-1, os.SEEK_END) == 4
            assert file.read() == b"o"


def test_a_text_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab\xff")
    with pytest.raises(InvalidArgument, match="byte 2"):
        Text(ref=str(tmp_path / "a.txt")).read()


@pytest.mark.parametrize("reading", [Doc.read, Doc.open, Doc.path])
def test_a_file_that_is_not_there_is_not_found_when_it_is_read(reading: Callable[[Doc], Any], tmp_path: Path) -> None:
    for ref in (str(tmp_path / "none"), "memory://none"):
        with pytest.raises(NotFound, match="none"):
            reading(File(ref=ref))


# Signatures


def test_a_content_that_matches_its_signature_is_read(counted: list[str]) -> None:
    doc = Text(ref="counted://a.txt", signature=sha256(b"hello"))
    assert doc.open().read() == b"hello"
    assert doc.path().read_text() == "hello"
    assert doc.read() == "hello"


@pytest.mark.parametrize("reading", [Doc.read, Doc.open, Doc.path, lambda doc: asyncio.run(doc.aread())])
def test_a_content_that_does_not_match_its_signature_is_data_loss(
    reading: Callable[[Doc], Any], counted: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(b"hello")
    for ref in ("counted://a.txt", str(tmp_path / "a.txt")):
        doc = Text(ref=ref, signature=sha256(b"other"))
        with pytest.raises(DataLoss, match="it should be sha256"):
            reading(doc)


def test_an_unknown_algorithm_is_told_the_known_ones(counted: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="there are: sha256"):
        Text(ref="counted://a.txt", signature="blake3:" + "0" * 64).read()


def test_no_signature_is_computed_for_inline_content() -> None:
    assert Text(value="a").signature is None
    assert Echo().post(on="echo", doc=Text(value="a")).signature is None


# Files


def test_a_file_on_this_machine_is_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    assert Image(ref=str(tmp_path / "a.png")).path() == tmp_path / "a.png"
    assert Image(ref=f"file://{tmp_path}/a.png").path() == tmp_path / "a.png"


def test_other_content_becomes_a_file_for_this_user_only_and_not_to_be_written(counted: list[str]) -> None:
    for doc in (Image(value=PNG), Image(ref="counted://a.png")):
        path = doc.path()
        assert path.read_bytes() == PNG
        assert path.suffix == ".png"
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.stat().st_uid == os.getuid()
        assert doc.path() == path


def test_the_file_goes_with_the_last_document_that_has_it() -> None:
    doc = File(value=b"a")
    path = doc.path()
    copied = copy.copy(doc)
    deep = copy.deepcopy(doc)
    del doc, copied
    gc.collect()
    assert path.exists()
    del deep
    gc.collect()
    assert not path.exists()
    assert not path.parent.exists()


def test_a_file_that_somebody_removed_is_no_trouble() -> None:
    doc = File(value=b"a")
    doc.path().unlink()
    del doc
    gc.collect()


def test_a_copy_with_another_content_has_another_file() -> None:
    doc = File(value=b"one")
    doc.path()
    assert doc.model_copy(update={"value": b"two"}).path().read_bytes() == b"two"


def test_a_copy_with_another_ref_reads_anew(counted: list[str]) -> None:
    doc = File(ref="counted://a.txt")
    doc.read()
    assert doc.model_copy(update={"ref": "counted://a.png"}).read() == PNG
    assert doc.model_copy().read() == b"hello"


# What a document is, as Python sees it


def test_a_document_does_not_change() -> None:
    doc = Text(value="a")
    for name in ("value", "ref", "kind", "media_type"):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(doc, name, "b")
    assert doc == Text(value="a")


def test_documents_are_equal_by_what_was_given_and_by_kind() -> None:
    assert Text(value="a") == Text(value="a")
    assert Text(value="a") != Text(value="b")
    assert Text(value="a") != Text(value="a", ref="b")
    assert Image(value=b"a") != File(value=b"a")
    assert Text(value="a") != "a"
    assert len({Text(value="a"), Text(value="a"), Text(ref="a"), Image(value=b"a"), File(value=b"a")}) == 4


def test_a_tensor_can_be_hashed() -> None:
    assert len({Tensor(dtype="int8", shape=(1,), value=b"a"), Tensor(dtype="int8", shape=(1, 1), value=b"a")}) == 2


@pytest.mark.parametrize(
    ("doc", "shown"),
    [
        (Text(value="short"), "Text(value='short')"),
        (Image(ref="a.png"), "Image(ref='a.png', media_type='image/png')"),
        (Image(value=PNG), f"Image(value=<{len(PNG)} bytes>, media_type='image/png')"),
        (File(value=bytes(1_234_567)), "File(value=<1,234,567 bytes>)"),
        (Text(value="x" * 5000), f"Text(value='{'x' * 60}'… 5,000 characters)"),
        (
            Image(ref="https://user:word@host/a.png?sig=1"),
            "Image(ref='https://***@host/a.png?***', media_type='image/png')",
        ),
        (
            File(ref="data:text/plain;base64,c2VjcmV0"),
            "File(ref='data:text/plain;base64,...', media_type='text/plain')",
        ),
        (Text(value="a", size=1), "Text(value='a', size=1)"),
    ],
)
def test_repr_is_readable_and_never_prints_a_payload_or_a_secret(doc: Doc, shown: str) -> None:
    assert repr(doc) == str(doc) == shown
    assert shown in repr(Page(scan=Image(ref="a"), more=[doc]))


def test_an_error_about_a_document_prints_no_payload() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Echo().post(on="echo_async", doc=Text(value="private " * 100))
    assert "private" not in str(caught.value)


def test_a_notebook_shows_the_picture(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PNG)
    for doc in (Image(value=PNG), Image(ref=str(tmp_path / "a")), Image(value=PNG, media_type="image/x-own")):
        assert doc._repr_mimebundle_() == {"text/plain": repr(doc), "image/png": PNG}


@pytest.mark.parametrize(
    "doc",
    [
        Image(ref="/there/is/none.png"),
        Image(ref="https://host/a.png"),
        Image(value=b"<svg onload='alert(1)'/>", media_type="image/svg+xml"),
        Image(value=b"<script>alert(1)</script>", media_type="text/html"),
        Image(value=b""),
    ],
)
def test_a_notebook_shows_no_picture_that_is_none_or_elsewhere(doc: Image) -> None:
    assert doc._repr_mimebundle_() == {"text/plain": repr(doc)}


# Kinds


def test_every_kind_is_registered_under_its_name() -> None:
    expected: dict[str, type[Doc]] = {
        "text": Text,
        "image": Image,
        "audio": Audio,
        "video": Video,
        "file": File,
        "tensor": Tensor,
    }
    assert expected.items() <= kinds().items()
    for name, kind in expected.items():
        assert kind.model_fields["kind"].default == name


def test_a_kind_is_written_always_and_needed_where_several_are_possible() -> None:
    assert Text(value="a").model_dump() == {"kind": "text", "value": "a"}
    assert Text.model_validate({"value": "a"}) == Text(value="a")
    with pytest.raises(ValidationError, match="kind"):
        Page.model_validate({"scan": {"ref": "a"}, "more": [{"ref": "a"}]})
    with pytest.raises(ValidationError, match="kind"):
        Text.model_validate({"kind": "image", "value": "a"})


def test_a_field_typed_doc_is_read_by_the_registered_kind() -> None:
    page = Page.model_validate(
        {"scan": {"ref": "a"}, "more": [{"kind": "text", "value": "a"}, {"kind": "audio", "ref": "b"}]}
    )
    assert page.more == [Text(value="a"), Audio(ref="b")]
    assert Page.model_validate_json(page.model_dump_json()) == page


def test_an_unknown_kind_is_told_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="known are: .*image.*text"):
        Page.model_validate({"scan": {"ref": "a"}, "more": [{"kind": "hologram", "ref": "a"}]})


def test_somebody_elses_kind_needs_nothing_from_us(codec: Codec) -> None:
    class PointCloud(Doc):
        value: bytes | None = None
        points: int = 0

        @classmethod
        def encode(cls, value: Any) -> Any:
            return b"".join(value) if isinstance(value, list) else value

        @classmethod
        def decode(cls, data: bytes) -> bytes:
            return data

    assert kinds()["point_cloud"] is PointCloud
    cloud = PointCloud(value=[b"\xff\xfe", b"\xfb"], points=2)  # type: ignore[arg-type]
    assert cloud.read() == b"\xff\xfe\xfb"
    page = Page(scan=Image(ref="a"), more=[cloud])
    with Echo() as e:
        assert e.post(on="echo", doc=cloud, codec=codec.name) == cloud
        assert e.post(on="page", page=page, codec=codec.name) == page


def test_a_kind_may_be_named() -> None:
    class Cloud(Text, kind="prose"):
        pass

    assert kinds()["prose"] is Cloud
    assert Echo().post(on="echo", doc=Cloud(value="a")) == Cloud(value="a")


def test_a_subclass_of_a_kind_shares_it() -> None:
    class Scan(Image):
        def dots(self) -> int:
            return len(self.read())

    assert Scan(value=b"abc").kind == "image"
    assert Scan(value=b"abc").dots() == 3
    assert kinds()["image"] is Image


def test_a_base_for_kinds_is_none_itself() -> None:
    class _Shape(File, kind=None):
        pass

    assert "shape" not in kinds()
    assert "_shape" not in kinds()


def test_a_kind_that_is_taken_is_refused_naming_who_has_it() -> None:
    def another() -> type[Doc]:
        class Text(Doc):
            @classmethod
            def encode(cls, value: Any) -> Any:
                return value

            @classmethod
            def decode(cls, data: bytes) -> Any:
                return data

        return Text

    with pytest.raises(
        TypeError, match=r"the kind 'text' is taken by xooai.docs.text.Text; name another: class Text\(Doc, kind="
    ):
        another()
    assert kinds()["text"] is Text


def test_a_class_that_is_made_again_takes_its_own_kind_again() -> None:
    """As in a notebook, where a cell is run twice."""

    def cell() -> type[Doc]:
        class Again(File, kind="again"):
            pass

        return Again

    cell()
    second = cell()
    assert kinds()["again"] is second


class Scan(ComboDoc):
    data: bytes
    more: dict[str, list[bytes]] = {}
    note: str = ""


class Packed(File):
    key: bytes = b""


def test_no_repr_prints_bytes() -> None:
    scan = Scan(data=b"secret" * 100, more={"a": [b"secret"]}, note="n")
    assert repr(scan) == "Scan(data=<600 bytes>, more={'a': [<6 bytes>]}, note='n')"
    assert "secret" not in str(scan)
    assert repr(Packed(value=b"secret", key=b"secret")) == "Packed(value=<6 bytes>, key=<6 bytes>)"


@pytest.mark.parametrize("kind", [Image, Audio, Video, File, Packed])
def test_a_text_for_content_that_is_bytes_is_refused_in_python(kind: Any) -> None:
    with pytest.raises(ValidationError, match=f"the content of {kind.__name__} is bytes, a str was given; give bytes"):
        kind(value="abcd")
    with pytest.raises(ValidationError, match="the content of Tensor is bytes"):
        Tensor(value="abcd", dtype="uint8", shape=(3,))


def test_content_that_is_bytes_stays_base64_in_json() -> None:
    assert Image.model_validate_json('{"value": "YWJj"}').value == b"abc"
    assert Image.model_validate_json(Image(value=b"abc").model_dump_json()) == Image(value=b"abc")
