"""Files below one directory, reached from its descriptor: no link on the way is followed, and no name comes from a user.

    ab/cd/<digest>            a content, as a whole
    .xooai-incoming/<random>  a draft: nobody reads it; its writer links it to its place, or removes it

All functions block.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from xooai.signature import sign_file

__all__ = ["Tree"]

INCOMING = ".xooai-incoming"
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | _NO_LINK | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | getattr(os, "O_CLOEXEC", 0)
_WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
"""What filesystems without hard links answer (FAT, some network and user filesystems)."""
_NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What answers where somebody has put a file, or a link, in the place of a folder."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DRAFT = re.compile(r"[0-9a-f]{32}")


class Tree:
    """The files of one store. Its directory is made by the first draft, open to this user alone."""

    def __init__(self, root: str) -> None:
        self.root = root

    def open(self, key: str) -> int:
        """A descriptor for reading a content. Raises FileNotFoundError, and OSError for what is no regular file."""
        *folders, name = key.split("/")
        with self._folder(*folders) as folder:
            fd = os.open(name, _READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, "no regular file")
        return fd

    def size(self, key: str) -> int | None:
        """The size of a content; None where it is not there."""
        try:
            fd = self.open(key)
        except FileNotFoundError:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def draft(self) -> tuple[int, str]:
        """A new file that nobody else knows: its descriptor for writing, and its name."""
        name = secrets.token_hex(16)
        with self._folder(INCOMING, is_made=True) as folder:
            return os.open(name, _WRITE, 0o600, dir_fd=folder), name

    def has(self, key: str, size: int, *, is_read: bool) -> bool:
        """Whether a content of this size is there; and where it `is_read`, whether it is the right one."""
        try:
            fd = self.open(key)
        except FileNotFoundError:
            return False
        with os.fdopen(fd, "rb", buffering=0) as file:
            if os.fstat(fd).st_size != size:
                return False
            return not is_read or sign_file(file)[0].endswith(key.rpartition("/")[2])

    def publish(self, name: str, key: str, size: int, *, is_read: bool) -> None:
        """Give a draft that is complete its place. Where the content `has` it already, that one stays."""
        *folders, last = key.split("/")
        with self._folder(INCOMING) as source, self._folder(*folders, is_made=True) as place:
            try:
                os.link(name, last, src_dir_fd=source, dst_dir_fd=place, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _WITHOUT_LINKS and not isinstance(error, FileExistsError):
                    raise
                # One of another size is what a power cut left of a put that was not durable.
                if not self.has(key, size, is_read=is_read):
                    os.rename(name, last, src_dir_fd=source, dst_dir_fd=place)
        self.discard(name)

    def discard(self, name: str) -> None:
        """Remove a draft, if it is there; what cannot be removed now is swept later."""
        with suppress(OSError), self._folder(INCOMING) as folder:
            os.unlink(name, dir_fd=folder)

    def sync(self, key: str) -> None:
        """Wait until a content and the folders on its way are on the disk."""
        fd = self.open(key)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        folders = key.split("/")[:-1]
        for depth in range(len(folders), -1, -1):
            with self._folder(*folders[:depth]) as folder:
                os.fsync(folder)
        with suppress(PermissionError):  # who may not read the folder above has not made the store's either
            _sync_folder(os.path.dirname(self.root))

    def remove(self, key: str) -> None:
        """Remove a content, if it is there."""
        *folders, name = key.split("/")
        with suppress(FileNotFoundError), self._folder(*folders) as folder:
            os.unlink(name, dir_fd=folder)

    def listing(self) -> Iterator[tuple[str, int, float]]:
        """Digest, size and time of last change of all contents."""
        for first in range(256):
            for second in self._names(f"{first:02x}"):
                yield from self._files(f"{first:02x}", second)

    def sweep(self, older: float) -> int:
        """Remove drafts of this user that were not written to for `older` seconds; return how many there were."""
        before, removed = time.time() - older, 0
        with suppress(FileNotFoundError), self._folder(INCOMING) as folder:
            for name in filter(_DRAFT.fullmatch, os.listdir(folder)):
                with suppress(OSError):  # one that cannot be removed does not keep the others
                    if _is_draft(os.stat(name, dir_fd=folder, follow_symlinks=False), before):
                        os.unlink(name, dir_fd=folder)
                        removed += 1
        return removed

    def _names(self, folder: str) -> list[str]:
        try:
            with self._folder(folder) as fd:
                return [name for name in os.listdir(fd) if re.fullmatch("[0-9a-f]{2}", name)]
        except OSError as error:
            if error.errno in _NO_FOLDER:
                return []
            raise

    def _files(self, *folders: str) -> Iterator[tuple[str, int, float]]:
        try:
            with self._folder(*folders) as fd:
                ours = [
                    name for name in os.listdir(fd) if _DIGEST.fullmatch(name) and name.startswith("".join(folders))
                ]
                found = [(name, _status(name, fd)) for name in ours]
        except OSError as error:
            if error.errno in _NO_FOLDER:
                return
            raise
        for name, status in found:
            if status is not None and stat.S_ISREG(status.st_mode):
                yield name, status.st_size, status.st_mtime

    @contextmanager
    def _folder(self, *names: str, is_made: bool = False) -> Iterator[int]:
        """A descriptor of a folder; where it `is_made` it is made first, and no other user may write to what is on its way."""
        fd = self._opened_root(is_made)
        try:
            if is_made:
                _check_owner(fd)
            for name in names:
                if is_made:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=fd)
                outer, fd = fd, os.open(name, _FOLDER | _NO_LINK, dir_fd=fd)
                _leave(outer)
                if is_made:
                    _check_owner(fd)
            yield fd
        finally:
            _leave(fd)

    def _opened_root(self, is_made: bool) -> int:
        try:
            return os.open(self.root, _FOLDER)
        except FileNotFoundError:
            if not is_made:
                raise
        self._make(self.root)
        return os.open(self.root, _FOLDER)

    def _make(self, path: str) -> None:
        """Make the store's directory with those above it, and have their names on the disk: durable puts build on them."""
        above = os.path.dirname(path)
        if not os.path.isdir(above):
            self._make(above)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        _sync_folder(above)


def _leave(folder: int) -> None:
    with suppress(
        OSError
    ):  # of a descriptor that only reads: it is closed all the same, and what was opened in it is not lost
        os.close(folder)


def _check_owner(folder: int) -> None:
    """Raise PermissionError where another user may put a file in the place of a draft or a content."""
    status = os.fstat(folder)
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            errno.EPERM, "others may write to its folders, which have to be this user's alone (chown; chmod -R go-w)"
        )


def _sync_folder(path: str) -> None:
    fd = os.open(path, _FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_draft(status: os.stat_result, before: float) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_mtime <= before


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
