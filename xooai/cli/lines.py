"""Many calls from a file to a file, one line each: a run that was ended is taken up where its output ends."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from xooai.driver import MESSAGE_LIMIT
from xooai.errors import FailedPrecondition, InvalidArgument, NotFound, XooaiError, too_large

if sys.platform != "win32":  # where two runs into one file are not told apart
    import fcntl

__all__ = ["Line", "Lines", "Output"]

LONGEST = 2 * MESSAGE_LIMIT  # bytes of a line: a message whose content is base64, and what is told around it
FORM: Literal[1] = 1
"""Of the lines that are written; one that names no form is of this one, and a later one names its own."""

_BEGIN = b'{"line":'
_SEPARATORS = {one.encode(): f"\\u{ord(one):04x}".encode() for one in "\x85\u2028\u2029"}
"""What some programs take for the end of a line, as it is escaped in JSON, where it stands in texts alone."""


class Line(dict[str, Any]):
    """The arguments of one line of the input; or why there are none."""

    number: int
    digest: str
    error: XooaiError | None = None


class _Told(msgspec.Struct, forbid_unknown_fields=True):
    """A line of the output."""

    line: int
    input: str
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    form: Literal[1] = FORM


class _Form(msgspec.Struct):
    """What a line of any later form says of it."""

    form: int = FORM


class Lines:
    """The lines of a file that are not empty, or of standard input for `-`. Yields from where it was left."""

    def __init__(self, path: str, constants: bytes, read: Callable[[bytes], Mapping[str, Any]]) -> None:
        """`constants` are what all calls get besides, `read` makes arguments of a line. Raises NotFound."""
        if path != "-" and not Path(path).exists():
            raise NotFound(f"there is no file {path!r}")
        self.path, self._read = path, read
        self._file: BinaryIO = sys.stdin.buffer if path == "-" else Path(path).open("rb")  # noqa: SIM115 - close() does
        self.size = os.fstat(self._file.fileno()).st_size if path != "-" else 0
        self.at = 0
        """Bytes that are read."""
        self._salt = hashlib.sha256(constants)
        self._number = 0

    def raw(self) -> tuple[int, str, bytes] | None:
        """The number, the digest and the content of the next line. Raises ResourceExhausted for one that is too long."""
        while text := self._file.readline(LONGEST + 1):
            self.at += len(text)
            self._number += 1
            if len(text) > LONGEST:
                raise too_large(None, LONGEST, f"line {self._number:,} of {self.path}")
            if text := text.strip():
                salted = self._salt.copy()
                salted.update(text)
                return self._number, salted.hexdigest()[:16], text
        return None

    def __iter__(self) -> Iterator[Line]:
        while (found := self.raw()) is not None:
            line = Line()
            line.number, line.digest, text = found
            try:
                line.update(self._read(text))
            except XooaiError as error:
                line.error = error
            yield line

    def close(self) -> None:
        if self.path != "-":
            self._file.close()


class Output:
    """What the results are written to, a line each, in the order of the input."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.done = self.failed = 0
        """Lines that are in it, and those of them that are errors."""
        if path == "-":
            self._file: BinaryIO = sys.stdout.buffer
            return
        self._file = Path(path).open("a+b", buffering=0)  # noqa: SIM115 - close() does
        if sys.platform != "win32":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.close()
                raise FailedPrecondition(f"{path!r} is being written by another run") from None

    def take_up(self, lines: Lines) -> None:
        """Pass the lines of the input that it has already, and cut off one that was not written to its end.

        Raises FailedPrecondition where it is of another input or a later form, and InvalidArgument where it is something else.
        """
        if self.path == "-":
            return
        end = 0
        with Path(self.path).open("rb") as written:
            while text := written.readline(LONGEST + 1):
                if not text.endswith(b"\n") and len(text) <= LONGEST and text[: len(_BEGIN)] == _BEGIN[: len(text)]:
                    break
                self._compare(text, lines)
                end += len(text)
        if end < os.fstat(self._file.fileno()).st_size:
            self._file.truncate(end)

    def write(self, line: Line, result: bytes | None, error: XooaiError | None) -> None:
        """Add a line, whole, before anything else is done."""
        self.done += 1
        kind, value = "result", result
        if error is not None:
            self.failed += 1
            kind, value = "error", msgspec.json.encode(_shown(error), enc_hook=str)
        text = b'{"line":%d,"input":"%s","%s":%s}\n' % (line.number, line.digest.encode(), kind.encode(), value)
        if not text.isascii():
            for separator, escape in _SEPARATORS.items():
                text = text.replace(separator, escape)
        while text:
            text = text[self._file.write(text) :]
        if self.path == "-":
            self._file.flush()

    def close(self) -> None:
        if self.path != "-":
            self._file.close()

    def _compare(self, text: bytes, lines: Lines) -> None:
        where = f"line {self.done + 1:,} of {self.path}"
        try:
            told = msgspec.json.decode(text, type=_Told)
        except (msgspec.DecodeError, RecursionError):
            if (form := _form(text)) > FORM:
                raise FailedPrecondition(
                    f"{where}: a later version of xooai has written it, in form {form}; this one reads up to {FORM}; "
                    "name another --output"
                ) from None
            raise InvalidArgument(f"{where} is nothing that this command writes; name another --output") from None
        found = lines.raw()
        if found is None or (told.line, told.input) != found[:2]:
            given = "has no such line" if found is None else f"has something else in line {found[0]:,}"
            raise FailedPrecondition(
                f"{where} is of another input: {lines.path} {given}, or other arguments are given; name another --output"
            )
        self.done += 1
        self.failed += told.error is not msgspec.UNSET


def _form(text: bytes) -> int:
    try:
        return msgspec.json.decode(text, type=_Form).form
    except (msgspec.DecodeError, RecursionError):
        return FORM


def _shown(error: XooaiError) -> dict[str, Any]:
    return {"code": error.code.name, "message": error.message, **({"details": error.details} if error.details else {})}
