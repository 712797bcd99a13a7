"""Load on one HTTP server: connections that send the same bytes again as soon as the answer is whole and right.

A loop of its own on epoll, because it costs little and sends at once. An event loop that writes at the end of its turn,
as uvloop does, falls into step with a server that does the same: both then work by turns, and neither is ever busy.
"""

import re
import select
import socket
import time
from dataclasses import dataclass, replace

from exchanges import Exchange

WARM_UP = 0.3  # seconds of load before the count begins
PATIENCE = 60.0  # seconds for the last answers to come
HEAD_ROOM = 2**16  # bytes kept for the head of an answer; the servers compared send about 150
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class AnswerError(RuntimeError):
    """An answer that is not the one expected, or none."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round against one server."""

    rate: float  # answers a second, counted from an answer to an answer
    total: int  # answers in all, with those of the warm-up and the end
    load: float  # share of its core that the load used
    took: tuple[float, float] | None = None  # milliseconds of an answer: the median, and what 99 of 100 stayed below


class Connection:
    """One keep-alive connection with one request under way; answers land in a buffer made once."""

    __slots__ = ("_body", "_buffer", "_filled", "_reply", "_request", "_size", "_unsent", "_view", "asked", "socket")

    def __init__(self, port: int, request: bytes, reply: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._request, self._reply = request, reply
        self._buffer = bytearray(len(reply) + HEAD_ROOM)
        self._view = memoryview(self._buffer)
        self._filled = self._body = self._size = 0
        self._unsent: memoryview | None = None
        self.asked = time.perf_counter()

    def ask(self) -> bool:
        """Send the request; whether some of it is still to be sent."""
        self._filled = self._size = 0
        self._unsent = memoryview(self._request)
        return self.send_on()

    def send_on(self) -> bool:
        """Send what the socket takes; whether some is still to be sent."""
        if self._unsent is not None:
            sent = self.socket.send(self._unsent)
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
        return self._unsent is not None

    def receive(self) -> bool:
        """Take what came; whether the answer is whole."""
        count = self.socket.recv_into(self._view[self._filled :])
        if not count:
            raise AnswerError(f"the server closed a connection after {bytes(self._buffer[: self._filled][:1000])!r}")
        self._filled += count
        if not self._size:
            self._read_head()
        if not self._size or self._filled < self._size:
            return False
        if self._filled != self._size or not self._buffer.startswith(self._reply, self._body):
            raise AnswerError(f"not the answer expected: {bytes(self._buffer[: self._filled][:1000])!r}")
        return True

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or not length or int(length[1]) != len(self._reply):
            raise AnswerError(f"not the head expected, 200 and Content-Length {len(self._reply)}: {head!r}")
        self._body = end + 4
        self._size = self._body + len(self._reply)


class Load:
    """The connections of one round, and the count of right answers; the `with` block closes them."""

    def __init__(self, port: int, request: bytes, reply: bytes, connections: int) -> None:
        self.count = 0
        self.last = time.perf_counter()  # when the last answer came
        self.took: list[float] = []  # seconds of each answer
        self._poll = select.epoll()
        made = [Connection(port, request, reply) for _ in range(connections)]
        self._connections = {connection.socket.fileno(): connection for connection in made}
        self._working = len(made)

    def __enter__(self) -> "Load":
        for number, connection in self._connections.items():
            self._poll.register(number, self._interest(connection.ask()))
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()

    def run(self, seconds: float) -> None:
        """Ask again on every answer for so long."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            for number, event in self._poll.poll(left):
                if self._whole(number, event) and self._connections[number].ask():
                    self._poll.modify(number, self._interest(True))

    def finish(self) -> None:
        """Wait for the answers under way."""
        deadline = time.perf_counter() + PATIENCE
        while self._working:
            events = self._poll.poll(max(0.0, deadline - time.perf_counter()))
            if not events:
                raise AnswerError(f"{self._working} answers did not come within {PATIENCE} s")
            self._working -= sum(self._whole(number, event) for number, event in events)

    def _whole(self, number: int, event: int) -> bool:
        connection = self._connections[number]
        if event & select.EPOLLOUT and not connection.send_on():
            self._poll.modify(number, self._interest(False))
        if not event & ~select.EPOLLOUT or not connection.receive():
            return False
        self.count += 1
        self.last = time.perf_counter()
        self.took.append(self.last - connection.asked)
        connection.asked = self.last  # it is asked again at once
        return True

    @staticmethod
    def _interest(unsent: bool) -> int:
        return select.EPOLLIN | select.EPOLLOUT if unsent else select.EPOLLIN


def measure(port: int, exchange: Exchange, reply: bytes, connections: int, seconds: float) -> Sample:
    """Ask over `connections` connections for `seconds` after a warm-up, then let the last answers come."""
    return _measured(port, exchange, reply, connections, seconds)[0]


def timed(port: int, exchange: Exchange, reply: bytes, connections: int, seconds: float) -> Sample:
    """As `measure`, with the times of single answers."""
    sample, took = _measured(port, exchange, reply, connections, seconds)
    took.sort()
    return replace(sample, took=(took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3))


def _measured(
    port: int, exchange: Exchange, reply: bytes, connections: int, seconds: float
) -> tuple[Sample, list[float]]:
    with Load(port, exchange.encode(port), reply, connections) as load:
        load.run(WARM_UP)
        before, began = load.count, load.last
        cpu, clock = time.process_time(), time.perf_counter()
        load.run(seconds)
        after, ended = load.count, load.last
        share = (time.process_time() - cpu) / (time.perf_counter() - clock)
        load.finish()
    if after == before:
        raise AnswerError(f"no answer within {seconds} s; give more --seconds")
    return Sample((after - before) / (ended - began), load.count, share), load.took[before:after]
