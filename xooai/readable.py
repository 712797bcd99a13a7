"""Reading a document's content: from where it is inline, by this process's own rules, or by those for what a peer sent."""

import asyncio
import threading
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from xooai import forks
from xooai.errors import DataLoss, FailedPrecondition
from xooai.lazy import lazy
from xooai.origin import Origin, Wanted
from xooai.timed import fetching

if TYPE_CHECKING:
    from xooai import local_file
    from xooai import ref as refs
    from xooai import signature as signatures
else:
    local_file = lazy("xooai.local_file")
    refs = lazy("xooai.ref")
    signatures = lazy("xooai.signature")

__all__ = ["Readable", "origin_of"]


class _Readers:
    """One reader of a document at a time. Few documents are read at once, so they share 64 locks."""

    def __init__(self) -> None:
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin with locks that nobody holds, also in the child of a fork."""
        self._locks = tuple(threading.Lock() for _ in range(64))

    def turn(self, doc: object) -> threading.Lock:
        return self._locks[id(doc) % len(self._locks)]


_readers = _Readers()


def origin_of(doc: "Readable") -> Origin | None:
    """Whom a document came from; None for one of this process."""
    origin: Origin | None = doc.__dict__.get("_wire")
    return origin


class Readable:
    """What a document is read by. Its fields, and what was read (`_kept`, `_path`) or told of it (`_wire`), are in `__dict__`."""

    if TYPE_CHECKING:  # of `Doc`: at run time nothing stands here, which pydantic would take for a field

        @classmethod
        def decode(cls, data: bytes) -> Any:
            """Return what `read` gives for the bytes that a ref leads to."""

    def read(self) -> Any:
        """Return the content (Text: str, others: bytes), fetching it once when it is elsewhere.

        Raises NotFound when it is not there, DataLoss when it does not match `signature`, PermissionDenied for a ref
        that came from a peer and leads into no store of this side's, FailedPrecondition on an event loop's own thread when it
        would have to fetch.
        """
        found = self._here()
        if found is not None:
            return found
        origin = self._checked_origin()
        self._refuse_on_loop()
        with fetching:
            return self._fetch() if origin is None else self._keep(origin.wait(origin.read(self._wanted())))

    async def aread(self) -> Any:
        """As `read`, fetching in a worker thread."""
        found = self._here()
        if found is not None:
            return found
        origin = self._checked_origin()
        with fetching:
            if origin is None:
                return await asyncio.to_thread(self._fetch)
            return self._keep(await origin.read(self._wanted()))

    def open(self) -> BinaryIO:
        """Return a seekable binary file with the content; the caller closes it. Raises as `read`.

        A large content that is elsewhere is read as it is asked for: then it is not verified, as `read` and `path` do.
        """
        return self._open()

    def _open(self, *, is_whole: bool = False) -> BinaryIO:
        """As `open`; with `is_whole` all of it is on this machine and verified first, as another process has to have it."""
        found = self._here()
        if found is not None:
            return BytesIO(found.encode() if isinstance(found, str) else found)
        origin = self._checked_origin()
        if origin is not None:
            self._refuse_on_loop()
            with fetching:
                return origin.wait(origin.open(self._wanted(), is_whole=is_whole))
        ref = str(self.__dict__["ref"])
        if refs.local_path(ref) is None:
            self._refuse_on_loop()
        with fetching:
            return self._checked(refs.open_ref(ref))

    def path(self) -> Path:
        """Return a local file with the content, not to be written to. It stays as long as the document. Raises as `read`."""
        given, origin = self.__dict__["value"], None
        if given is None:
            origin = self._checked_origin()
            there = refs.local_path(str(self.__dict__["ref"])) if origin is None else None
            if there is not None:
                if self.__dict__["signature"] is not None:
                    self.open().close()
                return there
        kept: local_file.LocalFile | None = self.__dict__.get("_path")
        if kept is None:
            kept = self.__dict__["_path"] = self._written(origin, given)
        return kept.path

    def _written(self, origin: Origin | None, given: Any) -> "local_file.LocalFile":
        """The content in a file of its own."""
        media_type = self.__dict__["media_type"]
        if origin is None or "_kept" in self.__dict__:
            content = given if given is not None else self.read()
            return local_file.LocalFile(BytesIO(content.encode() if isinstance(content, str) else content), media_type)
        self._refuse_on_loop()
        with fetching, origin.wait(origin.open(self._wanted(), is_whole=True)) as file:
            return local_file.LocalFile(file, media_type)

    def _here(self) -> Any:
        fields = self.__dict__
        value = fields["value"]
        if value is None:
            return fields.get("_kept")
        return value

    def _checked_origin(self) -> Origin | None:
        """Whom it came from, if that allows its ref to be read; None for a document of this process."""
        origin = origin_of(self)
        if origin is not None:
            origin.check(str(self.__dict__["ref"]))
        return origin

    def _wanted(self) -> Wanted:
        fields = self.__dict__
        return Wanted(str(fields["ref"]), fields["signature"], fields["size"])

    def _keep(self, data: bytes) -> Any:
        return self.__dict__.setdefault("_kept", type(self).decode(data))

    def _refuse_on_loop(self) -> None:
        if asyncio._get_running_loop() is not None:
            error = FailedPrecondition(
                f"{self!r} is not here, and fetching it would block this event loop; use: await doc.aread()"
            )
            error._is_of_here = True  # names a file of this machine
            raise error

    def _checked(self, file: BinaryIO) -> BinaryIO:
        """The file, if its content matches `signature`; at its beginning."""
        signature = self.__dict__["signature"]
        if signature is not None:
            try:
                algorithm, _ = signatures.check(signature)
                found, _ = signatures.sign_file(file, algorithm)
                if found != signature:
                    raise DataLoss(f"the content is {found}, it should be {signature}")
                file.seek(0)
            except BaseException:
                file.close()
                raise
        return file

    def _fetch(self, limit: int | None = None) -> Any:
        with _readers.turn(self):
            if "_kept" not in self.__dict__:
                data = refs.read_ref(str(self.__dict__["ref"]), limit)
                self._verify(data)
                self.__dict__["_kept"] = type(self).decode(data)
        return self.__dict__["_kept"]

    def _verify(self, data: bytes) -> None:
        size, signature = self.__dict__["size"], self.__dict__["signature"]
        if size is not None and len(data) != size:
            raise DataLoss(f"the content has {len(data)} bytes, size says {size}")
        if signature is not None:
            signatures.verify(data, signature)
