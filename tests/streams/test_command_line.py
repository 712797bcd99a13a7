"""`xooai post` and `xooai describe`, where endpoints stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from talker import Talker


@pytest.fixture
def talker() -> Iterator[str]:
    server = Talker()
    (url,) = server.start("pipe://127.0.0.1:0")
    with server:
        yield f"{url}/talker"


Xooai = Callable[..., tuple[int, str, str]]


@pytest.fixture
def xooai(capsys: pytest.CaptureFixture[str]) -> Xooai:
    """Run a command in this process: its exit code, what it wrote, what it complained of."""
    pytest.importorskip("rich", reason="no module 'rich'; it comes with: pip install -e '.[cli]'")
    main = pytest.importorskip("xooai.cli", reason="no module 'click'; it comes with: pip install -e '.[cli]'").main

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_replies_are_shown_one_by_one(xooai: Xooai, talker: str) -> None:
    assert xooai("post", f"{talker}/count", "n=3") == (0, "0\n1\n2\n", "")
    assert xooai("post", f"{talker}/maybe", "--json") == (0, "1\nnull\n2\nnull\n", "")


def test_replies_are_written_to_a_file_one_after_the_other(xooai: Xooai, talker: str, tmp_path: Path) -> None:
    (tmp_path / "count").write_text("what was there before")

    assert xooai("post", f"{talker}/count", "n=3", "-o", tmp_path / "count") == (0, "", "")

    assert (tmp_path / "count").read_text() == "0\n1\n2\n"


def test_an_error_follows_the_replies_before_it(xooai: Xooai, talker: str) -> None:
    code, out, err = xooai("post", f"{talker}/fail", "n=2", "--json")

    assert (code != 0, out) == (True, "0\n1\n")
    assert "no more of these" in err


def test_time_that_has_passed_ends_the_command(xooai: Xooai, talker: str) -> None:
    code, out, err = xooai("post", f"{talker}/hang", "--timeout", "2")  # seconds: one reply comes before

    assert (code != 0, out) == (True, "1\n")
    assert err.startswith("xooai: ")


@pytest.mark.parametrize("on", ["total", "chat"])
def test_a_stream_of_requests_is_refused_with_the_way_that_there_is(xooai: Xooai, talker: str, on: str) -> None:
    code, out, err = xooai("post", f"{talker}/{on}", "xs=1")

    assert (code != 0, out) == (True, "")
    assert f"talker/{on} takes a stream as 'xs'" in err
    assert "stream(), astream() or open()" in err


def test_describe_says_what_streams(xooai: Xooai, talker: str) -> None:
    code, out, _ = xooai("describe", talker)

    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "talker/count n int stream of int" in lines
    assert "xs stream of int" in lines
