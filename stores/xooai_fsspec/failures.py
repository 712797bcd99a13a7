"""What goes wrong with an object store, as xooai's errors: the one translation for S3, GCS, Azure and HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    BaseError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)

from xooai.errors import NotFound, PermissionDenied, ResourceExhausted, Unavailable, XooaiError

__all__ = ["ENGINE", "failing", "knows_no_conditions"]

ENGINE = (BaseError, OSError, ValueError)
"""What obstore raises; a FileNotFoundError for what is not there."""

_SIGNED = re.compile(r"[?&](sig|token|X-\w+-Signature)=", re.IGNORECASE)
"""What makes a URL a secret."""
_STATUS = re.compile(r"status code: (\d{3})")
_NO_PLACE = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_FULL = re.compile(
    r"status code: 507|QuotaExceeded|StorageFull|InsufficientStorage|AccountProblem.*quota|no space left|"
    r"not enough storage|no free volumes",
    re.IGNORECASE,
)


@contextmanager
def failing(store: str, secrets: frozenset[str], signature: str | None = None) -> Iterator[None]:
    """Tell what obstore raises as ours, with the store's name and nothing of its texts: these hold URLs, which may hold secrets.
    `signature` is what was looked for, and may be missing.
    """
    try:
        yield
    except XooaiError:  # some of which are an OSError or a ValueError too
        raise
    except ENGINE as error:
        text = str(error)
        is_secret = _SIGNED.search(text) is not None or any(one in text for one in secrets)
        raise _told(store, error, text, signature) from (None if is_secret else error)


def knows_no_conditions(error: Exception) -> bool:
    """Whether a server has no conditional put: S3's answer to a header that it does not implement is 501."""
    status = _STATUS.search(str(error))
    return isinstance(error, NotSupportedError) or (status is not None and status[1] == "501")


def _told(store: str, error: Exception, text: str, signature: str | None) -> XooaiError:
    where = f"the store {store!r}"
    if _NO_PLACE.search(text):
        return Unavailable(f"{where} has no such bucket or container")
    if isinstance(error, FileNotFoundError) and signature is not None:
        return NotFound(f"{where} has no {signature}")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return PermissionDenied(f"{where} refuses these credentials, or what they may do")
    if _FULL.search(text):
        return ResourceExhausted(f"{where} is full", reason="storage")
    if isinstance(error, UnknownConfigurationKeyError | InvalidPathError):
        return Unavailable(f"{where} is not configured rightly: {type(error).__name__}")
    status = _STATUS.search(text)
    why = f"HTTP status {status[1]}" if status else "it cannot be reached, or its answer makes no sense"
    return Unavailable(f"{where} does not work: {why}")
