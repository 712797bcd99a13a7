"""URLs of servers, executors and endpoints, and what they name among those that a server has."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument, NotFound
from xooai.hints import nearest
from xooai.redact import redact

__all__ = ["Address", "endpoints_of", "resolved"]


class Address(msgspec.Struct, frozen=True):
    """Where an executor is: `server` is `scheme://host:port`, `executor` its name there, `endpoint` where one is named."""

    server: str
    executor: str = ""
    endpoint: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """Read `scheme://host:port[/executor[/endpoint]]`. Raises InvalidArgument."""
        if not isinstance(url, str):
            raise InvalidArgument(f"{repr(url)[:80]} is not a URL; it is a str, written scheme://host:port/executor")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidArgument(f"{redact(url)!r} is not a URL: {error}") from None
        if not parts.scheme or not parts.hostname:
            raise InvalidArgument(f"{redact(url)!r} is not a URL; it is written scheme://host:port/executor")
        if parts.username is not None or parts.query or parts.fragment:
            raise InvalidArgument(f"{redact(url)!r} holds a user, query or fragment; credentials go into metadata")
        names = [name for name in parts.path.split("/") if name]
        if len(names) > 2:
            raise InvalidArgument(
                f"{redact(url)!r} has {len(names)} names in its path; it takes /executor or /executor/endpoint"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}" + (f":{port}" if port is not None else ""), *names)


def resolved(address: Address, known: Mapping[str, Mapping[str, Endpoint]]) -> tuple[str, Endpoint]:
    """Executor and endpoint that a URL names; with one name in its path, the one endpoint of that name."""
    executor, name = address.executor, address.endpoint
    if not name:
        name = executor
        found = [one for one, endpoints in known.items() if name in endpoints]
        if len(found) != 1:
            listed = ", ".join(f"{one}/{name}" for one, endpoints in known.items() for name in endpoints)
            raise NotFound(
                f"{address.server} has {len(found) or 'no'} endpoints {name!r}; write /executor/endpoint, one of: {listed}"
            )
        executor = found[0]
    endpoints = endpoints_of(address.server, executor, known)
    if name not in endpoints:
        raise NotFound(
            f"{address.server} has no endpoint '{executor}/{name}'{nearest(name, endpoints)}; "
            f"there are: {', '.join(endpoints)}"
        )
    return executor, endpoints[name]


def endpoints_of(server: str, executor: str, known: Mapping[str, Mapping[str, Endpoint]]) -> Mapping[str, Endpoint]:
    """The endpoints of one of the `known` executors. Raises NotFound listing them."""
    if executor not in known:
        raise NotFound(
            f"{server} has no executor {executor!r}{nearest(executor, known)}; there are: {', '.join(known) or 'none'}"
        )
    return known[executor]
