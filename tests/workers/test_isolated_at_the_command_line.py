"""`xooai serve --isolated`: executors of a command line in processes of their own, and callers with keys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from isolated_program import Front, Model
from supervised import PATIENCE, running

from xooai import Executor, NotFound, Text, Unauthenticated

pytest.importorskip("uvicorn")
pytest.importorskip("click")

HERE = Path(__file__).parent
TARGETS = [f"{HERE / 'isolated_program.py'}:Model", f"{HERE / 'isolated_program.py'}:Front"]
LARGE = 1_000_000  # characters of a file: more than goes inline


def key(file: Path, tenant: str) -> str:
    command = [sys.executable, "-m", "xooai", "keys", "new", "--file", str(file), "--tenant", tenant, "--scope", "*"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def serving(*args: str) -> list[str]:
    return ["-m", "xooai", "serve", *TARGETS, "--url", "http://127.0.0.1:0", *args]


@pytest.mark.slow
def test_tenants_are_asked_for_keys_where_calls_come_in_and_told_apart_where_they_go(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    keys, file = tmp_path / "keys.json", tmp_path / "content"
    file.write_text("c" * LARGE)
    acme, other = key(keys, "acme"), key(keys, "other")
    with running(serving("--isolated", "model", "--model.language", "fr", "--keys", str(keys))) as program:
        url = program.urls[0]
        with Model.at(url) as stranger, pytest.raises(Unauthenticated):
            stranger.post(on="who")
        for tenant, header in (("acme", acme), ("other", other)):
            with Model.at(url, metadata={"authorization": header}) as client:
                told = client.post(on="who")
                assert (told["identity"], told["language"]) == (tenant, "fr")
                assert client.read(Text(ref=str(file))).endswith(f" {LARGE}")
        with Model.at(url, metadata={"authorization": acme}) as one:
            file.write_text("d" * LARGE)  # which nobody has sent
            kept = one.kept(str(file))
            assert len(kept.read()) == LARGE
            assert kept.ref is not None
        with Model.at(url, metadata={"authorization": other}) as another, pytest.raises(NotFound):
            another.post(on="read", doc=Text(ref=kept.ref))
        assert program.end(signal.SIGTERM) == 0


@pytest.mark.slow
def test_processes_that_are_all_told_to_end_at_once_finish_their_calls(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with (
        running(serving("--isolated", "model")) as program,
        ThreadPoolExecutor(1) as threads,
        Model.at(program.urls[0], retry=0) as client,
        Front.at(program.urls[0]) as front,
    ):
        processes = [int(client.post(on="who")["pid"]), int(front.post(on="pid")), program.process.pid]
        call = threads.submit(client.post, on="wait", seconds=1, note=str(note))
        while not note.exists():
            assert not call.done(), call.result()
        for process in processes:
            os.kill(process, signal.SIGTERM)

        assert call.result(PATIENCE) is None
        assert program.process.wait(PATIENCE) == 0


STORING = """
import sys

from xooai import Executor, File, post, serve


class Storing(Executor):
    def __init__(self, store: str | None = None) -> None:
        super().__init__(store=store or sys.argv[1])

    @post
    def kept(self, name: str) -> File:
        return File(ref=name)


if __name__ == "__main__":
    serve(Storing(sys.argv[1]) if sys.argv[2] == "given" else Storing, at="http://127.0.0.1:0", isolated=True)
"""


def test_a_client_without_the_store_of_an_isolated_executor_is_given_what_is_kept_there(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "storing.py").write_text(STORING)
    content = os.urandom(LARGE)  # which no cache has
    (tmp_path / "content").write_bytes(content)
    with (
        running([str(tmp_path / "storing.py"), f"bulk=file://{tmp_path}/bulk", "given"]) as program,
        Executor(f"{program.urls[0]}/storing") as client,
    ):
        kept = client.post("kept", name=str(tmp_path / "content"))
        assert kept.ref.startswith("store:bulk/")
        (tmp_path / "content").unlink()
        assert kept.read() == content


def test_a_store_that_an_isolated_executor_makes_by_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "storing.py").write_text(STORING)
    with running([str(tmp_path / "storing.py"), f"bulk=file://{tmp_path}/bulk", "made"]) as program:
        assert program.process.wait(PATIENCE) == 1
        assert "Storing makes a store of its own" in program.said()
