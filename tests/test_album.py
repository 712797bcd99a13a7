"""One program gives the same in one process and over three, whichever driver carries its calls; only configuration differs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from surroundings import without_options

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
EXECUTORS = {"shrinker": "Shrinker", "painter": "Painter", "framer": "Framer"}
DRIVERS = {"http": "uvicorn", "grpc": "grpc"}

PATIENCE = 120  # seconds: a program that hangs fails its test instead of stopping the run

pytest.importorskip("uvicorn")
pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def places() -> Iterator[dict[str, dict[str, str]]]:
    """A process for each executor, by the command line: their URLs, by driver and executor."""
    schemes = [scheme for scheme, module in DRIVERS.items() if find_spec(module)]
    urls = [word for scheme in schemes for word in ("--url", f"{scheme}://127.0.0.1:0")]
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "xooai", "serve", f"album:{cls}", *urls],
                    cwd=EXAMPLES,
                    env=without_options(),
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name, cls in EXECUTORS.items()
        }
        for server in servers.values():
            stack.callback(server.terminate)
        found = {name: _bound(server) for name, server in servers.items()}
        yield {scheme: {name: bound[scheme] for name, bound in found.items()} for scheme in schemes}


def _bound(server: subprocess.Popen[str]) -> dict[str, str]:
    """The URLs that a server tells when it listens, by their schemes."""
    assert server.stdout is not None
    return {url.partition(":")[0]: url for url in server.stdout.readline().split() if "://" in url}


def printed(*arguments: str) -> str:
    """What the program prints when it is run with these arguments."""
    command = [sys.executable, "album.py", "data/receipt.jpg", *arguments]
    ended = subprocess.run(
        command, cwd=EXAMPLES, env=without_options(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def card() -> str:
    """What the program prints in one process."""
    return printed()


def test_a_card_shows_the_colours_of_its_picture(card: str) -> None:
    told = json.loads(card)

    assert [colour["name"][0] for colour in told["colours"]] == ["#"] * 4
    assert sum(colour["share"] for colour in told["colours"]) == pytest.approx(1)


@pytest.mark.parametrize("driver", DRIVERS)
def test_three_processes_give_what_one_does(driver: str, card: str, places: dict[str, dict[str, str]]) -> None:
    pytest.importorskip(DRIVERS[driver])
    where = [f"{name}={url}" for name, url in places[driver].items()]

    assert printed(*where) == card


@pytest.mark.slow
def test_one_process_another_and_two_drivers_give_what_one_process_does(
    card: str, places: dict[str, dict[str, str]]
) -> None:
    pytest.importorskip("grpc")

    assert printed(f"painter={places['grpc']['painter']}", f"framer={places['http']['framer']}") == card


@pytest.mark.parametrize("where", ["here", "over three processes"])
def test_a_file_gives_what_the_program_does(
    where: str, card: str, places: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("yaml")
    text = (EXAMPLES / "album.yaml").read_text()
    if where != "here":
        for name, cls in EXECUTORS.items():
            text = text.replace(f"album:{cls}", f"{places['http'][name]}/{name}")
        assert "album:" not in text
    (tmp_path / "flow.yaml").write_text(text)

    assert printed(str(tmp_path / "flow.yaml")) == card
