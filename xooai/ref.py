"""Reading a ref in the user's own process: a path, or any URL that fsspec opens.

Never for a ref that came from a peer: those are not opened by these rules.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from xooai.errors import InvalidArgument, NotFound, PermissionDenied, PluginError, Unavailable, XooaiError, too_large
from xooai.media_type import media_type_of
from xooai.optional import load
from xooai.redact import redact
from xooai.scheme import is_chain, is_local, is_protocol, path_of, scheme_of

__all__ = ["is_local", "local_path", "media_type_of", "open_ref", "read_ref", "redact", "size_of"]

_CHUNK = 1024 * 1024  # bytes read at once where the size is not known

_MALFORMED = (
    ValueError,
    TypeError,
    LookupError,
    zipfile.BadZipFile,
)  # what filesystems raise for a ref that makes no sense


def local_path(ref: str) -> Path | None:
    """Return the path when `ref` is a file on this machine already, None when it is not (or not there)."""
    path = path_of(ref)
    if path is None:
        return None
    with _translated(ref):
        return Path(path) if os.path.isfile(path) else None


def open_ref(ref: str) -> BinaryIO:
    """Open `ref` for reading; the file can seek, and belongs to the caller.

    NotFound, PermissionDenied, InvalidArgument (a directory, an unknown scheme), Unavailable (the network, a server) or
    PluginError (fsspec needs a package more). What cannot seek, as HTTP, is copied to a temporary file first.
    """
    file, _ = _open(ref)
    if _end(file) is not None:
        return file
    with _translated(ref), file:
        copy = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - handed to the caller
        try:
            shutil.copyfileobj(file, copy, _CHUNK)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy


def size_of(ref: str) -> int | None:
    """Return the size in bytes, None when it is not known before reading. Raises as `open_ref` does."""
    file, size = _open(ref)
    file.close()
    return size


def read_ref(ref: str, limit: int | None = None) -> bytes:
    """Return the content; ResourceExhausted when it has more than `limit` bytes, before reading where the size is announced."""
    file, size = _open(ref)
    with file, _translated(ref):
        if limit is not None and size is not None and size > limit:
            raise too_large(size, limit, repr(redact(ref)))
        parts: list[bytes] = []
        total = 0
        while limit is None or total <= limit:
            data = file.read(size - total if size else _CHUNK)  # files in /proc announce 0
            parts.append(data)
            total += len(data)
            if not data or total == size:
                break
        if limit is not None and total > limit:
            raise too_large(None, limit, repr(redact(ref)))
        if size and total < size:
            raise Unavailable(f"{redact(ref)!r} ended after {total:,} of {size:,} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _open(ref: str) -> tuple[BinaryIO, int | None]:
    """The file, which may not be able to seek, and its size, as far as it is announced."""
    path = path_of(ref)
    with _translated(ref):
        if path is not None:
            file = _open_path(path, ref)
        elif scheme_of(ref) in ("http", "https") and not is_chain(ref):
            return _open_http(ref)
        else:
            file = _open_url(ref)
        return file, _end(file)


def _open_path(path: str, ref: str) -> BinaryIO:
    if not path:
        raise InvalidArgument("an empty ref names nothing; give a path or a URL")
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    if not stat.S_ISREG(mode):  # opening a pipe waits for its writer, and it cannot seek
        raise InvalidArgument(f"{ref!r} is no regular file")
    return open(path, "rb")


def _open_http(ref: str) -> tuple[BinaryIO, int | None]:
    """As a stream: fsspec's seekable file fails at its first seek where the server has no ranges, which is not known before."""
    url = _lower(ref)
    filesystem = load("fsspec", "a ref").filesystem(scheme_of(url))  # not url_to_fs: it would take [::1] for two hops
    size = filesystem.info(url).get("size")
    return cast("BinaryIO", filesystem.open(url, "rb", block_size=0, size=size)), size


def _open_url(ref: str) -> BinaryIO:
    if ref.startswith("store:"):
        raise InvalidArgument(f"{redact(ref)!r} is a key in a store; only the store can open it")
    scheme = scheme_of(ref)
    if scheme is not None and not is_chain(ref) and not is_protocol(scheme):
        raise InvalidArgument(
            f"unknown scheme {scheme!r} in {redact(ref)!r}; fsspec.available_protocols() lists what there is"
        )
    filesystem, path = load("fsspec", "a ref").core.url_to_fs(_lower(ref))
    file = filesystem.open(path, "rb")
    if isinstance(file, io.BytesIO):  # memory:// gives every reader the same object, with one position for all of them
        return io.BytesIO(file.getvalue())
    weakref.finalize(
        file, _let_go, filesystem
    )  # an archive is closed, under its open files, when its filesystem is collected
    return cast("BinaryIO", file)


def _lower(ref: str) -> str:
    """`ref` with its scheme as fsspec spells it."""
    scheme = scheme_of(ref)
    return ref if scheme is None else scheme + ref[len(scheme) :]


def _let_go(filesystem: object) -> None:
    """Nothing to do: until the file is gone, the waiting call has kept `filesystem`."""


def _end(file: BinaryIO) -> int | None:
    """The size by seeking to the end and back; None when the file cannot (fsspec's streams raise ValueError)."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        return None
    return size


@contextmanager
def _translated(ref: str) -> Iterator[None]:
    """Whatever goes wrong is an error of ours, and tells of this machine: nothing for a peer whose call made us read."""
    try:
        yield
    except XooaiError as error:
        error._is_of_here = True
        raise
    except Exception as exc:  # noqa: BLE001 - fsspec's filesystems raise what they like
        cause = exc.__cause__  # fsspec tells every failure over HTTP, a refused connection too, as a missing file
        if isinstance(exc, FileNotFoundError) and isinstance(cause, Exception) and not isinstance(cause, LookupError):
            exc = cause
        shown = redact(ref)
        # The original's text often holds the URL: where that has secrets, a traceback must not show it either.
        told = _error_for(exc, shown, ref)
        told._is_of_here = True
        raise told from (exc if shown == ref else None)


def _error_for(exc: Exception, shown: str, ref: str) -> XooaiError:
    status = getattr(exc, "status", None)  # aiohttp's ClientResponseError
    if isinstance(exc, FileNotFoundError | NotADirectoryError) or status in (404, 410):
        return NotFound(f"there is no file {shown!r}")
    if isinstance(exc, PermissionError) or status in (401, 403):
        return PermissionDenied(f"{shown!r} may not be read")
    if isinstance(exc, IsADirectoryError):
        return InvalidArgument(f"{shown!r} is a directory, not a file")
    if isinstance(exc, ImportError):
        return _missing(exc, shown)
    reason = f"HTTP status {status}" if status else getattr(exc, "strerror", None) or type(exc).__name__
    if isinstance(exc, _MALFORMED) or getattr(exc, "errno", None) in (errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP):
        text = str(exc).splitlines()[:1] if shown == ref else []
        return InvalidArgument(f"{shown!r} cannot be opened: {text[0] if text else reason}")
    return Unavailable(f"{shown!r} cannot be read: {reason}")


def _missing(exc: ImportError, shown: str) -> PluginError:
    cause = exc.__cause__ if isinstance(exc.__cause__, ImportError) else exc
    package = (cause.name or "fsspec").partition(".")[0]
    return PluginError(f"{shown!r} needs the module {package!r}; try: pip install {package}")
