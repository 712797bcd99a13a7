"""A server whose cache cannot be used: contents go inline as far as a message takes them, and no path of it is told."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from payload_kit import INLINE, Facts, Place, Works, made, signed

from xooai import File, ResourceExhausted, XooaiError
from xooai.cache.folder import Folder

MIB = 1024 * 1024


def is_a_file(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("no folder")


def is_open_to_others(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)


def belongs_to_others(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    os.chown(folder, 12345, 12345)


def leads_nowhere(folder: Path) -> None:
    folder.symlink_to(folder.parent / "unmounted" / "disk")


def takes_no_folders(folder: Path) -> None:
    folder.symlink_to("/proc/self")


UNUSABLE = [
    is_a_file,
    is_open_to_others,
    leads_nowhere,
    pytest.param(takes_no_folders, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")),
    pytest.param(
        belongs_to_others,
        marks=pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"),
    ),
]


@pytest.mark.parametrize("spoilt", UNUSABLE)
def test_contents_go_inline_where_the_server_has_no_cache(
    everywhere: Place, tmp_path: Path, spoilt: Callable[[Path], None]
) -> None:
    path = made(tmp_path / "film.mp4", 2 * MIB)
    works = Works()
    works.files["it"] = str(path)
    spoilt(everywhere.cache())
    client = everywhere(works)

    found: Facts = client.facts(doc=File(ref=str(path)))
    assert (found.digest, found.is_inline, found.media_type) == (signed(path.read_bytes()), True, "video/mp4")
    reply = client.give(name="it")
    assert (reply.value == path.read_bytes(), reply.media_type) == (True, "video/mp4")


@pytest.mark.parametrize("spoilt", UNUSABLE[:2])
def test_what_no_message_takes_is_told_without_a_path(
    place: Place, tmp_path: Path, spoilt: Callable[[Path], None]
) -> None:
    with (tmp_path / "vast").open("wb") as file:
        file.truncate(65 * MIB)
    works = Works()
    works.files["it"] = str(tmp_path / "vast")
    spoilt(place.cache())
    client = place(works)
    with pytest.raises(ResourceExhausted, match="vast.*cannot keep contents now") as caught:
        client.facts(doc=File(ref=str(tmp_path / "vast")))
    assert (caught.value.reason, str(place.cache()) in str(caught.value)) == ("size", False)
    with pytest.raises(XooaiError) as caught_too:
        client.give(name="it")
    assert str(tmp_path) not in str(caught_too.value) + str(caught_too.value.details)


def test_a_server_without_a_home_keeps_nothing_in_its_working_folder(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(Place, "cache", lambda self, number=1: "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    path = made(tmp_path / "content")
    assert place(Works()).facts(doc=File(ref=str(path))).is_inline
    assert os.listdir(tmp_path / "here") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE])
def test_contents_go_inline_where_the_rows_of_a_server_cannot_be_written(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    client = place(Works())
    opened = Folder.file

    def failing(self: Folder, path: str, flags: int) -> int:
        if "tenants" in path and flags & os.O_CREAT:
            raise OSError(number, os.strerror(number), path)
        return opened(self, path, flags)

    path = made(tmp_path / "content")
    monkeypatch.setattr(Folder, "file", failing)
    if number == errno.EMFILE:  # it passes: who comes back later may succeed
        with pytest.raises(ResourceExhausted) as caught:
            client.facts(doc=File(ref=str(path)))
        assert (caught.value.reason, str(place.cache()) in str(caught.value)) == ("load", False)
    else:
        assert client.facts(doc=File(ref=str(path))).is_inline
    monkeypatch.undo()
    monkeypatch.setenv("XOOAI_CACHE", str(tmp_path / "client"))
    assert not client.facts(doc=File(ref=str(path))).is_inline, "without a restart"


def test_a_cache_that_is_spoilt_meanwhile_is_gone_around(everywhere: Place, tmp_path: Path) -> None:
    path = made(tmp_path / "content")
    client = everywhere(Works())
    assert not client.facts(doc=File(ref=str(path))).is_inline
    shutil.rmtree(everywhere.cache())
    for number in range(2):
        assert client.facts(doc=File(ref=str(path))).digest == signed(path.read_bytes()), number
        assert client.facts(doc=File(ref=str(made(tmp_path / f"more{number}")))).length == INLINE + 1


@pytest.mark.system
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_has_contents_go_inline(place: Place, tmp_path: Path) -> None:
    place.cache().mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(place.cache())], check=True)
    try:
        client: Any = place(Works())
        path = made(tmp_path / "content", 2 * MIB)
        assert client.facts(doc=File(ref=str(path))).is_inline
        small = made(tmp_path / "small", INLINE + 1)
        assert client.facts(doc=File(ref=str(small))).digest == signed(small.read_bytes())
    finally:
        client._xooai_end()
        subprocess.run(["umount", "-l", str(place.cache())], check=True)


def test_a_client_whose_own_cache_cannot_be_used_reads_all_the_same(
    everywhere: Place, tmp_path: Path, own_cache: Path
) -> None:
    is_a_file(own_cache)
    path = made(tmp_path / "content", 9 * MIB)
    works = Works()
    works.files["it"] = str(path)
    client = everywhere(works)
    reply = client.give(name="it")
    assert reply.read() == path.read_bytes()
    with client.give(name="it").open() as file:
        assert file.read() == path.read_bytes()
    assert reply.path().read_bytes() == path.read_bytes()
