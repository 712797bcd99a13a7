"""Where replies are kept: in memory, bounded in bytes and number, until their time is over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from time import monotonic

import msgspec

from xooai import forks
from xooai.accept import Form
from xooai.cache.folder import given_limit
from xooai.origin import NO_MARKS, Marks
from xooai.store_ref import StoreRef

__all__ = ["LIMIT", "Kept", "Results", "Written"]

LIMIT = "XOOAI_RESULTS_LIMIT"
"""The environment variable that says how many bytes of replies a server keeps, as 500MiB."""

BYTES = 128 * 1024 * 1024  # without it: little beside a model, and room for 100,000 replies of usual size
SHARE = 8  # one reply takes at most this part, so that a large one does not push all others out
EACH = 1024  # bytes that a reply takes beside its own: the objects around it
FORMS = 4  # in which one reply is kept: JSON, msgpack and two media; a peer may name any number


class Written(msgspec.Struct, frozen=True):
    """A reply as it goes to a caller. `refs` are the contents that it names: without them it is worth nothing."""

    frame: bytes
    media_type: str
    refs: tuple[StoreRef, ...] = ()


class Kept:
    """One reply. `canonical` is its value in msgpack, where that can be written in other forms; `marks` are those of its
    documents. `made` and `ends` are monotonic seconds.
    """

    __slots__ = ("canonical", "ends", "is_marked", "made", "marks", "metadata", "refs", "size", "written")

    def __init__(self, made: float, ends: float, metadata: Mapping[str, str]) -> None:
        self.made, self.ends = made, ends
        self.metadata = metadata
        self.canonical: bytes | None = None
        self.refs: tuple[StoreRef, ...] = ()
        self.marks: Marks = NO_MARKS
        self.is_marked = False
        """Whether documents of a reply within this process are marked as coming from a peer."""
        self.written: dict[Form, Written] = {}
        self.size = EACH + sum(map(len, metadata)) + sum(map(len, metadata.values()))

    def add(self, form: Form, written: Written) -> int:
        """Have the reply in one more form; the bytes that this takes."""
        if form in self.written or len(self.written) >= FORMS:
            return 0
        self.written[form] = written
        added = 0 if written.frame is self.canonical else len(written.frame)
        self.size += added
        return added


class Results:
    """The replies that one server keeps; what was not asked for longest goes first. Used from any thread."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is in bytes; else XOOAI_RESULTS_LIMIT says it. 0 keeps nothing. Raises InvalidArgument."""
        given = given_limit(LIMIT) if limit is None else limit
        self.limit = BYTES if given is None else given
        self.size = 0
        """Bytes that are kept."""
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.renew()
        forks.renewed(self)

    def renew(self) -> None:
        """Begin with nothing, in the child of a fork: there a change may have been half done."""
        self._lock = Lock()
        self._kept = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Kept | None:
        """What is kept under a key, if its time is not over."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found.ends <= monotonic():
                self._remove(key)
                return None
            self._kept.move_to_end(key)
            return found

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep a reply, in place of another one under this key; one that is too large is not kept."""
        with self._lock:
            self._remove(key)
            if kept.size * SHARE > self.limit:
                return
            self._kept[key] = kept
            self.size += kept.size
            self._bound()

    def add(self, key: bytes, kept: Kept, form: Form, written: Written) -> None:
        """Keep a reply in one more form, where there is room for it."""
        with self._lock:
            if self._kept.get(key) is kept and (kept.size + len(written.frame)) * SHARE <= self.limit:
                self.size += kept.add(form, written)
                self._bound()

    def drop(self, key: bytes, kept: Kept) -> None:
        """Keep it no longer."""
        with self._lock:
            if self._kept.get(key) is kept:
                self._remove(key)

    def _bound(self) -> None:
        now = monotonic()
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if self.size <= self.limit and oldest.ends > now:
                break
            self._remove(key)

    def _remove(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.size -= found.size
