"""A server whose disk is full says so to those who need it, is ready for the others, and is well again without a restart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from xooai import Executor, File, ResourceExhausted, post

pytestmark = pytest.mark.system

MIB = 1 << 20


class Measuring(Executor):
    @post
    def size(self, doc: File) -> int:
        return len(doc.read())


@pytest.fixture(params=["size=8m,mode=700", "size=256m,nr_inodes=64,mode=700"], ids=["room", "inodes"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A disk in memory, with little room or few files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_server_without_room_is_ready_for_what_needs_none(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("XOOAI_CACHE", str(disk / "cache"))
    large = tmp_path / "large"
    large.write_bytes(b"x" * 70 * MIB)
    with Measuring() as measuring:
        url = measuring.start("http://127.0.0.1:0")[0]
        with Measuring.at(url, retry=0) as client:
            assert client.size(doc=File(value=bytes(MIB))) == MIB
            fillers = list(filled(disk))
            for number in range(3):
                with pytest.raises(ResourceExhausted, match="the cache .*is full"):
                    client.size(doc=File(ref=str(large)))
                with urlopen(f"{url}/readyz") as answer:
                    assert answer.status == 200
                assert client.size(doc=File(value=bytes([number]) * 2 * MIB)) == 2 * MIB  # within the call
            for filler in fillers:
                filler.unlink()
            assert client.size(doc=File(value=b"x" * 2 * MIB)) == 2 * MIB


def filled(folder: Path) -> Iterator[Path]:
    """Files that take all that is left, of inodes or of room."""
    free = os.statvfs(folder)
    for number in range(free.f_favail if free.f_files < MIB else 1):
        filler = folder / f"filler{number}"
        filler.touch()
        yield filler
    if free.f_files >= MIB:
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize))
