"""Responses that stream, read from bytes: cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_streams import FRAMED, LAST, chunk, ending, items

from xooai.errors import Code, Internal, ResourceExhausted
from xooai.wire import END, ITEM, frame
from xooai_http.stream_reader import StreamReader

CODECS = {"application/vnd.xooai.frames+json": "application/json"}
contents = st.lists(st.binary(max_size=300), max_size=20)


def read(raw: bytes, cuts: list[int]) -> tuple[list[bytes], StreamReader]:
    reader, found = StreamReader(1000, CODECS), []
    edges = [0, *sorted(cut % len(raw) for cut in cuts), len(raw)]
    for start, end in pairwise(edges):
        if start < end:
            found += reader.take(raw[start:end])
    return found, reader


@given(contents=contents, cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_items_are_the_same_wherever_the_bytes_are_cut(contents: list[bytes], cuts: list[int]) -> None:
    found, reader = read(FRAMED + items(*contents) + ending() + LAST, cuts)

    assert found == contents
    assert reader.is_whole
    assert reader.keep_alive
    assert reader.outcome is not None
    assert (reader.outcome.code, reader.outcome.codec) == (Code.OK, "application/json")


@given(contents=contents, size=st.integers(1, 500), cuts=st.lists(st.integers(0, 10_000), max_size=10))
def test_chunks_need_not_be_frames(contents: list[bytes], size: int, cuts: list[int]) -> None:
    raw = b"".join(frame(ITEM, content) for content in contents) + frame(END, b'{"code":0}')
    chunks = b"".join(chunk(raw[at : at + size]) for at in range(0, len(raw), size))

    found, reader = read(FRAMED + chunks + LAST, cuts)

    assert found == contents
    assert reader.outcome is not None


@given(contents=contents, is_broken=st.booleans())
def test_items_before_what_is_wrong_are_not_lost(contents: list[bytes], is_broken: bool) -> None:
    bad = chunk(b"\7" + bytes(8)) if is_broken else items(bytes(1001))
    reader = StreamReader(1000, CODECS)
    wrong = Internal if is_broken else ResourceExhausted

    if contents:
        assert reader.take(FRAMED + items(*contents) + bad) == contents
        assert type(reader.failure) is wrong
    else:
        with pytest.raises(wrong):
            reader.take(FRAMED + bad)
    assert reader.outcome is None


@given(contents=contents, cut=st.integers(0, 10_000))
def test_what_is_cut_off_is_never_well(contents: list[bytes], cut: int) -> None:
    raw = FRAMED + items(*contents) + ending()
    raw = raw[: cut % (len(raw) - 2)]  # without the line end of the chunk the last frame is whole already

    reader = StreamReader(1000, CODECS)
    found = reader.take(raw) + reader.closed()

    assert found == contents[: len(found)]
    assert reader.outcome is None


def test_small_chunks_are_taken_at_once() -> None:
    reader = StreamReader(1000, CODECS)

    assert reader.take(FRAMED + items(*[b"x"] * 10_000)) == [b"x"] * 10_000
    assert not reader.is_whole
    assert reader.outcome is None
