"""The demo: a server reads a picture over HTTP, the same class reads it in this process, and a Flow does more with both."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from threading import Timer
from urllib.request import ProxyHandler, Request, build_opener

from reader import Page, Reader
from sheet import Sheet, sheet
from xooai import Image, XooaiError

HERE = Path(__file__).resolve().parent

PATIENCE = 120  # seconds for all: it takes ten where nothing else runs, and a server that hangs shall not hang the demo

ROUNDS = 2  # of each way, of which the quicker counts: it was disturbed less by whatever else runs

direct = build_opener(ProxyHandler({}))  # a proxy that the environment names cannot reach this machine's loopback


@contextmanager
def server() -> Iterator[str]:
    """Serve Reader in a process of its own, on a free port, while the block runs; give its URL."""
    command = [sys.executable, "-m", "xooai", "serve", "reader:Reader", "--url", "http://127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
    late = Timer(PATIENCE, process.kill)
    late.start()
    try:
        with process:
            try:
                yield _bound(process)
            finally:
                process.terminate()
    finally:
        late.cancel()
    if process.returncode != 0:
        raise SystemExit(f"demo: the server ended with exit code {process.returncode}, where 0 would be right")


def _bound(process: subprocess.Popen[str]) -> str:
    """Return the URL in the line that the server prints once it listens."""
    for line in process.stdout or ():
        if found := re.search(r"http://[^/\s]+:\d+", line):
            return found[0]
    raise SystemExit("demo: the server ended before it listened; what it said stands above")


def posted(url: str, doc: Image) -> Page:
    """Post the picture itself, as curl --data-binary does."""
    request = Request(f"{url}/reader/read", doc.read(), {"Content-Type": doc.media_type or "application/octet-stream"})
    with direct.open(request, timeout=PATIENCE) as reply:
        return Page.model_validate_json(reply.read())


def timed(call: Callable[[], Page]) -> tuple[str, float]:
    """Return the text of the page that `call` gives, and the seconds that it takes."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        page = call()
        seconds.append(time.perf_counter() - begin)
    return page.text.read(), min(seconds)


def measured(doc: Image, here: Reader, there: Reader, url: str) -> tuple[set[str], dict[str, float]]:
    """Read a picture in every way; return the texts, which should be one, and the seconds of each way."""
    ways: dict[str, Callable[[], Page]] = {
        "over HTTP, by the typed client": lambda: there.read(doc=doc),
        "over HTTP, posted as by curl": lambda: posted(url, doc),
        "in process, through the call stack": lambda: here.post(on="read", doc=doc),
        "in process, as a plain method": lambda: here.read(doc=doc),
    }
    answers = {way: timed(call) for way, call in ways.items()}
    return {text for text, _ in answers.values()}, {way: taken for way, (_, taken) in answers.items()}


def flowed(doc: Image, url: str) -> tuple[str, list[str]]:
    """Have the server read the picture as a node of a Flow, whose others are here: the text, and what there is to show."""
    with sheet(f"{url}/reader") as f:
        ran = f.run(doc=doc)
        found: Sheet = ran.result
    wide, high = found.small.pil().size
    told = f"language {found.language.code}, beside it a thumbnail of {wide} x {high} pixels"
    return found.text.read(), [f"{told}, by a Flow over two processes:", str(f), str(ran.trace)]


def main() -> None:
    parser = ArgumentParser(description="Read a picture over HTTP and in this process, and compare the times.")
    parser.add_argument("picture", nargs="?", type=Path, default=HERE / "data" / "receipt.jpg")
    picture: Path = parser.parse_args().picture
    doc = Image(ref=str(picture))
    doc.read()  # a file that is missing is missed now, rather than when all is up
    begin = time.perf_counter()
    here = Reader()
    loaded = time.perf_counter()
    with here, server() as url, Reader.at(url) as there:
        steps = {"loading the models here": loaded - begin, "starting the server": time.perf_counter() - loaded}
        texts, ways = measured(doc, here, there, url)
        text, shown = flowed(doc, url)
    if texts != {text}:
        raise SystemExit(
            f"demo: the ways should give the same text of {picture.name}, and gave {sorted(texts | {text})}"
        )
    print(f"{picture.name} says:\n\n{indent(text, '    ')}\n")
    print(*shown, sep="\n\n", end=f"\n\n{'seconds':>44}\n")
    for step, taken in (steps | ways).items():
        print(f"{step:36}{taken:8.3f}")


if __name__ == "__main__":
    try:
        main()
    except ModuleNotFoundError as error:
        raise SystemExit(f"demo needs the module {error.name!r}; try: pip install '.[demo]'") from None
    except (XooaiError, OSError) as error:
        raise SystemExit(f"demo: {error}") from None
