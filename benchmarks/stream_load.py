"""Load on a server that streams over HTTP/1.1: connections that ask again as soon as a stream has come to its end.

As in `load`, a loop of its own; httptools takes the chunks apart. Items are counted as their bytes come.
"""

import select
import socket
import time

import httptools

from exchanges import Exchange
from load import PATIENCE, WARM_UP, AnswerError, Sample

SIZE = 256 * 1024  # bytes read at once: what a server writes in one turn


class Reader:
    """One keep-alive connection with one stream under way, whose body has to be the one expected."""

    def __init__(self, port: int, exchange: Exchange, reply: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request, self._reply = exchange.encode(port), reply
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._is_whole = False
        self.size = 0  # bytes of bodies so far

    def ask(self) -> None:
        """Send the request, which is small."""
        self._is_whole = False
        self.socket.sendall(self._request)

    def receive(self) -> bool:
        """Take what came; whether the stream is whole."""
        data = self.socket.recv(SIZE)
        if not data:
            raise AnswerError("the server closed a connection in the middle of a stream")
        self._parser.feed_data(data)
        return self._is_whole

    def on_body(self, part: bytes) -> None:
        """Called by the parser."""
        self._parts.append(part)
        self.size += len(part)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        body = b"".join(self._parts)
        self._parts.clear()
        if self._parser.get_status_code() != 200 or body != self._reply:
            raise AnswerError(f"not the stream expected: {self._parser.get_status_code()} {body[:1000]!r}")
        self._is_whole = True


def measure(port: int, exchange: Exchange, reply: bytes, connections: int, seconds: float) -> Sample:
    """Take streams over `connections` connections for `seconds` after a warm-up, then let the last ones end."""
    size = len(reply) / exchange.items
    readers = [Reader(port, exchange, reply) for _ in range(connections)]
    by_number = {reader.socket.fileno(): reader for reader in readers}
    poll = select.epoll()
    for number, reader in by_number.items():
        poll.register(number, select.EPOLLIN)
        reader.ask()

    def run(until: float, *, is_last: bool = False) -> None:
        left = len(readers)
        while left and (rest := until - time.perf_counter()) > 0:
            for number, _ in poll.poll(rest):
                if by_number[number].receive():
                    if is_last:
                        left -= 1
                    else:
                        by_number[number].ask()
        if is_last and left:
            raise AnswerError(f"{left} streams did not end within {PATIENCE} s")

    try:
        run(time.perf_counter() + WARM_UP)
        before, cpu, began = sum(reader.size for reader in readers), time.process_time(), time.perf_counter()
        run(began + seconds)
        after, share, ended = sum(reader.size for reader in readers), time.process_time() - cpu, time.perf_counter()
        run(ended + PATIENCE, is_last=True)
    finally:
        poll.close()
        for reader in readers:
            reader.socket.close()
    total = sum(reader.size for reader in readers) / size
    return Sample((after - before) / size / (ended - began), round(total), share / (ended - began))
