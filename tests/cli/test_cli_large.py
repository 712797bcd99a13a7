"""Large files by the command line: sent beside the call, received into a file, and through a store that both sides name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command_line import ANYWHERE, Xooai, serving, spawned
from test_cli_terminal import Terminal

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(5_000_000)
LONG = 60.0  # seconds


def test_a_large_picture_comes_back_into_a_file(xooai: Xooai, kit: str, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(PICTURE)

    ended = xooai("post", f"{kit}/echo", f"doc=@{tmp_path}/large.png", "-o", tmp_path / "back.png")

    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "back.png").read_bytes() == PICTURE


def test_a_bar_shows_what_is_received(kit: str, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(PICTURE)
    terminal = Terminal()

    command = ("post", f"{kit}/echo", f"doc=@{tmp_path}/large.png", "-o", tmp_path / "back.png")
    with spawned(*command, stderr=terminal.theirs, env={"TERM": "xterm"}) as process:
        out, _ = process.communicate(timeout=LONG)

    assert (process.returncode, out) == (0, "")
    assert "receiving" in terminal.text()


def test_a_large_reply_goes_to_a_pipe_too(kit: str, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(PICTURE)

    with (tmp_path / "back.png").open("wb") as pipe:
        command = ("post", f"{kit}/echo", f"doc=@{tmp_path}/large.png", "-o", "-")
        with spawned(*command, stdout=pipe, text=False) as process:
            process.communicate(timeout=LONG)

    assert (tmp_path / "back.png").read_bytes() == PICTURE


def test_both_sides_find_large_files_in_the_store_that_they_name(xooai: Xooai, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(PICTURE)
    store = f"media={tmp_path / 'store'}"

    with serving("kit:Kit", "--url", ANYWHERE, "--store", store, stderr=subprocess.DEVNULL) as server:
        ended = xooai("post", f"{server.url}/kit/sizes", f"docs=@{tmp_path}/large.png", "--store", store, "--json")

    assert (ended.code, ended.out) == (0, f"[{len(PICTURE)},1]\n")
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "store")) == 1


def test_a_store_that_cannot_be_is_told_before_anything_is_served_or_sent(xooai: Xooai, kit: str) -> None:
    for command in (("serve", "kit:Kit"), ("post", f"{kit}/shout", "doc=a")):
        ended = xooai(*command, "--store", "xooai=/tmp/nowhere")
        assert ended.code == 1
        assert "'xooai' cannot be the name of a store" in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("host", "said"),
    [("https://files.example.com/", "is no host"), (" ", "--fetch takes a host, as files.example.com")],
)
def test_a_host_that_cannot_be_fetched_from_is_told_before_anything_is_served(
    xooai: Xooai, host: str, said: str
) -> None:
    ended = xooai("serve", "kit:Kit", "--fetch", host)

    assert ended.code == 1
    assert said in ended.err.splitlines()[-1]
