"""Schemathesis, which sends what a description allows and what it does not, finds nothing wrong with a real server."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from gallery import Gallery
from surroundings import unmeasured

pytestmark = pytest.mark.skipif(find_spec("schemathesis") is None, reason="needs the module 'schemathesis'")

# What no JSON Schema can tell of these endpoints: content fits its size and signature, a tensor's its shape (422), and a ref of a
# peer is not read (403).
SETTINGS = """
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "422"]
"""
EXAMPLES = [5, pytest.param(50, marks=pytest.mark.slow)]
"""For each endpoint, beside those of its other phases, which are most of what it sends."""


@pytest.mark.parametrize("examples", EXAMPLES)
def test_schemathesis_finds_nothing_wrong(tmp_path: Path, examples: int) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", "--no-color"]
    command += ["--seed", "1", "--generation-deterministic", "--max-examples", str(examples)]
    with Gallery() as gallery:
        url = gallery.start("http://127.0.0.1:0")[0]
        ended = subprocess.run(
            [*command, f"{url}/openapi.json"],
            cwd=tmp_path,
            env={**unmeasured(), "PYTHONWARNINGS": "default", "NO_PROXY": "*"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
    assert ended.returncode == 0, ended.stdout
    assert "Selected: 20/20" in ended.stdout
    assert "No issues found" in ended.stdout
