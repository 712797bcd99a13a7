"""Run the code blocks of one page of the documentation, in order, in the current folder.

    python -W error tests/pages.py PAGE [--curl]

| block | what is done |
|---|---|
| `python` | run, in one namespace for the page |
| any with `title="reader.py"` | written to that file |
| `sh` | run by bash; every command has to succeed. Those that call curl only with `--curl` |
| `sh` with `pip install .` | run, and installs into a folder beside |
| `sh title="server"` | started, and stopped at the end of the page: it has to say where it serves |
| `text title="output"` | has to be what the block before it printed; `...` stands for anything |
| `toml`, `json`, `yaml` | has to parse |
| `js` | is of a page in a browser, where the tests of browsers run it |
| `text` | a picture for people |

The ports that a page names are replaced by free ones.

Tools such as sybil, mktestdocs and pytest-examples run blocks of one language; a page about a server needs several,
which work on each other, and servers between them.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from importlib import import_module
from pathlib import Path
from types import ModuleType

from markdown_it import MarkdownIt

PATIENCE = 120.0  # seconds for one block: a model is loaded within ten
PORT = re.compile(r"(?<=127\.0\.0\.1:)[1-9]\d+|(?<=localhost:)\d+|(?<=--port )\d+")
DEFAULT = "http://127.0.0.1:8080"  # where serve() and `xooai serve` listen when nothing is said
ELSEWHERE = ("python3 scripts/", "pip install '.[")  # .ci/run runs these
NEARBY = "installed"  # the folder for what a page installs
INSTALL = f"pip install --quiet --no-index --no-deps --no-build-isolation --target {NEARBY} ."


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `line` is that of its first line of code."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    tokens = MarkdownIt().parse(page.read_text())
    return [
        _block(token.info, token.content, token.map[0] + 2) for token in tokens if token.type == "fence" and token.map
    ]


def _block(info: str, text: str, line: int) -> Block:
    language, *more = shlex.split(info) or [""]
    options = dict(option.partition("=")[::2] for option in more)
    return Block(language, options.get("title", ""), text, line)


def calls_curl(block: Block) -> bool:
    return block.language == "sh" and re.search(r"^curl ", block.text, re.MULTILINE) is not None


def is_elsewhere(block: Block) -> bool:
    return block.language == "sh" and all(
        line.startswith(ELSEWHERE) for line in block.text.splitlines() if line.strip()
    )


class Page:
    """One page as it is run."""

    def __init__(self, path: Path, with_curl: bool) -> None:
        self.path = path
        self.with_curl = with_curl
        self.module = ModuleType("page")
        sys.modules["page"] = self.module
        self.servers: list[subprocess.Popen[str]] = []
        self.said: str | None = None
        self.ports: dict[str, str] = {}

    def run(self) -> None:
        try:
            for block in blocks(self.path):
                try:
                    self._run(block)
                except BaseException as error:
                    error.add_note(f"{self.path}:{block.line}")
                    raise
        finally:
            for server in self.servers:
                self._stop(server)

    def _run(self, block: Block) -> None:
        kinds: dict[str, Callable[[Block], None]] = {
            "python": self._python, "sh": self._sh, "text": self._text, "toml": self._toml, "json": self._json,
            "yaml": self._yaml, "js": self._js,
        }  # fmt: skip
        if block.language not in kinds:
            raise ValueError(f"nothing is known of blocks in {block.language!r}; there are: {', '.join(kinds)}")
        if block.title and block.title not in ("server", "output"):
            Path(block.title).write_text(self._with_free_ports(block.text))
            self.said = None
        if not (is_elsewhere(block) or (calls_curl(block) and not self.with_curl)):
            kinds[block.language](block)
        else:
            self.said = None

    def _js(self, block: Block) -> None:
        """Nothing here: tests/test_browser.py runs it in a page."""
        self.said = None

    def _python(self, block: Block) -> None:
        source = self._with_free_ports(block.text)
        code = compile("\n" * (block.line - 1) + source, str(self.path), "exec", dont_inherit=True)
        if block.title:
            return
        with redirect_stdout(io.StringIO()) as out:
            exec(code, self.module.__dict__)
        self.said = out.getvalue()

    def _sh(self, block: Block) -> None:
        text = self._with_free_ports(block.text).replace("pip install .\n", f"{INSTALL}\n")
        if block.title == "server":
            says_where = "--url" in text or "xooai serve" not in text
            self.servers.append(_started(text if says_where else f"{text.rstrip()} --url {self._free(DEFAULT)}"))
            return
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
        if ended.returncode != 0:
            raise ValueError(f"exit code {ended.returncode} of:\n{text}{ended.stdout}")
        self.said = ended.stdout

    def _text(self, block: Block) -> None:
        if block.title != "output" or self.said is None:
            return
        wanted, found = self._with_free_ports(block.text).strip(), self.said.strip()
        if not OutputChecker().check_output(f"{wanted}\n", f"{found}\n", ELLIPSIS | NORMALIZE_WHITESPACE):
            raise ValueError(f"the page says:\n{wanted}\nand it was:\n{found}")

    def _toml(self, block: Block) -> None:
        tomllib.loads(block.text)

    def _yaml(self, block: Block) -> None:
        import_module("yaml").safe_load(block.text)

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _free(self, url: str) -> str:
        return PORT.sub(lambda found: self.ports.setdefault(found[0], _free_port()), url)

    def _with_free_ports(self, text: str) -> str:
        return self._free(text.replace(".serve()", f'.serve("{DEFAULT}")'))

    def _stop(self, server: subprocess.Popen[str]) -> None:
        with server:
            server.send_signal(signal.SIGTERM)
            if server.wait(PATIENCE) not in (0, -signal.SIGTERM):  # uvicorn's own command line ends by the signal
                raise ValueError(f"{self.path}: the server ended with exit code {server.returncode}")


def _started(command: str) -> subprocess.Popen[str]:
    """Start a server; return when it has said where it serves."""
    server = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []
    for line in server.stdout or ():
        if "://" in line:
            return server
        said.append(line)
    with server:
        raise ValueError(f"exit code {server.wait()} before it served: {command}\n{''.join(said)}")


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


if __name__ == "__main__":
    sys.path[:0] = ["", NEARBY]
    os.environ["PYTHONPATH"] = os.pathsep.join([NEARBY, os.environ.get("PYTHONPATH", "")])
    Page(Path(sys.argv[1]), "--curl" in sys.argv).run()
