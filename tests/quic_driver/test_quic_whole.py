"""Requests that come in one piece: read as aioquic reads them, whether or not their head is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aioquic", reason="needs the extra quic")

import pylsqpack
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StopSendingReceived, StreamDataReceived, StreamReset
from quic_files import Files
from quic_site import Run, call, linked

from quic_listening import listening
from xooai.driver import DialOptions
from xooai_quic import known, whole
from xooai_quic.certificate import for_development
from xooai_quic.over_aioquic import LIBRARY

HEADERS, DATA, UNKNOWN = 1, 0, 33
HEAD = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/echo/text")]
SIZED = [*HEAD, (b"content-length", b"5")]
ANSWER = [(b":status", b"200"), (b"content-length", b"5")]

POLICY = b"script-src 'none'; object-src 'none'; base-uri 'none'"  # in the static table: two bytes on the wire


@cache
def configuration() -> QuicConfiguration:
    made = for_development()
    return QuicConfiguration(is_client=False, **LIBRARY.certified(made.chain, made.key))


class Sent(QuicConnection):
    """A connection that is not connected, and tells what was written and how it was closed."""

    def __init__(self) -> None:
        super().__init__(configuration=configuration(), original_destination_connection_id=b"12345678")
        self.written: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.codes: list[int] = []

    def send_stream_data(self, stream_id: int, data: bytes, end_stream: bool = False) -> None:
        self.written[stream_id] = self.written.get(stream_id, b"") + data
        if end_stream:
            self.ended.add(stream_id)

    def reset_stream(self, stream_id: int, error_code: int) -> None:
        self.codes.append(error_code)

    def close(self, error_code: int = 0, frame_type: int | None = None, reason_phrase: str = "") -> None:
        self.codes.append(error_code)


class Plain(H3Connection):
    """aioquic's own, without a dynamic table."""

    def __init__(self, quic: Any) -> None:
        super().__init__(quic)
        self._decoder = pylsqpack.Decoder(0, 0)


class Whole(whole.WholeConnection):
    """Ours, likewise."""

    def __init__(self, quic: Any) -> None:
        super().__init__(quic)
        self._decoder = pylsqpack.Decoder(0, 0)


def block(fields: list[tuple[bytes, bytes]]) -> bytes:
    return bytes(pylsqpack.Encoder().encode(0, fields)[1])


def frame(kind: int, content: bytes) -> bytes:
    return encode_uint_var(kind) + encode_uint_var(len(content)) + content


def request(fields: list[tuple[bytes, bytes]], *bodies: bytes) -> bytes:
    return frame(HEADERS, block(fields)) + b"".join(frame(DATA, body) for body in bodies)


def heard(http: H3Connection, pieces: list[bytes], stream_id: int) -> list[Any]:
    """What comes of a stream in these pieces."""
    found: list[Any] = []
    for at, piece in enumerate(pieces, 1):
        found += http.handle_event(StreamDataReceived(data=piece, end_stream=at == len(pieces), stream_id=stream_id))
    return found


heads = st.sampled_from(
    [
        HEAD,
        SIZED,
        [*HEAD, (b"content-length", b"0")],
        [*HEAD, (b"content-length", b"+5")],
        [*SIZED, (b"content-length", b"5")],
        [*HEAD, (b"Upper", b"no")],
        HEAD[:2],
        [(b"x-trailer", b"1")],
    ]
)
frames = st.one_of(
    st.builds(lambda fields: frame(HEADERS, block(fields)), heads),
    st.builds(lambda body: frame(DATA, body), st.sampled_from([b"", b"hello", b"a" * 70, b"a" * 20_000])),
    st.builds(lambda body: frame(UNKNOWN, body), st.binary(max_size=3)),
    st.binary(max_size=4),
)
messages = st.one_of(
    st.builds(lambda fields, bodies: request(fields, *bodies), heads, st.lists(st.just(b"hello"), max_size=2)),
    st.builds(b"".join, st.lists(frames, max_size=4)),
)


@given(st.lists(st.tuples(messages, st.integers(0, 3)), min_size=1, max_size=6))
def test_events_are_those_of_aioquic(sent: list[tuple[bytes, int]]) -> None:
    ours, theirs = Sent(), Sent()
    http, plain = Whole(ours), Plain(theirs)
    for number, (message, cut) in enumerate([*sent, *sent]):  # the second time heads are known
        pieces = [message[:cut], message[cut:]] if cut else [message]
        assert heard(http, pieces, 4 * number) == heard(plain, pieces, 4 * number)
        assert ours.codes == theirs.codes


