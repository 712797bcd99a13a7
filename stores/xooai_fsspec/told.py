"""What goes wrong with files of this machine, as xooai's errors: the one translation for directories."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from xooai.errors import NotFound, PermissionDenied, ResourceExhausted, Unavailable, XooaiError

__all__ = ["told"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LINK = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO})
_NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


@contextmanager
def told(store: str, signature: str | None = None) -> Iterator[None]:
    """Tell an OSError as ours, with the store's name and no path; `signature` is what was looked for, and may be missing."""
    try:
        yield
    except XooaiError:  # some of which are an OSError too
        raise
    except OSError as error:
        where = f"the store {store!r}"
        if isinstance(error, FileNotFoundError) and signature is not None:
            raise NotFound(f"{where} has no {signature}") from error
        if error.errno in _FULL:
            raise ResourceExhausted(f"{where} is full", reason="storage") from error
        if error.errno in _DENIED:
            raise PermissionDenied(f"{where} may not be used so: {error.strerror}") from error
        if error.errno in _LINK:
            raise PermissionDenied(f"{where} has a link or a device where a file or folder belongs") from error
        if error.errno in _NO_HANDLES:
            raise ResourceExhausted(
                f"{where} cannot be used now: {error.strerror}", reason="load", retry_after=1
            ) from error
        raise Unavailable(f"{where} does not work: {error.strerror}") from error
