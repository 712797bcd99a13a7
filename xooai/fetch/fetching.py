"""To fetch: check, look up, check again, connect, ask, and begin anew with where a redirect leads."""

from __future__ import annotations

import asyncio

import msgspec

from xooai.errors import DeadlineExceeded, PermissionDenied, too_large
from xooai.fetch.answers import REDIRECTS, Answer, Head, Span, fields_for, judged, location_of
from xooai.fetch.connection import Connection
from xooai.fetch.fetched import Fetched
from xooai.fetch.lookup import addresses_of
from xooai.fetch.policy import FetchPolicy
from xooai.fetch.url import Target, read_location, read_url
from xooai.file_chunks import check_range
from xooai.redact import redact

__all__ = ["Probe", "check", "open", "probe"]


class Probe(msgspec.Struct, frozen=True):
    """What a server tells of a content: its size in bytes, where known, and whether it gives parts of it."""

    size: int | None
    is_range: bool
    media_type: str | None
    etag: str | None


def check(url: str, policy: FetchPolicy) -> None:
    """Raise PermissionDenied for a URL that the policy does not let be asked for. Looks nothing up."""
    _allowed(url, policy, repr(redact(url)))


async def open(url: str, policy: FetchPolicy, start: int = 0, end: int | None = None) -> Fetched:
    """Begin to fetch what is at `url`, or its bytes from `start` up to `end`, as a slice of the whole has them.

    To be closed: `async with await fetch.open(url, policy) as fetched:`. PermissionDenied: the policy does not allow it, or its
    server does not. NotFound: nothing is there. ResourceExhausted: it is larger than the policy's `limit` (reason "size"), or too
    many hosts are looked up just now ("load"). Unavailable: out of reach, or no answer that is understood. DeadlineExceeded.
    """
    check_range(start, end)
    span, shown = Span(start, end), repr(redact(url))
    target, connection, head = await _asked(url, shown, policy, span)
    try:
        answer = judged(head, span, shown)
        length = _to_read(answer, span)
        if length is not None and length > policy.limit:
            raise too_large(length, policy.limit, shown)
    except BaseException:
        connection.close()
        raise
    return Fetched(connection, answer, policy.limit, target.url, shown)


async def probe(url: str, policy: FetchPolicy) -> Probe:
    """Ask for size, media type and whether there are parts, of a content of any size. Raises as `open` does.

    By a GET of the first byte: a URL that is signed for reading often does not stand for HEAD.
    """
    span, shown = Span(0, 1), repr(redact(url))
    _, connection, head = await _asked(url, shown, policy, span)
    try:
        answer = judged(head, span, shown)
    finally:
        connection.close()
    return Probe(answer.size, answer.is_range, answer.media_type, answer.etag)


def _to_read(answer: Answer, span: Span) -> int | None:
    """How much of the content goes over the network, where that is known."""
    if answer.length is None:
        return None
    return 0 if answer.length == 0 else answer.skipped + answer.length


async def _asked(url: str, shown: str, policy: FetchPolicy, span: Span) -> tuple[Target, Connection, Head]:
    """The first answer that is no redirect; the connection is the caller's."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + policy.timeout
    target = _allowed(url, policy, shown)
    for _ in range(policy.redirects + 1):
        first_byte = min(loop.time() + policy.first_byte, deadline)
        try:
            async with asyncio.timeout_at(first_byte):
                addresses = await addresses_of(target, policy, shown)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{shown} cannot be fetched: its host takes too long to look up") from error
        connection = Connection(target, shown, deadline)
        try:
            head = await connection.ask(addresses, fields_for(span), policy.trust, first_byte)
            if head[0] not in REDIRECTS:
                return target, connection, head
            target = _allowed(location_of(head, shown), policy, shown, target)
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise PermissionDenied(f"{shown} may not be fetched: it redirects more than {policy.redirects} times")


def _allowed(url: str, policy: FetchPolicy, shown: str, base: Target | None = None) -> Target:
    """Read a URL, or where a redirect from `base` leads, and look whether the policy lets it be asked for."""
    what = f"{shown} may not be fetched:" if base is None else f"{shown} may not be fetched, since it redirects:"
    try:
        target = read_url(url) if base is None else read_location(url, base)
    except ValueError as error:
        raise PermissionDenied(f"{what} {error}") from None
    if base is not None and base.scheme == "https" and target.scheme == "http":
        raise PermissionDenied(f"{what} from https to http")
    if target.port not in policy.ports:
        allowed = ", ".join(map(str, sorted(policy.ports)))
        raise PermissionDenied(f"{what} its port is {target.port}, and those allowed are {allowed}")
    if not policy.allows(target.host):
        raise PermissionDenied(f"{what} its host is not among those allowed")
    return target