def test_a_known_head_is_read_no_more() -> None:
    http = Whole(Sent())
    expected = [HeadersReceived(SIZED, 0, False), DataReceived(b"hello", 0, True)]
    assert heard(http, [request(SIZED, b"hello")], 0) == expected
    del http._decoder
    assert [found.stream_id for found in heard(http, [request(SIZED, b"hello")], 4)] == [4, 4]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("body", [b"", b"hello", b"a" * 70_000], ids=len)
def test_a_whole_response_is_what_its_parts_would_be(times: int, body: bytes) -> None:
    ours, theirs = Sent(), Sent()
    http, plain = Whole(ours), Plain(theirs)
    for number in range(times):
        for each in (http, plain):
            heard(each, [request(HEAD, b"hello")], 4 * number)
        http.respond(4 * number, ANSWER, body)
        plain.send_headers(4 * number, ANSWER, not body)
        if body:
            plain.send_data(4 * number, body, True)
    assert (ours.written[0], ours.ended) == (theirs.written[0], theirs.ended)
    assert http._stream.keys() == plain._stream.keys()
    assert not http._heard


def test_a_response_in_parts_to_a_known_head_is_the_same() -> None:
    quic = Sent()
    http = Whole(quic)
    for stream_id in (0, 4):
        heard(http, [request(HEAD, b"hello")], stream_id)
        http.send_headers(stream_id, ANSWER)
        http.send_data(stream_id, b"hel", False)
        http.send_data(stream_id, b"lo", True)
    assert quic.written[0] == quic.written[4]
    assert {0, 4} <= quic.ended
    assert not {0, 4} & http._stream.keys()


@pytest.mark.parametrize("event", [StreamReset, StopSendingReceived])
def test_what_comes_of_a_known_request_afterwards_is_as_for_any(event: type) -> None:
    ours, theirs = Sent(), Sent()
    http, plain = Whole(ours), Plain(theirs)
    for number in range(2):
        for each in (http, plain):
            heard(each, [request(HEAD, b"hello")], 4 * number)
            assert each.handle_event(event(error_code=0x10C, stream_id=4 * number)) == []
    assert ours.codes == theirs.codes
    assert http._stream.keys() == plain._stream.keys()


def test_a_known_head_with_another_length_is_refused_as_by_aioquic() -> None:
    quic = Sent()
    http = Whole(quic)
    assert heard(http, [request(SIZED, b"hello")], 0)
    assert heard(http, [request(SIZED, b"hell")], 4) == []
    assert quic.codes == [0x10E]


def test_heads_that_are_known_are_bounded_and_the_oldest_goes() -> None:
    http = Whole(Sent())
    blocks = [block([*HEAD, (b"x", b"%d" % number)]) for number in range(3 * known._MOST)]
    for number, head in enumerate(blocks):
        heard(http, [frame(HEADERS, head) + frame(DATA, b"hello")], 4 * number)
        http.respond(4 * number, ANSWER, b"hello")
    assert list(http.known) == blocks[-known._MOST :]


@pytest.mark.parametrize(
    "more",
    [
        [(b"x", b"a" * 1000)],
        [(b"x", b"")] * known._FIELDS,
        [(b"content-security-policy", POLICY)] * (known._FIELDS - len(HEAD)),
        [(b"authorization", b"Bearer abc")],
        [(b"proxy-authorization", b"Basic abc")],
        [(b"cookie", b"a=b")],
        [(b"cookie", b"a=b"), (b"content-length", b"5")],
    ],
    ids=["long", "many", "long as it is read", "token", "token of a proxy", "cookie", "cookie and length"],
)
def test_a_head_that_is_large_or_secret_is_not_remembered(more: list[tuple[bytes, bytes]]) -> None:
    http = Whole(Sent())
    assert heard(http, [request([*HEAD, *more], b"hello")], 0)
    assert not http.known


def test_the_connections_of_a_listener_share_what_they_know_and_listeners_do_not(
    run: Run, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XOOAI_QUIC", "aioquic")

    async def scenario() -> None:
        trust = DialOptions(trust=f"sha256:{files.fingerprint}")
        async with listening(files.options()) as (listener, _), listening(files.options()) as (other, _):
            for _ in range(2):
                async with linked(listener.url, trust) as link:
                    assert (await call(link))[0] == b"{}"
            assert len(listener._server.known) == 1
            assert not other._server.known

    run(scenario())
