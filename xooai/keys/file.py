"""The file of keys: JSON, for its owner's eyes, replaced as a whole so that nobody reads half of it."""

from __future__ import annotations

import math
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import replace

from xooai.driver import METRICS
from xooai.errors import InvalidArgument, PermissionDenied
from xooai.keys.secret import fingerprint

if sys.platform != "win32":
    import fcntl

__all__ = ["PRIORITIES", "SCOPE", "TENANT", "Entry", "Keys", "changed", "now", "read"]

TENANT = r"(?!sha256-)[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}"
"""The name of a tenant that is one for a folder too, or nearly."""
SCOPE = r"\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,127}/(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,127})"

PRIORITIES = (-9, 9)
"""The least and the most urgent, see `xooai-priority`."""
LIMIT = 8 * 1024 * 1024  # bytes: some 20,000 keys; it is read anew after each change
FORM = 1  # of the file: raised where this version's could not be read by those before it
_OTHERS = 0o022  # the bits of who else may write


_Time = Annotated[datetime, msgspec.Meta(tz=True)]  # others cannot be compared with the time that it is


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A key, or a certificate by its name, and what its holder may do: `scopes` as `reader/read`, `reader/*` or `*`, and how
    much of it.
    """

    id: str
    scopes: tuple[str, ...]
    tenant: str
    made: _Time
    hash: str = ""
    certificate: str = ""
    expires: _Time | None = None
    revoked: _Time | None = None
    note: str = ""
    limit: int | None = None  # calls at a time
    rate: float | None = None  # calls a second
    bandwidth: float | None = None  # bytes a second, of requests and replies
    priority: int = 0  # the highest that its holder may claim

    def ended(self, now: datetime) -> bool:
        return self.revoked is not None or (self.expires is not None and self.expires <= now)

    def state(self, now: datetime) -> str:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.ended(now) else "valid"

    def allows(self, path: str) -> bool:
        """Whether `/{executor}/{endpoint}` is in its scopes; what every server has is in all, but what tells of other callers."""
        executor, _, endpoint = path.removeprefix("/").partition("/")
        return (executor == "xooai" and path != METRICS) or any(
            scope in ("*", f"{executor}/*", f"{executor}/{endpoint}") for scope in self.scopes
        )


class _Form(msgspec.Struct, frozen=True):
    """What every form of the file has."""

    xooai_keys: int


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `check` tells whether it is read with the pepper that it was written with."""

    salt: str
    check: str
    keys: tuple[Entry, ...] = ()
    xooai_keys: Annotated[int, msgspec.Meta(ge=1)] = FORM

    @property
    def salted(self) -> bytes:
        return bytes.fromhex(self.salt)


def read(path: Path) -> Keys:
    """What a file holds. Raises InvalidArgument, and PermissionDenied for one that others may write."""
    try:
        with open(path, "rb", opener=_opener) as file:
            status = os.fstat(file.fileno())
            content = file.read(LIMIT + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise InvalidArgument(
            f"the file of keys {str(path)!r} cannot be read: {error.strerror}; xooai keys new makes one"
        ) from error
    if sys.platform != "win32" and (status.st_mode & _OTHERS or status.st_uid not in (0, os.geteuid())):
        raise PermissionDenied(
            f"{str(path)!r} may be written by others, who could let anybody in; try: chmod 600 {path}"
        )
    if len(content) > LIMIT:
        raise InvalidArgument(f"the file of keys {str(path)!r} is larger than {LIMIT:,} bytes")
    try:
        form = msgspec.json.decode(content, type=_Form).xooai_keys
        if form > FORM:
            raise ValueError(f"a later version of xooai has written it, in form {form}; this one reads up to {FORM}")
        found = msgspec.json.decode(content, type=Keys)
        is_ours = fingerprint(found.salted) == found.check
        _check(found.keys)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidArgument(f"{str(path)!r} is no file of keys: {error}") from error
    if not is_ours:
        raise InvalidArgument(
            f"{str(path)!r} was written with another XOOAI_KEYS_PEPPER than the one that is set here; no key could be right"
        )
    return found


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe is not waited for


def _check(entries: Iterable[Entry]) -> None:
    """Raise ValueError for an entry that would let in whom it does not name, or nobody."""
    known: set[str] = set()
    for entry in entries:
        about = f"the entry {entry.id[:40]!r}"
        if entry.id in known:
            raise ValueError(f"{about} stands there twice")
        known.add(entry.id)
        if re.fullmatch(TENANT, entry.tenant) is None:
            raise ValueError(f"{about} has the tenant {entry.tenant[:40]!r}, which is no name")
        if bool(entry.certificate) is bool(entry.hash):
            raise ValueError(f"{about} takes the hash of a key, or the name of a certificate")
        if entry.hash and re.fullmatch("[0-9a-f]{64}", entry.hash) is None:
            raise ValueError(f"{about} has a hash that is not 64 hex digits")
        if (entry.limit is not None and entry.limit < 1) or not PRIORITIES[0] <= entry.priority <= PRIORITIES[1]:
            raise ValueError(f"{about} has a limit below 1, or a priority that is not from -9 to 9")
        if entry.rate is not None and not 0 < entry.rate < math.inf:
            raise ValueError(f"{about} has a rate that is no number of calls a second")
        if entry.bandwidth is not None and not 1 <= entry.bandwidth < math.inf:
            raise ValueError(f"{about} has a bandwidth that is no number of bytes a second")
        for scope in entry.scopes:
            if re.fullmatch(SCOPE, scope) is None:
                raise ValueError(f"{about} has the scope {scope[:40]!r}; it looks like reader/read, reader/* or *")


class Open(NamedTuple):
    """A file that is being changed."""

    salt: bytes
    keys: list[Entry]


@contextmanager
def changed(path: Path) -> Iterator[Open]:
    """What a file holds, to be changed: written back when the block ends well. Made where it is not there yet.

    Behind a link it is the file that is changed, not the link. Raises as `read` does.
    """
    path = path.resolve()
    with _alone(path):
        if path.exists():
            found = read(path)
        else:
            salt = secrets.token_bytes(32)
            found = Keys(salt.hex(), fingerprint(salt))
        entries = list(found.keys)
        yield Open(found.salted, entries)
        _write(path, replace(found, keys=tuple(entries)))


def now() -> datetime:
    """The time, in whole seconds of UTC."""
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile."""
    lock = path.with_name(f".{path.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keys: Keys) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # for its owner alone
    try:
        with open(descriptor, "wb") as file:
            _as_before(path, file.fileno())
            file.write(msgspec.json.format(msgspec.json.encode(keys), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _as_before(path: Path, descriptor: int) -> None:
    """Let those read the new file who may read the old one, such as a server that runs as somebody else."""
    if sys.platform == "win32" or not path.exists():
        return
    status = path.stat()
    with suppress(OSError):  # to give a file away takes rights that whoever may change it need not have
        os.fchown(descriptor, status.st_uid, status.st_gid)
    if os.fstat(descriptor).st_gid == status.st_gid:
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
