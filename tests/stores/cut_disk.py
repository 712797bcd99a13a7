"""A disk whose power can be cut: ext4 in an image of its own, and what of it is on the disk at one instant.

What a program writes to a mounted filesystem stays in memory until the filesystem writes it to its device. The device is a file
here, by loop: it has what was written to the device, and nothing else. To copy that file takes time, in which the filesystem
writes on, and what comes of that was on the disk at no instant. So the file is on XFS, which shares its blocks with a copy
in one step, between two writes. A copy is mounted as a disk is after the power is back: its journal is replayed.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["Disk", "disk"]

CLONE = 0x40049409
"""FICLONE of linux/fs.h."""
ROOM, SIZE = 8 * 1024**3, 1024**3  # bytes, of which only those take room that are written


class Disk:
    """`root` is the mounted filesystem, to be written to."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._image, self._after = folder / "outer" / "image", folder / "after"
        self._cuts = 0

    def cut(self) -> Path:
        """What is on the disk at this instant."""
        self._cuts += 1
        found = self._image.with_name(f"cut{self._cuts}")
        with self._image.open("rb") as source, found.open("xb") as copy:
            fcntl.ioctl(copy, CLONE, source.fileno())
        return found

    @contextmanager
    def after(self, cut: Path) -> Iterator[Path]:
        """The filesystem that is found after the power was cut."""
        with _mounted(cut, self._after, "loop"):
            yield self._after
        cut.unlink()


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Disk]:
    """A new disk, mounted with these options for ext4."""
    made = Disk(folder)
    with ExitStack() as stack:
        for name, size, kind in (("room", ROOM, "xfs"), ("outer/image", SIZE, "ext4")):
            path = folder / name
            with path.open("xb") as file:
                file.truncate(size)
            subprocess.run([f"mkfs.{kind}", "-q", str(path)], check=True)
            place = folder / "outer" if kind == "xfs" else made.root
            stack.enter_context(_mounted(path, place, "loop" if kind == "xfs" else f"loop,{options}"))
        yield made


@contextmanager
def _mounted(image: Path, place: Path, options: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", options, str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
