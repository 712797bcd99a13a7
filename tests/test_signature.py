"""Signatures: what they are made from, and what they refuse."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import signature as signatures
from xooai.errors import DataLoss, InvalidArgument

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_a_signature_is_the_algorithm_and_the_digest_in_hex() -> None:
    assert signatures.sign(b"abc") == ABC
    assert signatures.check(ABC) == ("sha256", ABC.removeprefix("sha256:"))


@given(st.lists(st.binary(max_size=50)))
def test_pieces_have_the_signature_and_the_size_of_the_whole(pieces: list[bytes]) -> None:
    hasher = signatures.Hasher()
    for piece in pieces:
        hasher.update(piece)
    whole = b"".join(pieces)
    assert hasher.signature == f"sha256:{hashlib.sha256(whole).hexdigest()}"
    assert hasher.size == len(whole)


def test_a_memoryview_is_signed_as_its_bytes_and_counted_in_bytes() -> None:
    words = memoryview(b"12345678").cast("I")
    hasher = signatures.Hasher()
    hasher.update(words)
    assert hasher.size == 8
    assert hasher.signature == signatures.sign(words) == signatures.sign(b"12345678")


@pytest.mark.parametrize("size", [0, 1, signatures.CHUNK - 1, signatures.CHUNK, signatures.CHUNK + 1])
def test_a_file_is_signed_from_where_it_stands_to_its_end(size: int) -> None:
    file = io.BytesIO(b"skipped" + bytes(size))
    file.seek(len(b"skipped"))
    assert signatures.sign_file(file) == (signatures.sign(bytes(size)), size)


@given(st.binary(min_size=1), st.data())
def test_one_changed_bit_is_data_loss(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(content) * 8 - 1))
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    signed = signatures.sign(content)
    signatures.verify(content, signed)
    with pytest.raises(DataLoss, match=signed):
        signatures.verify(bytes(changed), signed)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "sha256",
        "sha256:",
        ABC.upper(),
        ABC[:-1],
        ABC + "0",
        ABC + "\n",
        " " + ABC,
        ABC.replace(":", "-"),
        "x" * 10_000,
    ],
)
def test_what_is_no_signature_is_told_what_one_is(wrong: str) -> None:
    with pytest.raises(InvalidArgument, match="64 lower-case hex digits") as caught:
        signatures.check(wrong)
    assert isinstance(caught.value, ValueError)
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message


def test_an_unknown_algorithm_is_told_the_known_ones() -> None:
    md5 = "md5:" + ABC.removeprefix("sha256:")
    for refused in (
        lambda: signatures.check(md5),
        lambda: signatures.sign(b"", "md5"),
        lambda: signatures.verify(b"", md5),
    ):
        with pytest.raises(InvalidArgument, match="'md5'; there are: sha256"):
            refused()
