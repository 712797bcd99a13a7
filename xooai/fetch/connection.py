"""One question to one server, on a connection of its own to an address that was checked; h11 reads what comes back."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xooai.errors import DataLoss, DeadlineExceeded, InvalidArgument, Unavailable
from xooai.fetch.answers import Head
from xooai.fetch.url import Target
from xooai.optional import load

if TYPE_CHECKING:
    import h11

__all__ = ["Connection"]

HEAD_LIMIT = (
    32 * 1024
)  # bytes before the content, those of heads before the final one too: as servers take of a request
FIELDS_LIMIT = 100  # as servers take, too
HEAD_PIECE = 4096  # bytes read at once while the head is not there: so far may it exceed its limit
PIECE = 64 * 1024  # bytes read at once of the content, and the most in one chunk
OVERHEAD = 128 * 1024  # bytes of framing beyond as much as there is content: chunks of a byte each cost the loop's time


class Connection:
    """Sends one GET and reads its answer. `shown` is the URL as errors may have it; `deadline` is by the loop's clock."""

    def __init__(self, target: Target, shown: str, deadline: float) -> None:
        self._target, self._shown, self._deadline = target, shown, deadline
        self._h11 = load("h11", "fetching a URL", "fetch")
        self._parser: h11.Connection = self._h11.Connection(self._h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._read = self._given = 0
        self._is_over = False

    async def ask(
        self, addresses: Sequence[str], fields: Sequence[tuple[str, str]], trust: str | None, first_byte: float
    ) -> Head:
        """Connect and return the head of the final answer. `first_byte` is by the loop's clock, too."""
        try:
            async with asyncio.timeout_at(first_byte):
                await self._connect(addresses, _tls(trust) if self._target.scheme == "https" else None, first_byte)
                self._send(fields)
                return await self._head()
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._shown} cannot be fetched: its server is too slow to answer") from error
        except OSError as error:
            raise Unavailable(f"{self._shown} cannot be fetched: {_reason(error)}") from error
        except self._h11.RemoteProtocolError as error:
            raise Unavailable(
                f"{self._shown} cannot be fetched: its server gives no right answer of HTTP/1.1"
            ) from error

    async def _connect(self, addresses: Sequence[str], tls: ssl.SSLContext | None, until: float) -> None:
        """To the first that answers, each in its share of the time."""
        loop = asyncio.get_running_loop()
        name = self._target.host if tls else None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout((until - loop.time()) / left):
                    self._reader, self._writer = await asyncio.open_connection(
                        address, self._target.port, ssl=tls, server_hostname=name
                    )
                return
            except OSError:  # TimeoutError and what TLS raises are OSErrors
                if left == 1:
                    raise

    def _send(self, fields: Sequence[tuple[str, str]]) -> None:
        assert self._writer is not None
        request = self._h11.Request(
            method="GET",
            target=self._target.path,
            headers=[("Host", self._target.authority), *fields, ("Connection", "close")],
        )
        self._writer.write((self._parser.send(request) or b"") + (self._parser.send(self._h11.EndOfMessage()) or b""))

    async def _head(self) -> Head:
        while True:
            event = self._parser.next_event()
            if event is self._h11.NEED_DATA:
                if self._read > HEAD_LIMIT:
                    raise self._h11.RemoteProtocolError("the head is too long")
                await self._feed(HEAD_PIECE)
            elif isinstance(event, self._h11.Response):
                if len(event.headers) > FIELDS_LIMIT:
                    raise self._h11.RemoteProtocolError("the head has too many fields")
                return event.status_code, list(event.headers)
            elif not isinstance(event, self._h11.InformationalResponse) or event.status_code == 101:
                raise self._h11.RemoteProtocolError("no answer to what was asked")

    async def chunk(self) -> bytes:
        """The next bytes of the content, at most `PIECE`; none at its end, which was told by the server."""
        parts: list[bytes] = []
        try:
            while not self._is_over:
                event = self._parser.next_event()
                if isinstance(event, self._h11.Data):
                    parts.append(bytes(event.data))
                elif event is self._h11.NEED_DATA and not parts:
                    await self._feed_in_time()
                else:
                    self._is_over = event is not self._h11.NEED_DATA
                    break
        except self._h11.RemoteProtocolError as error:
            came = self._given + sum(map(len, parts))
            raise DataLoss(f"{self._shown} broke off, or became malformed, after {came:,} bytes") from error
        chunk = parts[0] if len(parts) == 1 else b"".join(parts)
        self._given += len(chunk)
        if self._read > 2 * self._given + OVERHEAD:
            raise Unavailable(f"{self._shown} cannot be fetched: its server sends more framing than content")
        return chunk

    async def _feed_in_time(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._feed(PIECE)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self._shown} was not fetched in time: {self._given:,} bytes came") from error
        except OSError as error:
            raise Unavailable(f"{self._shown} broke off after {self._given:,} bytes: {_reason(error)}") from error

    async def _feed(self, size: int) -> None:
        data = await self._reader.read(size)
        self._read += len(data)
        self._parser.receive_data(data)

    def close(self) -> None:
        """At once, without a word to the server. Any number of times."""
        if self._writer is not None:
            self._writer.transport.abort()


@functools.lru_cache(maxsize=8)
def _tls(trust: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=trust)
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"trust={trust!r} is no readable PEM file of certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS with its server fails"
    if error.errno is None:
        return "its server broke off"
    return f"its server: {os.strerror(error.errno)}"  # asyncio's own text has the address, which may be an inner one
