"""What a store implements, and what it is given: contents by their signatures, streamed both ways.

A store has `put` and `get`. What it can do beyond these it shows by further methods, each a protocol of its own here:
`isinstance(store, Sizes)` tells.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Protocol, runtime_checkable

import msgspec

__all__ = [
    "CHUNK",
    "Content",
    "Copies",
    "Deletes",
    "Entry",
    "Lists",
    "OnDisk",
    "Opener",
    "Opens",
    "Presigns",
    "Sizes",
    "Store",
    "StoreOptions",
    "Sweeps",
    "Takes",
]

CHUNK = 1024 * 1024  # bytes in one chunk at most: what a reader has in memory for each content that it reads
ABANDONED = 3600.0  # seconds without a write after which what a put has left behind is taken for that of a dead process


class Content(Protocol):
    """What is put: `size` bytes whose signature is known already."""

    signature: str
    size: int

    def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`, in chunks of any size. A store may read again, from any place, for parts and
        retries; a content that can be read only once raises Unavailable then.
        """


@runtime_checkable
class OnDisk(Protocol):
    """A content in a file of this machine: a store may read it there, in a thread of its own."""

    signature: str
    size: int

    def open(self) -> BinaryIO:
        """The file, opened anew, at its beginning; it belongs to the caller."""


class Store(Protocol):
    """Contents by signature, on one loop: what another loop needs it opens for itself.

    NotFound: no such content. DataLoss: what was read while it was put does not match its signature; nothing was stored.
    ResourceExhausted, reason "storage": no room. PermissionDenied: this side may not. Unavailable: out of reach, or broken.
    InvalidArgument: no signature, or no range. No text of theirs has a secret in it.
    """

    name: str
    """What the operator calls it."""

    url: str
    """Where it is, without secrets."""

    async def put(self, content: Content, *, durable: bool = False) -> None:
        """Store a content: as a whole, checked against its signature while it is read, or not at all. What is there already
        is not read. `durable` waits until it survives a power cut.
        """

    def get(self, signature: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end`, as a slice of the whole has them, in chunks of at most `CHUNK` bytes, read as they
        are asked for. Not verified: who reads the whole does that. Close it (`contextlib.aclosing`) where reading ends early.
        """

    async def aclose(self) -> None:
        """Let go of connections and threads. Any number of times."""


class Entry(msgspec.Struct, frozen=True):
    """A content in a store: `modified` in seconds since 1970, by the store's clock."""

    signature: str
    size: int
    modified: float


@runtime_checkable
class Sizes(Protocol):
    """Tells what is there, without reading it."""

    async def size(self, signature: str) -> int | None:
        """The size in bytes; None where there is no such content."""


@runtime_checkable
class Deletes(Protocol):
    """Removes contents."""

    async def delete(self, signature: str) -> None:
        """Remove a content. Nothing happens where it is not there; who reads it already may read on, or gets Unavailable."""


@runtime_checkable
class Lists(Protocol):
    """Tells all that is there."""

    def entries(self) -> AsyncGenerator[Entry, None]:
        """All contents, in no order; what is put or deleted meanwhile may be among them or not."""


@runtime_checkable
class Opens(Protocol):
    """Has its contents as files on this machine."""

    async def open(self, signature: str) -> BinaryIO:
        """A file for reading that can seek and has a `fileno`; it belongs to the caller. It stays readable when the content is
        deleted. Raises as `get` does.
        """


@runtime_checkable
class Takes(Protocol):
    """Puts a file whose signature nobody knows yet, reading it once, where signing first would read it twice."""

    async def take(self, file: BinaryIO, *, durable: bool = False) -> tuple[str, int]:
        """Put what is left to read in a file; return signature and size. The file stays the caller's, and is used in a thread."""


@runtime_checkable
class Presigns(Protocol):
    """Gives URLs by which others read without credentials."""

    async def presign(self, signature: str, seconds: float) -> str:
        """A URL that reads this content, for so many seconds from now. It is a secret: who has it may read."""


@runtime_checkable
class Copies(Protocol):
    """Takes contents over from another store of its backend, without their bytes passing through here."""

    async def copy_from(self, other: Store, signature: str) -> bool:
        """Have the content too; False where these two cannot: then it has to be read and put. Raises as `get` does."""


@runtime_checkable
class Sweeps(Protocol):
    """Removes what puts of processes that died have left behind; no reader ever sees that."""

    async def sweep(self, older: float = ABANDONED) -> int:
        """Remove what was not written to for `older` seconds; return how much there was."""


class StoreOptions(msgspec.Struct, frozen=True):
    """How to open a store: `name` is what the operator calls it, `storage_options` are the backend's own, with credentials."""

    name: str = ""
    storage_options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        shown = ", ".join(f"{key!r}: ***" for key in self.storage_options)
        return f"StoreOptions(name={self.name!r}, storage_options={{{shown}}})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich shows, in tracebacks too; msgspec's own would show the values."""
        return [("name", self.name), ("storage_options", dict.fromkeys(self.storage_options, "***"))]


class Opener(Protocol):
    """A kind of stores: found by the scheme of a URL."""

    def open(self, url: str, options: StoreOptions) -> Store:
        """The store at `scheme://place/prefix`. Connects to nothing and creates nothing yet. Raises InvalidArgument."""
