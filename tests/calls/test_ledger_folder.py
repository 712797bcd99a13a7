"""What stands in the folder of idempotency keys, and the file of API keys: across clocks that jump, and versions."""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

import msgspec
import pytest

from xooai import FailedPrecondition, InvalidArgument
from xooai.errors import Code
from xooai.keys.file import Keys, changed, read
from xooai.layers import ledger
from xooai.layers.ledger import FORM, TTL, Ended, Ledger

DAY = 24 * 3600.0
# As the version before the forms had numbers made it.
FIRST = """
CREATE TABLE calls (
    place BLOB PRIMARY KEY, print BLOB NOT NULL, owner TEXT NOT NULL, began REAL NOT NULL, ended BLOB, size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_age ON calls (began);
CREATE INDEX with_reply ON calls (began) WHERE size > 0;
CREATE TABLE held (calls INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO held SELECT 0, 0;
"""
boots = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere nothing tells one start of a machine from another"
)


class Machine:
    """Its clocks: `wall` is what it is set to, `up` are seconds since its start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.up, self.boot = 1_800_000_000.0, 1000.0, "first"
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(ledger, "_since_boot", lambda: self.up)
        monkeypatch.setattr(ledger, "_boot", lambda: self.boot)

    def goes_on(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds

    def starts_anew(self, boot: str, wall: float) -> None:
        self.boot, self.up, self.wall = boot, 5.0, wall


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def noted(folder: Path) -> None:
    first = Ledger(str(folder))
    assert first.begin(b"place", b"print") is None
    first.end(b"place", Ended(0, b"reply"))
    first.close()


def is_known(folder: Path) -> bool:
    again = Ledger(str(folder))
    try:
        found = again.begin(b"place", b"print")
        return found is not None and found.ended is not None and found.ended.frame == b"reply"
    finally:
        again.close()


@pytest.mark.parametrize("step", [2 * DAY, -2 * DAY, 400 * DAY, -400 * DAY])
def test_keys_are_known_whatever_the_clock_is_set_to(tmp_path: Path, machine: Machine, step: float) -> None:
    noted(tmp_path)
    machine.wall += step
    machine.goes_on(DAY / 2)
    assert is_known(tmp_path)
    machine.goes_on(TTL)
    assert not is_known(tmp_path)


@pytest.mark.parametrize("wall", [0.0, 1_800_000_000.0 + 3600])
def test_keys_are_known_after_a_start_of_the_machine_also_with_a_clock_that_is_not_set_yet(
    tmp_path: Path, machine: Machine, wall: float
) -> None:
    noted(tmp_path)
    machine.starts_anew("second", wall)
    assert is_known(tmp_path)
    machine.wall = 1_800_000_000.0 + 3600
    assert is_known(tmp_path)
    machine.goes_on(TTL + 3600)
    assert not is_known(tmp_path)


@boots
def test_the_clock_of_a_folder_goes_on_with_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 400 * DAY)
    assert is_known(tmp_path)


def test_where_nothing_tells_the_machines_start_keys_go_by_its_clock(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_boot", lambda: None)
    noted(tmp_path)
    machine.goes_on(DAY / 2)
    assert is_known(tmp_path)
    machine.goes_on(DAY)
    assert not is_known(tmp_path)


def test_a_folder_of_the_first_form_is_read(tmp_path: Path) -> None:
    began = time.time() - 60
    with sqlite3.connect(tmp_path / "calls.sqlite") as data:
        data.execute("PRAGMA journal_mode = WAL")
        data.executescript(FIRST)
        reply = msgspec.msgpack.encode(Ended(0, b"reply"))
        data.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)", (b"place", b"print", "gone", began, reply, 50))
        data.execute("UPDATE held SET calls = 1, bytes = 50")
    data.close()
    assert is_known(tmp_path)
    with sqlite3.connect(tmp_path / "calls.sqlite") as data:
        assert data.execute("PRAGMA user_version").fetchone() == (FORM,)
    data.close()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (f"PRAGMA user_version = {FORM + 1}", "a later version of xooai has written it"),
        ("CREATE TABLE calls (place BLOB)", "no such column"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, script: str, told: str) -> None:
    with sqlite3.connect(tmp_path / "calls.sqlite") as data:
        data.executescript(script)
    data.close()
    with pytest.raises(FailedPrecondition, match=told) as caught:
        Ledger(str(tmp_path))
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert "\n" not in caught.value.message


def test_a_file_of_keys_of_a_later_form_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with changed(file):
        pass
    found = msgspec.json.decode(file.read_bytes())
    assert found["xooai_keys"] == 1
    assert isinstance(read(file), Keys)
    file.write_bytes(msgspec.json.encode({**found, "xooai_keys": 2, "more": []}))
    with pytest.raises(InvalidArgument, match="a later version of xooai has written it, in form 2") as caught:
        read(file)
    assert "\n" not in caught.value.message
    assert "more" not in caught.value.message
