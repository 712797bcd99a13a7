"""Which calls with an idempotency key have begun, and how they ended: in a database of this process, or of several in a folder.

It blocks; in a folder it waits for the disk, so that what is told to have begun is known after a crash, too.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import msgspec

from xooai.errors import FailedPrecondition

if sys.platform != "win32":
    import fcntl

__all__ = ["BYTES", "CALLS", "TTL", "Ended", "Ledger", "Row"]

TTL = 24 * 3600.0  # seconds for which a key is known: a day, as most services have it
CALLS = 100_000  # keys: some 30 MB; then those that came first are forgotten, one for each that comes
BYTES = (
    128 * 1024 * 1024
)  # of kept replies, then those that came first are forgotten: their calls still are not run again
SHARE = 8  # one reply takes at most this part of them
BUSY = 5.0  # seconds for a lock of the database, which others hold for the time of a few writes

_TABLES = """
CREATE TABLE IF NOT EXISTS calls (
    place BLOB PRIMARY KEY, print BLOB NOT NULL, owner TEXT NOT NULL, began REAL NOT NULL, ended BLOB, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON calls (began);
CREATE INDEX IF NOT EXISTS with_reply ON calls (began) WHERE size > 0;
CREATE TABLE IF NOT EXISTS held (calls INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO held SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM held);
CREATE TABLE IF NOT EXISTS clock (boot TEXT PRIMARY KEY, began REAL NOT NULL);
"""
FORM = 1  # of what stands in a folder: raised where this version's could not be used by those before it
_USED = ("SELECT place, print, owner, began, ended, size FROM calls LIMIT 0", "SELECT calls, bytes FROM held LIMIT 0")


class Ended(msgspec.Struct, frozen=True):
    """How a call ended. `frame` is None where it failed, and where its reply is kept no longer: then `is_kept` is not set."""

    code: int
    frame: bytes | None = None
    codec: str = ""
    metadata: dict[str, str] = {}
    message: str = ""
    details: dict[str, object] = {}
    id: str | None = None
    is_kept: bool = True


class Row(msgspec.Struct, frozen=True):
    """A call that has begun before: the fingerprint of its request, who runs it, and how it ended, if it has."""

    print: bytes
    owner: str
    ended: Ended | None


def _boot() -> str | None:
    """Which start of this machine it is; None where the system does not tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _since_boot() -> float:
    """Seconds since then, those asleep among them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ledger:
    """For any number of threads and, in a `folder`, processes."""

    def __init__(self, folder: str | None = None, calls: int = CALLS, limit: int = BYTES, ttl: float = TTL) -> None:
        """Raises FailedPrecondition."""
        self._calls, self._limit, self._ttl = calls, limit, ttl
        self._lock = Lock()
        self.is_shared = folder is not None
        self.owner = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._folder = None if folder is None else Path(folder)
        self._alive: BinaryIO | None = None
        self._data = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            if self._folder is not None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._alive = self._living()
                self._data.close()
                self._open(self._folder)
            self._data.executescript(_TABLES)
            for used in _USED:
                self._data.execute(used)
            if self._form() < FORM:
                self._data.execute(f"PRAGMA user_version = {FORM}")
            self._clock = time.monotonic if folder is None else self._common_clock()
        except BaseException as error:
            self._let_go()
            if not isinstance(error, OSError | sqlite3.Error):
                raise
            raise FailedPrecondition(f"the folder {folder!r} cannot keep the keys of calls: {error}") from error

    def _open(self, folder: Path) -> None:
        """Open the database of a folder. Raises OSError for one that a later version has made."""
        name = str(self._file(folder / "calls.sqlite"))
        self._data = sqlite3.connect(name, timeout=BUSY, isolation_level=None, check_same_thread=False)
        if (form := self._form()) > FORM:
            raise OSError(f"a later version of xooai has written it, in form {form}; this one reads up to {FORM}")
        self._data.execute("PRAGMA journal_mode = WAL")
        self._data.execute("PRAGMA synchronous = FULL")

    def _form(self) -> int:
        return int(self._data.execute("PRAGMA user_version").fetchone()[0])

    def _common_clock(self) -> Callable[[], float]:
        """Seconds that go on with the machine, whatever its clock is set to: the same for all processes of the folder.

        The first one since the machine's start tells by its clock, and by the last call that is known, when that was.
        """
        boot = _boot()
        if boot is None:
            return time.time
        with _Whole(self._data):
            found = self._data.execute("SELECT began FROM clock WHERE boot = ?", (boot,)).fetchone()
            if found is None:
                (last,) = self._data.execute("SELECT max(began) FROM calls").fetchone()
                found = (max(time.time(), last or 0.0) - _since_boot(),)
                self._data.execute("DELETE FROM clock")
                self._data.execute("INSERT INTO clock VALUES (?, ?)", (boot, *found))
        began = float(found[0])
        return lambda: began + _since_boot()

    def begin(self, place: bytes, fingerprint: bytes, instead_of: str = "") -> Row | None:
        """Note that a call begins, also `instead_of` an owner that is gone; what is known of it where it has begun before."""
        with self._lock, _Whole(self._data):
            now = self._clock()
            found = self._data.execute(
                "SELECT print, owner, ended, began FROM calls WHERE place = ?", (place,)
            ).fetchone()
            if found is not None and now - self._ttl < found[3] <= now + self._ttl:
                ended = None if found[2] is None else msgspec.msgpack.decode(found[2], type=Ended)
                if ended is not None or found[0] != fingerprint or found[1] != instead_of:
                    return Row(found[0], found[1], ended)
            self._drop("place = ?", place)
            self._make_room(now)
            row = (place, fingerprint, self.owner, now)
            self._data.execute("INSERT INTO calls VALUES (?, ?, ?, ?, NULL, 0)", row)
            self._data.execute("UPDATE held SET calls = calls + 1")
        return None

    def end(self, place: bytes, ended: Ended) -> None:
        """Note how a call ended that this process has begun. Raises sqlite3.Error, as all that writes."""
        written = msgspec.msgpack.encode(ended)
        if len(written) * SHARE > self._limit:
            written = msgspec.msgpack.encode(Ended(ended.code, message=ended.message, is_kept=False))
        size = len(written)
        with self._lock, _Whole(self._data):
            changed = self._data.execute(
                "UPDATE calls SET ended = ?, size = ? WHERE place = ? AND owner = ?", (written, size, place, self.owner)
            )
            if changed.rowcount:
                self._data.execute("UPDATE held SET bytes = bytes + ?", (size,))
                self._shrink()

    def forget(self, place: bytes) -> None:
        """A call has not begun after all."""
        with self._lock, _Whole(self._data):
            self._drop("place = ? AND owner = ?", place, self.owner)

    def is_alive(self, owner: str) -> bool:
        """Whether the process that runs a call still does."""
        if owner == self.owner:
            return True
        if self._folder is None or sys.platform == "win32":
            return self._folder is not None
        try:
            with (self._folder / f"{owner}.alive").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        with suppress(OSError):
            (self._folder / f"{owner}.alive").unlink()
        return False

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._data.close()
        if self._alive is not None and self._folder is not None:
            self._alive.close()
            with suppress(OSError):
                (self._folder / f"{self.owner}.alive").unlink()

    def _file(self, path: Path) -> Path:
        """A file that its owner alone reads, as those that the database puts beside it: the folder may be open to others."""
        with suppress(FileExistsError):  # one that is in use is left alone: to close it would end its locks
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        return path

    def _living(self) -> BinaryIO:
        """A file that is locked for as long as this process lives."""
        assert self._folder is not None
        file = self._file(self._folder / f"{self.owner}.alive").open("wb")
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _make_room(self, now: float) -> None:
        self._drop("began <= ?", now - self._ttl)
        (calls,) = self._data.execute("SELECT calls FROM held").fetchone()
        if calls >= self._calls:
            self._drop(
                "place IN (SELECT place FROM calls WHERE ended IS NOT NULL ORDER BY began LIMIT ?)",
                calls - self._calls + 1,
            )

    def _shrink(self) -> None:
        """Forget the replies that came first, as many as are too many."""
        (held,) = self._data.execute("SELECT bytes FROM held").fetchone()
        if held <= self._limit:
            return
        gone = msgspec.msgpack.encode(Ended(0, is_kept=False))
        while held > self._limit:
            first = "SELECT place, size FROM calls WHERE size > 0 ORDER BY began LIMIT 1"
            found = self._data.execute(first).fetchone()
            if found is None:
                break
            self._data.execute("UPDATE calls SET ended = ?, size = 0 WHERE place = ?", (gone, found[0]))
            held -= found[1]
        self._data.execute("UPDATE held SET bytes = ?", (held,))

    def _drop(self, which: str, *given: object) -> None:
        (size,) = self._data.execute(f"SELECT coalesce(sum(size), 0) FROM calls WHERE {which}", given).fetchone()
        gone = self._data.execute(f"DELETE FROM calls WHERE {which}", given).rowcount
        if gone:
            self._data.execute("UPDATE held SET calls = calls - ?, bytes = bytes - ?", (gone, size))


class _Whole:
    """All or nothing, with the database to oneself."""

    def __init__(self, data: sqlite3.Connection) -> None:
        self._data = data

    def __enter__(self) -> None:
        self._data.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._data.execute("COMMIT")
        finally:
            if self._data.in_transaction:  # where the disk is full the database has gone back by itself
                self._data.execute("ROLLBACK")
