"""Where the cache is, what is where in it, and whether it may be used.

    contents/            a store: the contents themselves
    marks/ab/<digest>    what a content's file was when it was verified, and when it was used
    locks/<digest>       held by who brings that content
    corrupt/<random>     what was not what its signature says
    total                how much it holds
    swept                whose time says when leftovers were removed last
    form                 which form of all this it is, as a number; without it, the first

All functions block.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress

from xooai.cache_place import HOMELESS, PLACE, make
from xooai.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    XooaiError,
)

__all__ = ["LIMIT", "Folder", "Unusable", "given_limit", "told"]

LIMIT = "XOOAI_CACHE_LIMIT"
"""The environment variable that says how many bytes it may hold, as 20GiB or 500MiB."""

FORM = 1
"""Of the folder, as it is written here; a later one says in the file `form` which it is."""

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_TAG = "CACHEDIR.TAG"
_TAGGED = b"Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of xooai. See: https://bford.info/cachedir/\n"
"""What tells programs that make backups to leave a folder out (https://bford.info/cachedir/)."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_HANDLES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def given_limit(variable: str = LIMIT) -> int | None:
    """What an environment variable says, in bytes; None where it says nothing. Raises InvalidArgument."""
    given = os.environ.get(variable)
    if not given:
        return None
    found = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:iB)?", given.strip())
    if found is None:
        raise InvalidArgument(f"{variable} is {given!r}; it is a number of bytes, as 20GiB, 500MiB or 1000000")
    return int(found[1]) * _UNITS[found[2]]


class Unusable(Exception):
    """The cache cannot give or take a content now, which says nothing against either: its reader is served around the cache."""

    def __init__(self, error: XooaiError) -> None:
        super().__init__(error.message)
        self.error = error
        reason = error.reason if isinstance(error, ResourceExhausted) else ""
        self.is_full, self.is_size = reason == "storage", reason == "size"


class Folder:
    """The folder of a cache; `root` is "" where there is no place for one."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.contents = os.path.join(root, "contents")
        self.corrupt = os.path.join(root, "corrupt")
        self.locks = os.path.join(root, "locks")
        self.marks = os.path.join(root, "marks")

    def make(self) -> None:
        """Make the folder where it is not there, open to this user alone. Raises PermissionDenied where others may change it, and
        FailedPrecondition where a later version has written it.
        """
        if not self.root:
            raise FailedPrecondition(HOMELESS)
        try:
            make(self.root)
            self._check()
            self._look_at_form()
            with suppress(OSError):  # it is there, or the disk may only be read, which is no reason not to
                self._tag()
        except XooaiError:
            raise
        except OSError as error:
            raise told(error, f"the cache at {self.root}") from error

    def file(self, path: str, flags: int) -> int:
        """A descriptor of a file below the folder; where it may be made, so are the folders on the way."""
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
        make(os.path.dirname(path))
        return os.open(path, flags, 0o600)

    def _check(self) -> None:
        """The folder, and a link that it may be, belong to this user, and nobody else may write there."""
        if not hasattr(os, "geteuid"):
            return
        user = os.geteuid()
        found, link = os.stat(self.root), os.lstat(self.root)
        if found.st_uid != user or link.st_uid not in (user, 0):
            raise PermissionDenied(
                f"the cache at {self.root} belongs to another user; {PLACE} names a folder of one's own"
            )
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionDenied(f"other users may write to the cache at {self.root}; try: chmod go-w {self.root}")

    def _look_at_form(self) -> None:
        try:
            fd = self.file(os.path.join(self.root, "form"), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return
        try:
            said = os.read(fd, 20).strip().decode("ascii", "replace")
        finally:
            os.close(fd)
        if said != f"{FORM}":
            raise FailedPrecondition(
                f"another version of xooai has written the cache at {self.root}, in form {said!r}; this one reads form {FORM}; "
                f"{PLACE} names another folder"
            )

    def _tag(self) -> None:
        fd = self.file(os.path.join(self.root, _TAG), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(fd, _TAGGED)
        finally:
            os.close(fd)


def told(error: OSError, what: str) -> XooaiError:
    """What goes wrong with files, as our error."""
    if error.errno in _FULL:
        return ResourceExhausted(f"{what} is full", reason="storage")
    if error.errno in _DENIED:
        return PermissionDenied(f"{what} may not be used: {error.strerror}")
    if error.errno in _NO_HANDLES:
        return ResourceExhausted(f"{what} cannot be used now: {error.strerror}", reason="load", retry_after=1)
    return Unavailable(f"{what} does not work: {error.strerror}")
