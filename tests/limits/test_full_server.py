"""A server whose disk is full says so to those who need it, is ready for the others, and is well again without a restart."""

from __future__ import annotations

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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_server_without_room_is_ready_for_what_needs_none(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    monkeypatch.setenv("XOOAI_CACHE", str(disk / "cache"))
    filler, large = disk / "filler", tmp_path / "large"
    large.write_bytes(b"x" * 70 * MIB)
    with Measuring() as measuring:
        url = measuring.start("http://127.0.0.1:0")[0]
        with Measuring.at(url, retry=0) as client:
            assert client.size(doc=File(value=bytes(MIB))) == MIB
            filler.write_bytes(bytes(disk_free(disk)))
            for number in range(3):
                with pytest.raises(ResourceExhausted, match="the cache is full"):
                    client.size(doc=File(ref=str(large)))
                with urlopen(f"{url}/readyz") as answer:
                    assert answer.status == 200
                assert client.size(doc=File(value=bytes([number]) * 2 * MIB)) == 2 * MIB  # within the call
            filler.unlink()
            assert client.size(doc=File(value=b"x" * 2 * MIB)) == 2 * MIB


def disk_free(folder: Path) -> int:
    found = subprocess.run(["df", "--output=avail", "-B1", str(folder)], check=True, capture_output=True, text=True)
    return int(found.stdout.split()[-1])
