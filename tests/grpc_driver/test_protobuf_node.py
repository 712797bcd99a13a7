"""Another language: a client in JavaScript, with stubs of the exported file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from protobuf_kit import Kit
from stubs import HERE, exported

MODULES = HERE.parents[1] / ".cache" / "node" / "node_modules"
PATIENCE = 60  # seconds

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not MODULES.is_dir(), reason="needs packages of npm's; python3 scripts/system_test.py installs them"
    ),
]


def test_javascript_calls_endpoints_of_all_shapes(tmp_path: Path) -> None:
    file = tmp_path / "kit.proto"
    file.write_text(exported(f"{HERE / 'protobuf_kit.py'}:Kit"))
    with Kit() as kit:
        (url,) = kit.start("grpc://127.0.0.1:0")
        command = ["node", str(HERE / "kit_client.js"), str(file), url.removeprefix("grpc://")]
        environment = {**os.environ, "NODE_PATH": str(MODULES)}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "read": "6 bytes over 0.0",
        "add": str(2**63 - 1),
        "turn": ["ä", "COLOUR_DARK_BLUE", "PAGE_SIDE_LEFT", "5"],
        "missing": {"code": 5, "details": "no page 7"},
        "count": ["0", "1", "2", "no more"],
        "join": "a-b",
        "talk": ["hello", "A", "B"],
    }
