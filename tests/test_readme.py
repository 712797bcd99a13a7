"""README and the documentation say what is so: every code block runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pages
from media_files import film, free
from surroundings import unmeasured, without_options

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "examples" / "data"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SAMPLES = {"scan.jpg": "receipt.jpg", "233.jpg": "receipt.jpg", "sentence.wav": "sentence.wav"}
"""Files that the pages take for given, and which of our own they are."""

PATIENCE = 300  # seconds for a page: each of its blocks has less


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def is_of_the_system(page: Path) -> bool:
    """Whether a page's blocks build on what commands of the system make: `<!-- system: openssl -->`."""
    return "<!-- system: " in page.read_text()


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        return False


def run(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a page where its sample files are. What it needs it names in a comment: `<!-- needs: uvicorn, PIL -->`."""
    for needed in re.findall(r"<!-- needs: (.*?) -->", page.read_text()):
        for module in needed.split(", "):
            if not is_there(module):
                pytest.skip(f"no module {module!r}; it comes with: pip install -e '.[dev]'")
    for sample, ours in SAMPLES.items():
        shutil.copy(DATA / ours, folder / sample)
    if "big.mp4" in page.read_text():
        (folder / "big.mp4").write_bytes(film(pytest.importorskip("av"), "mp4", "mpeg4", (320, 240)) + free(2**20))
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "pages.py"), str(page), *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where this environment's xooai is
    env = {**without_options(), "PATH": path}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if pages.blocks(page) and not is_of_the_system(page)], ids=name
)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    ended = run(page, tmp_path)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.system
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(pages.calls_curl, pages.blocks(page)))], ids=name)
def test_a_page_does_what_it_says_by_curl_too(page: Path, tmp_path: Path) -> None:
    ended = run(page, tmp_path, "--curl")

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_tells_to_install_or_to_run_is_there(page: Path) -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    lines = [line for block in pages.blocks(page) if pages.is_elsewhere(block) for line in block.text.splitlines()]

    for line in lines:
        if line.startswith("python3 scripts/"):
            assert (ROOT / line.split()[1]).is_file()
            assert line.partition("  #")[0] in ci or name(page) != "README.md"
        else:
            extras = set(metadata("xooai").get_all("Provides-Extra") or ())
            wanted = [Requirement(word) for word in re.findall(r"xooai\[[a-z,]+\]", line)]
            assert {extra for requirement in wanted for extra in requirement.extras} <= extras


def test_the_site_is_built_without_a_complaint_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the site is built by zensical; it comes with: pip install -e '.[dev]'")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]

    ended = subprocess.run(
        command, cwd=tmp_path, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) >= len(list((ROOT / "docs").rglob("*.md")))
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+rel=\"?(?:stylesheet|icon|preconnect)[^>]+https?:|@import"
    )
    assert [page.name for page in built if loads.search(page.read_text())] == []
    assert "Call an endpoint and wait for its reply" in (tmp_path / "site" / "reference.html").read_text()


def test_the_blocks_of_a_page_are_really_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, complaint in {
        "```python\nassert 1 == 2\n```": "page.md:2",
        '```python\nprint(1)\n```\n```text title="output"\n2\n```': "it was:\n1",
        "```sh\nfalse\n```": "exit code 1",
        '```sh title="server"\ntrue\n```': "before it served",
        "```toml\n[\n```": "page.md:2",
        "```ruby\n```": "'ruby'",
    }.items():
        page.write_text(text)
        ended = run(page, tmp_path)
        assert ended.returncode == 1
        assert complaint in ended.stderr
