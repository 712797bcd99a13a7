"""A folder of a web server as a store for reading: what others serve there as `ab/cd/<digest>`, such as a directory of ours."""

from __future__ import annotations

from urllib.parse import urlsplit

from xooai.content import key_of
from xooai.errors import InvalidArgument, PermissionDenied
from xooai.plugins import hookimpl
from xooai.store import Content, Opener, Store, StoreOptions
from xooai_fsspec.objects import Reading
from xooai_fsspec.places import web_engine

__all__ = ["Web", "xooai_store"]


class Web(Reading):
    """Contents below a URL, to get. The operator chooses it, and it is asked for nothing but keys."""

    async def put(self, content: Content, *, durable: bool = False) -> None:
        key_of(content.signature)
        if await self.size(content.signature) != content.size:
            raise PermissionDenied(
                f"the store {self.name!r} is a web server, which is only read; put where it has it from"
            )


class _Webs:
    def open(self, url: str, options: StoreOptions) -> Store:
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise InvalidArgument(
                "no place for a store; it is written https://host/folder, and credentials are headers: "
                "storage_options={'client_options': {'default_headers': ...}}"
            )
        engine, secrets = web_engine(url, options)
        return Web(engine, url, options.name or parts.scheme.lower(), secrets=secrets)


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of http:// and https://."""
    return _Webs() if scheme in ("http", "https") else None
