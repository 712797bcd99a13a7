"""Whom a document came from, and what of its ref may be read here."""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn, Protocol, TypeVar

import msgspec

from xooai.errors import PermissionDenied
from xooai.redact import redact

__all__ = ["NO_MARKS", "STRANGER", "AllBut", "Fresh", "Handed", "Marks", "Origin", "Sure", "Wanted", "refused"]

T = TypeVar("T")


class Wanted(msgspec.Struct, frozen=True):
    """What is to be read: a ref as a peer gave it, and what that peer said of the content."""

    ref: str
    signature: str | None = None
    size: int | None = None


class Origin(Protocol):
    """Stands for a peer: its documents are read through this, and by no other rules. What it gives is verified."""

    def check(self, ref: str) -> None:
        """Raise PermissionDenied for a ref that is not opened here, whatever it leads to. Waits for nothing."""

    async def read(self, wanted: Wanted) -> bytes:
        """The content. Raises PermissionDenied, NotFound, DataLoss, Unavailable."""

    async def open(self, wanted: Wanted, *, is_whole: bool = False) -> BinaryIO:
        """The content as a file that can seek; it belongs to the caller. Unless it is to be `is_whole`, what is large may be
        fetched as it is read; that is not verified. Raises as `read`.
        """

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in this thread, which no loop runs in, for one of the above."""


Marks = Mapping[str | None, Origin]
"""The refs of documents that came from a peer, and from which; None stands for those without a ref."""

NO_MARKS: Marks = MappingProxyType({})


def refused(ref: str) -> PermissionDenied:
    """The error for a ref that is not opened here."""
    return PermissionDenied(
        f"the ref {redact(ref)!r} came from a peer and is not opened here; send the content inline (value=)"
    )


class _Stranger:
    """A peer of whom nothing is known: none of its refs is opened."""

    def check(self, ref: str) -> NoReturn:
        raise refused(ref)

    async def read(self, wanted: Wanted) -> bytes:
        raise refused(wanted.ref)

    async def open(self, wanted: Wanted, *, is_whole: bool = False) -> BinaryIO:
        raise refused(wanted.ref)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        work.close()
        raise PermissionDenied("what came from a peer is not opened here")

    def __reduce__(self) -> str:
        return "STRANGER"


STRANGER: Origin = _Stranger()
"""Also what an origin becomes where a document is pickled or copied to another process."""


class AllBut(dict[str | None, Origin]):
    """The marks of all documents but those whose refs are `own`: of whom a document comes that is made of plain data, nobody
    knows, so it is a stranger's.
    """

    _own: Collection[str | None] = ()

    def __init__(self, known: Marks = NO_MARKS, own: Collection[str | None] = ()) -> None:
        super().__init__(known)
        self._own = own

    def __contains__(self, ref: object) -> bool:
        return super().__contains__(ref) or (ref is not None and ref not in self._own)

    def __missing__(self, ref: str | None) -> Origin:
        return STRANGER

    def __bool__(self) -> bool:
        return True


class Handed(AllBut):
    """As AllBut, of what goes from node to node of a Flow as the objects that they are: `value`, where it may."""

    value: Any = None

    @classmethod
    def of(cls, value: Any) -> Handed:
        """The marks of a value that goes as it is: there is no frame beside which they would stand."""
        found = cls.__new__(cls)
        found.value = value
        return found


class Fresh(dict[str, Any]):
    """Arguments that were made for one call, and that nobody else holds."""


class Sure(Fresh):
    """Of which it is known besides that they are those that the endpoint takes, of the types that it takes."""
