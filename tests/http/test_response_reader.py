"""Responses read from bytes: fed whole, byte by byte, cut anywhere, and with a tail."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai.errors import Internal, ResourceExhausted
from xooai_http.response_reader import FIELD_LIMIT, FIELDS_LIMIT, HEAD_LIMIT, Response, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1000

WHOLE = {
    "a length": (OK + b"content-length: 3\r\n\r\nabc", 200, b"abc"),
    "no content": (OK + b"content-length: 0\r\n\r\n", 200, b""),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\na", 200, b"a"),
    "spaces around a length": (OK + b"Content-Length:  3 \r\n\r\nabc", 200, b"abc"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 that announces content": (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "chunks in capitals": (OK + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc"),
    "chunks with an extension and trailers": (
        OK + b'transfer-encoding: chunked\r\n\r\n3;x="y"\r\nabc\r\n0\r\nx-sum: 1\r\nserver: x\r\n\r\n',
        200,
        b"abc",
    ),
    "no chunk but the last": (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200, b""),
    "an interim answer before": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 1\r\n\r\na", 200, b"a"),
    "several interim answers before": (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + OK
        + b"content-length: 1\r\n\r\na",
        200,
        b"a",
    ),
    "an error": (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nretry-after: 1\r\n\r\nbusy", 503, b"busy"),
    "the identity": (OK + b"content-encoding: identity\r\ncontent-length: 1\r\n\r\na", 200, b"a"),
}
MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS alert": b"\x15\x03\x03\x00\x02\x02\x46",
    "HTML": b"<html>hello</html>",
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "a length beside chunks": OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "a length that is no number": OK + b"content-length: 3x\r\n\r\nabc",
    "a negative length": OK + b"content-length: -3\r\n\r\nabc",
    "an empty length": OK + b"content-length:\r\n\r\nabc",
    "a length of 30 digits": OK + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
    "a folded header": OK + b"x-a: 1\r\n 2\r\ncontent-length: 0\r\n\r\n",
    "NUL in a header": OK + b"x-a: 1\0\r\ncontent-length: 0\r\n\r\n",
    "a header without a name": OK + b": 1\r\ncontent-length: 0\r\n\r\n",
    "a chunk size that is no number": OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk longer than announced": OK + b"transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "compressed chunks": OK + b"transfer-encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "compressed content": OK + b"content-encoding: gzip\r\ncontent-length: 1\r\n\r\na",
    "another protocol agreed": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc",
    "another protocol announced": b"HTTP/1.1 101 Switching\r\n\r\nabc",
    "a status below 100": b"HTTP/1.1 099 What\r\ncontent-length: 0\r\n\r\n",
}
OPEN_ENDED = {
    "no length": OK + b"\r\nabc",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nabc",
    "no content": OK + b"\r\n",
}
CUT_OFF = {
    "nothing": b"",
    "in the status": b"HTTP/1.1 2",
    "in a header": OK + b"content-len",
    "behind an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "before the content": OK + b"content-length: 3\r\n\r\n",
    "in the content": OK + b"content-length: 3\r\n\r\nab",
    "in a chunk": OK + b"transfer-encoding: chunked\r\n\r\n3\r\nab",
    "before the last chunk": OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "in the last chunk": OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    "in a trailer": OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n",
}


def table(cases: Mapping[str, object], names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(names, cases.values(), ids=cases)


def single_bytes(raw: bytes) -> Iterable[bytes]:
    return (raw[at : at + 1] for at in range(len(raw)))


def feed(reader: ResponseReader, pieces: Iterable[bytes]) -> Response | None:
    """Feed all pieces; only the last may complete the response."""
    response = None
    for piece in pieces:
        assert response is None
        response = reader.feed(piece)
    return response


@table(WHOLE, "case")
def test_a_response_is_read_whole(case: tuple[bytes, int, bytes]) -> None:
    raw, status, content = case
    reader = ResponseReader(LIMIT)

    response = reader.feed(raw)

    assert response is not None
    assert (response[0], response[2]) == (status, content)
    assert reader.keep_alive


@table(WHOLE, "case")
def test_a_response_is_read_byte_by_byte(case: tuple[bytes, int, bytes]) -> None:
    raw, status, content = case

    response = feed(ResponseReader(LIMIT), single_bytes(raw))

    assert response is not None
    assert (response[0], response[2]) == (status, content)


@table(WHOLE, "case")
def test_what_follows_a_response_ends_the_connection_and_leaves_the_response(case: tuple[bytes, int, bytes]) -> None:
    raw, status, content = case
    reader = ResponseReader(LIMIT)

    response = reader.feed(raw + b"HTTP/1.1 500")

    assert response is not None
    assert (response[0], response[2]) == (status, content)
    assert not reader.keep_alive


@given(case=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_a_response_is_the_same_however_it_is_cut(case: str, data: st.DataObject) -> None:
    raw, status, content = WHOLE[case]
    cuts = sorted(data.draw(st.lists(st.integers(1, len(raw) - 1), unique=True, max_size=8)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    response = feed(ResponseReader(LIMIT), pieces)

    assert response is not None
    assert (response[0], response[2]) == (status, content)


def test_two_responses_at_once_are_the_first_one_and_no_more() -> None:
    reader = ResponseReader(LIMIT)

    response = reader.feed(OK + b"content-length: 1\r\n\r\na" + OK + b"content-length: 1\r\n\r\nb")

    assert response == (200, [(b"content-length", b"1")], b"a")
    assert not reader.keep_alive


def test_responses_follow_each_other_and_share_nothing() -> None:
    reader = ResponseReader(LIMIT)

    first = reader.feed(OK + b"x-a: 1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    second = reader.feed(OK + b"X-B: 2\r\ncontent-length: 0\r\n\r\n")

    assert first == (200, [(b"x-a", b"1"), (b"transfer-encoding", b"chunked")], b"ab")
    assert second == (200, [(b"x-b", b"2"), (b"content-length", b"0")], b"")


def test_the_headers_of_interim_answers_are_not_those_of_the_response() -> None:
    response = ResponseReader(LIMIT).feed(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK + b"content-length: 0\r\n\r\n"
    )

    assert response == (200, [(b"content-length", b"0")], b"")


def test_trailers_are_not_headers_of_the_response() -> None:
    response = ResponseReader(LIMIT).feed(
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-late: 1\r\ncontent-encoding: gzip\r\n\r\n"
    )

    assert response == (200, [(b"transfer-encoding", b"chunked")], b"a")


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_stays_open(head: bytes, stays: bool) -> None:
    reader = ResponseReader(LIMIT)

    reader.feed(head + b"content-length: 0\r\n\r\n")

    assert reader.keep_alive is stays


@table(OPEN_ENDED, "raw")
@pytest.mark.parametrize("cut", [lambda raw: [raw], single_bytes], ids=["whole", "byte by byte"])
def test_a_response_without_a_length_ends_with_its_connection(raw: bytes, cut: object) -> None:
    reader = ResponseReader(LIMIT)

    assert callable(cut)
    assert feed(reader, cut(raw)) is None
    response = reader.end()

    assert response is not None
    assert response[2] == raw.partition(b"\r\n\r\n")[2]


@table(OPEN_ENDED, "raw")
def test_a_response_without_a_length_is_refused_where_a_cut_must_not_go_unseen(raw: bytes) -> None:
    with pytest.raises(Internal, match="announces no length"):
        ResponseReader(LIMIT, until_close=False).feed(raw)


def test_an_empty_status_needs_no_length_anywhere() -> None:
    assert ResponseReader(LIMIT, until_close=False).feed(b"HTTP/1.1 204 No Content\r\n\r\n") == (204, [], b"")


@table(CUT_OFF, "raw")
def test_a_response_that_is_cut_off_is_none(raw: bytes) -> None:
    reader = ResponseReader(LIMIT)

    assert feed(reader, single_bytes(raw)) is None
    assert reader.end() is None
    assert reader.has_begun is bool(raw)


@table(MALFORMED, "raw")
def test_what_is_not_http_is_an_internal_error(raw: bytes) -> None:
    with pytest.raises(Internal):
        ResponseReader(LIMIT).feed(raw)


@table(MALFORMED, "raw")
def test_what_is_not_http_is_an_internal_error_byte_by_byte(raw: bytes) -> None:
    with pytest.raises(Internal):
        feed(ResponseReader(LIMIT), single_bytes(raw))


def test_an_announced_length_beyond_the_limit_is_refused_before_its_content() -> None:
    with pytest.raises(ResourceExhausted, match="1,001 bytes, the limit is 1,000") as raised:
        ResponseReader(LIMIT).feed(OK + b"content-length: 1001\r\n\r\n")

    assert raised.value.reason == "size"


@pytest.mark.parametrize(
    "head", [b"content-length: 1000\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n3e8\r\n%b\r\n0\r\n\r\n"]
)
def test_content_may_be_as_large_as_the_limit(head: bytes) -> None:
    response = ResponseReader(LIMIT).feed(OK + head % (b"x" * LIMIT))

    assert response is not None
    assert len(response[2]) == LIMIT


@pytest.mark.parametrize("head", [b"\r\n", b"transfer-encoding: chunked\r\n\r\n3e9\r\n"])
@pytest.mark.parametrize("step", [1, 2000])
def test_content_is_counted_where_no_length_is_announced(head: bytes, step: int) -> None:
    reader = ResponseReader(LIMIT)
    reader.feed(OK + head)
    content = b"x" * (LIMIT + 1)

    with pytest.raises(ResourceExhausted, match="the reply has more"):
        feed(reader, [content[at : at + step] for at in range(0, len(content), step)])


def headers(sizes: Iterable[int]) -> bytes:
    """One header a size, of that many bytes in name and value."""
    return b"".join(b"x-%05d: " % n + b"v" * (size - 7) + b"\r\n" for n, size in enumerate(sizes))


@pytest.mark.parametrize("step", [100, 1_000_000], ids=["in pieces", "at once"])
@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ([10] * (FIELDS_LIMIT - 1), None),
        ([10] * FIELDS_LIMIT, "more than 100 headers"),
        ([FIELD_LIMIT], None),
        ([FIELD_LIMIT + 1], "a header of the reply has 8,193 bytes"),
        ([FIELD_LIMIT - 100] * 4, None),
        ([FIELD_LIMIT - 1] * 5, "the limit is 32,768"),
        ([200_000], "the limit is"),
    ],
)
def test_headers_have_limits(sizes: list[int], complaint: str | None, step: int) -> None:
    raw = OK + headers(sizes) + b"content-length: 1\r\n\r\na"
    pieces = [raw[at : at + step] for at in range(0, len(raw), step)]

    if complaint is None:
        assert feed(ResponseReader(LIMIT), pieces) is not None
    else:
        with pytest.raises(ResourceExhausted, match=complaint):
            feed(ResponseReader(LIMIT), pieces)


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a header": (OK + b"x-a: ", b"v" * 100),
    "trailers": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x-a: 1\r\n"),
    "a trailer": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-a: ", b"v" * 100),
    "a chunk extension": (OK + b"transfer-encoding: chunked\r\n\r\n1;x=", b"y" * 100),
    "a reason": (b"HTTP/1.1 200 ", b"y" * 100),
}


@table(ENDLESS, "case")
def test_what_is_endless_ends_at_a_limit(case: tuple[bytes, bytes]) -> None:
    start, again = case
    reader = ResponseReader(LIMIT)
    reader.feed(start)

    with pytest.raises(ResourceExhausted) as raised:
        feed(reader, [again] * (HEAD_LIMIT // len(again) + 1))

    assert raised.value.reason == "size"


def test_chunks_of_one_byte_weigh_what_their_content_weighs() -> None:
    count = 100_000
    reader = ResponseReader(count)
    reader.feed(OK + b"transfer-encoding: chunked\r\n\r\n")
    pieces = b"1\r\nx\r\n" * 1000

    tracemalloc.start()
    try:
        feed(reader, [pieces] * (count // 1000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    response = reader.feed(b"0\r\n\r\n")

    assert response is not None
    assert response[2] == b"x" * count
    assert peak < 4 * count


def test_a_large_reply_in_pieces_is_put_together_right() -> None:
    content = bytes(range(256)) * 4096
    raw = OK + b"content-length: %d\r\n\r\n" % len(content) + content

    response = feed(ResponseReader(len(content)), [raw[at : at + 65_536] for at in range(0, len(raw), 65_536)])

    assert response is not None
    assert response[2] == content
