"""A server as the command line sees it: reached by a URL, known by its description."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NotRequired, TypedDict, TypeVar

import click
import msgspec

from xooai.address import Address
from xooai.cli.amounts import Number
from xooai.cli.values import value_of
from xooai.client import Remote
from xooai.codec import MSGPACK, codec_of
from xooai.describe import endpoint as describe_endpoint
from xooai.driver import DialOptions
from xooai.endpoint import Endpoint
from xooai.errors import DeadlineExceeded, NotFound
from xooai.hints import nearest
from xooai.remote_stream import open_stream
from xooai.shared_stores import store_of
from xooai.streams import Stream

__all__ = ["Reaching", "Server", "asked", "reached", "reaching"]

F = TypeVar("F", bound=Callable[..., Any])


class Reaching(TypedDict):
    """What the options of a command say of the way to a server."""

    timeout: float
    metadata: Mapping[str, str]
    trust: str | None
    certificate: str | None
    key: str | None
    codec: NotRequired[str | None]


class Server(msgspec.Struct, frozen=True):
    """A server and the way to it: `timeout` in seconds for all calls together, `trust` a PEM file of authorities,
    `certificate` and `key` PEM files for a server that asks who calls, `store` where both sides find large contents.
    """

    url: str
    timeout: float
    metadata: Mapping[str, str] = {}
    trust: str | None = None
    certificate: str | None = None
    key: str | None = None
    codec: str | None = None
    store: str | None = None

    @property
    def options(self) -> DialOptions:
        return DialOptions(trust=self.trust, certificate=self.certificate, key=self.key)


def reaching(timeout: float, help: str = "How long all may take.") -> Callable[[F], F]:
    """Give a command the options that say how to reach a server; `timeout` is the default, in seconds, of what `help` says."""
    added = [
        click.option(
            "--timeout",
            type=Number(min=0, min_open=True),
            default=timeout,
            metavar="SECONDS",
            show_default=True,
            help=help,
        ),
        click.option(
            "-m",
            "--metadata",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_metadata,
            help="Sent beside the call; VALUE may be @FILE.",
        ),
        click.option(
            "--trust",
            metavar="FILE",
            callback=_trust,
            help="PEM file of authorities to trust instead of the system's; for quic:// also sha256:FINGERPRINT.",
        ),
        click.option(
            "--certificate",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="PEM file with this client's certificate, for a server that asks for one.",
        ),
        click.option(
            "--key",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="PEM file with the certificate's key.",
        ),
    ]

    def add(command: F) -> F:
        for option in reversed(added):
            command = option(command)
        return command

    return add


def _trust(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    """A file that is there, or a fingerprint."""
    if given is None or given.lower().startswith("sha256:"):
        return given
    return str(click.Path(exists=True, dir_okay=False).convert(given, param, ctx))


def _metadata(ctx: click.Context, param: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs; a value `@FILE` is what the file holds, so that a secret is not in the list of processes."""
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{key[:80]!r} is no pair; write key=value", ctx, param)
        if key in found:
            raise click.BadParameter(f"{key[:80]!r} is given twice", ctx, param)
        found[key] = str(value_of(str, [text], key)).strip()
    return found


class Reached:
    """A server while a command talks to it."""

    def __init__(self, server: Server) -> None:
        self.address = Address.of(server.url)
        self._timeout = server.timeout
        self._deadline = asyncio.get_running_loop().time() + server.timeout
        codec = MSGPACK if server.codec is None else codec_of(server.codec)
        self.remote = Remote(
            self.address.server,
            server.options,
            codec,
            server.timeout,
            server.metadata,
            stores=store_of(server.store),
        )

    async def description(self) -> dict[str, Any]:
        """What the server says of its executors. Raises NotFound where nothing describes itself."""
        try:
            found: dict[str, Any] = await self.remote.call("xooai", describe_endpoint(), {}, self._left(), None, None)
        except NotFound as error:
            raise NotFound(
                f"{self.address.server} does not describe itself: is it a xooai server? ({error.message})"
            ) from error
        return found

    async def endpoint(self) -> tuple[str, Endpoint]:
        """The executor and endpoint that the URL names. A name may be left out where there is only one."""
        known = await self.remote.executors(self._left())
        wanted = [name for name in (self.address.executor, self.address.endpoint) if name]
        found = [
            (executor, one)
            for executor, endpoints in known.items()
            for name, one in endpoints.items()
            if wanted in ([], [executor], [name], [executor, name])
        ]
        if len(found) == 1:
            return found[0]
        raise self._several(
            "/".join(wanted), [f"{executor}/{name}" for executor, endpoints in known.items() for name in endpoints]
        )

    def _several(self, wanted: str, known: list[str]) -> NotFound:
        names = ", ".join(known) or "none"
        if not wanted:
            return NotFound(
                f"{self.address.server} has {len(known)} endpoints; write one of them into the URL: {names}"
            )
        matching = [path for path in known if wanted in path.split("/")]
        if matching:
            names = ", ".join(matching)
            return NotFound(
                f"{wanted!r} names {len(matching)} endpoints of {self.address.server}; write one of: {names}"
            )
        return NotFound(f"{self.address.server} has no endpoint {wanted!r}{nearest(wanted, known)}; there are: {names}")

    async def call(self, executor: str, endpoint: Endpoint, arguments: dict[str, Any]) -> Any:
        return await self.remote.call(executor, endpoint, arguments, self._left(), None, None)

    async def open(self, executor: str, endpoint: Endpoint, arguments: dict[str, Any]) -> Stream:
        """Open a call whose replies are a stream."""
        return await open_stream(self.remote, executor, endpoint, arguments, self._left(), None, None)

    def _left(self) -> float:
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeadlineExceeded(f"the time allowed ({self._timeout:g} s) has passed")
        return left

    async def aclose(self) -> None:
        await self.remote.aclose()


@asynccontextmanager
async def reached(server: Server) -> AsyncIterator[Reached]:
    """A server, connected with on first use, let go of at the end. Raises InvalidArgument for what is no URL."""
    found = Reached(server)
    try:
        yield found
    finally:
        await found.aclose()


async def asked(server: Server) -> dict[str, Any]:
    """The description that a server gives of itself."""
    async with reached(server) as there:
        return await there.description()
