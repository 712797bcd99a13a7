"""What a terminal is shown: a bar while a large file goes out, and no control sequences of a server."""

from __future__ import annotations

import os
import pty
import threading
from pathlib import Path

from command_line import PATIENCE, PICTURE, spawned


class Terminal:
    """A terminal, as far as a program can tell, and what was written to it."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self._seen: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._seen.append(data)
        except OSError:  # Linux tells so that the other side is closed
            pass

    def text(self) -> str:
        """All that was written, once nobody can write any more."""
        os.close(self.theirs)
        self._reader.join(PATIENCE)
        os.close(self._ours)
        return b"".join(self._seen).decode()


def test_a_large_file_shows_a_bar_on_a_terminal_and_nothing_of_it_on_stdout(kit: str, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(5 * 1024 * 1024))
    terminal = Terminal()

    with spawned(
        "post", f"{kit}/sizes", f"docs=@{tmp_path}/large.bin", stderr=terminal.theirs, env={"TERM": "xterm"}
    ) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    shown = terminal.text()

    assert (process.returncode, out) == (0, "[5242880, 1]\n")
    assert [word for word in ("sending", "5.2") if word not in shown] == []


def test_a_small_file_and_a_pipe_show_no_bar(kit: str, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(5 * 1024 * 1024))
    terminal = Terminal()

    with spawned("post", f"{kit}/sizes", f"docs=@{PICTURE}", stderr=terminal.theirs) as small:
        small.communicate(timeout=PATIENCE)
    with spawned("post", f"{kit}/sizes", f"docs=@{tmp_path}/large.bin") as piped:
        _, errors = piped.communicate(timeout=PATIENCE)

    assert (terminal.text(), errors) == ("", "")


def test_text_of_a_server_does_not_reach_the_terminal_as_control_sequences(kit: str) -> None:
    terminal = Terminal()

    with spawned("post", f"{kit}/shout", "doc=\x1b[31mred\x07", stdout=terminal.theirs) as process:
        process.communicate(timeout=PATIENCE)

    assert terminal.text().splitlines() == [r"\x1b[31MRED\x07!"]
