"""The client's side of the gRPC driver: a link with one gRPC channel, on which calls of all shapes are opened."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import grpc

from xooai.driver import DialOptions, Head, Shape
from xooai.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from xooai.http import request_target
from xooai.place import Place, called_at, client_tls
from xooai_grpc.calls import StreamCall, UnaryCall
from xooai_grpc.limits import PORTS, ClientLimits
from xooai_grpc.metadata import request_metadata

__all__ = ["GrpcLink"]

_KEPT = 1024  # paths and heads kept ready: a server has some dozens of endpoints


class GrpcLink:
    """Calls to the server at `url`. Connects with the first call, and stays on its loop."""

    def __init__(self, url: str, options: DialOptions, limits: ClientLimits) -> None:
        self._place = called_at(url, PORTS)
        self._credentials = _credentials(self._place, options)
        self._options = limits.options(options.message_limit)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[tuple[str, Shape], Callable[..., Any]] = {}
        self._ready: tuple[Head, grpc.aio.Metadata] | None = None
        """The metadata of the head that was sent last: a caller gives the same one again and again."""
        self.end_of_stream = secrets.token_hex(16)  # what no item of a stream is
        self.is_leaving = False
        self._is_closed = False
        self._is_suspect = False
        self._streams: WeakSet[StreamCall] = WeakSet()
        """Those that may be under way: closing the channel cancels only what somebody waits for."""
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def peer(self) -> str:
        """The server, as errors name it."""
        return self._place.peer

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def suspect(self) -> None:
        """Told by a call that the server was not there: the next one does not wait for gRPC's own next attempt."""
        self._is_suspect = True

    async def open(self, head: Head, request: bytes | None = None) -> UnaryCall | StreamCall:
        """Open a call. What this raises was raised before a byte of the call was sent: it did not run."""
        if self._channel is None or self._is_suspect or self._loop is not asyncio.get_running_loop():
            self._connect()
        if head.timeout is not None and head.timeout <= 0:
            raise DeadlineExceeded(f"no time is left for the call to {self.peer}: timeout={head.timeout:g} s")
        shape = head.shape
        if (request is None) != bool(shape & Shape.CLIENT):
            raise FailedPrecondition(
                "the one frame of the request comes with its head, unless the call streams its request: then none does"
            )
        method = self._methods.get((head.path, shape)) or self._method(head.path, shape)
        ready = self._ready
        metadata = ready[1] if ready is not None and ready[0] is head else self._metadata(head)
        if shape & Shape.CLIENT:
            return self._streaming(StreamCall(self, head, method(timeout=head.timeout, metadata=metadata)))
        begin = partial(method, request, metadata=metadata)
        if shape:
            return self._streaming(StreamCall(self, head, begin(timeout=head.timeout), begin))
        return UnaryCall(self, head, begin(timeout=head.timeout), begin)

    async def aclose(self) -> None:
        """Close the connection; calls under way end with Unavailable, later ones too."""
        self._is_closed = True
        channel, self._channel = self._channel, None
        if channel is not None and self._loop is asyncio.get_running_loop():  # else its loop is closed, and it with it
            for call in list(self._streams):
                call.cut_off()
            await channel.close()
            if self._closing:
                await asyncio.wait(self._closing)

    def _streaming(self, call: StreamCall) -> StreamCall:
        self._streams.add(call)
        return call

    def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        if self._is_closed:
            raise Unavailable(f"the link to {self.peer} has been closed")
        if self._loop is not None and self._loop is not loop:
            raise FailedPrecondition(
                f"the link to {self.peer} belongs to another event loop; dial once more on this one"
            )
        channel = self._channel
        self._is_suspect = False
        if channel is not None:
            if channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                return
            # It would wait up to two minutes before it tries again, and fail all calls until then.
            closing = loop.create_task(channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._loop = loop
        self._methods.clear()
        target = _target(self._place)
        if self._credentials is None:
            self._channel = grpc.aio.insecure_channel(target, self._options)
        else:
            self._channel = grpc.aio.secure_channel(target, self._credentials, self._options)

    def _method(self, path: str, shape: Shape) -> Callable[..., Any]:
        if not path.startswith("/"):
            raise InvalidArgument(f"the path of the call is {path!r}; it takes /executor/endpoint")
        channel = self._channel
        assert channel is not None
        opener: Callable[[str], Any] = channel.stream_stream  # for one reply, too: it may come before the request's end
        if not shape & Shape.CLIENT:
            opener = channel.unary_stream if shape else channel.unary_unary
        opened: Callable[..., Any] = opener(request_target(path))
        if len(self._methods) >= _KEPT:  # somebody makes up paths; what is needed comes back with its next call
            self._methods.clear()
        self._methods[path, shape] = opened
        return opened

    def _metadata(self, head: Head) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(*request_metadata(head, self.end_of_stream))
        if not head.metadata:  # otherwise it may be another the next time, such as a token that was renewed
            self._ready = head, metadata
        return metadata


def _target(place: Place) -> str:
    """The server as gRPC names it: nothing in it is taken for another of its name systems."""
    if ":" in place.host:
        return f"ipv6:{place.peer}"
    return f"ipv4:{place.peer}" if place.host.replace(".", "").isdigit() else f"dns:///{place.peer}"


def _credentials(place: Place, options: DialOptions) -> grpc.ChannelCredentials | None:
    context = client_tls(place, "grpc", options, ["h2"])  # says what is wrong with the files, which gRPC does not
    if context is None:
        return None
    # None, where the system keeps its authorities in a folder that OpenSSL searches by name: gRPC's own list of them.
    roots = "".join(map(ssl.DER_cert_to_PEM_cert, context.get_ca_certs(binary_form=True))).encode() or None
    if options.trust is not None:
        roots = Path(options.trust).read_bytes()
    if options.certificate is None:
        return grpc.ssl_channel_credentials(root_certificates=roots)
    certificate = Path(options.certificate).read_bytes()
    key = Path(options.key).read_bytes() if options.key is not None else certificate
    return grpc.ssl_channel_credentials(roots, key, certificate)
