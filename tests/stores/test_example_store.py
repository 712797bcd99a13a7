"""The example of a third party's store, in less than 60 lines of code, passes the suite."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from xooai import plugins
from xooai.plugins import open_store
from xooai.testing import StoreTests
from xooai.testing.stores.fixtures import Open

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "xooai_sqlite.py"
INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: xooai-sqlite\nVersion: 1.0\n",
    "entry_points.txt": "[xooai.stores]\nsqlite = xooai_sqlite\n",
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example with its entry point, as pip would install it."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "xooai_sqlite-1.0.dist-info"
    info.mkdir()
    for name, text in INFO.items():
        (info / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.syspath_prepend(EXAMPLE.parent)
        invalidate_caches()
        yield
        plugins.store.cache_clear()
        sys.modules.pop("xooai_sqlite", None)


class TestSqlite(StoreTests):
    large = 1_100_000  # two chunks: SQLite waits for the disk with each content

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        return lambda: open_store(f"sqlite://{tmp_path}/contents.db")


def test_it_is_short() -> None:
    tree = ast.parse(EXAMPLE.read_text())
    told = [
        node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]  # docstrings
    lines = [line for line in ast.unparse(tree).splitlines() if line.strip()]
    assert len(lines) - len(told) < 60


def test_the_page_shows_it_as_it_is() -> None:
    page = EXAMPLE.parents[1] / "docs" / "how-to" / "store.md"
    assert f'```python title="xooai_sqlite.py"\n{EXAMPLE.read_text()}```' in page.read_text()
