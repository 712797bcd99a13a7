"""The example of a third party's driver, in less than 60 lines, passes the suite."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest

from xooai import plugins
from xooai.testing import DriverTests

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
INFO = {
    "METADATA": "Metadata-Version: 2.1\nName: xooai-tcp\nVersion: 1.0\n",
    "entry_points.txt": "[xooai.drivers]\ntcp = xooai_tcp\n",
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example with its entry point, as pip would install it."""
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "xooai_tcp-1.0.dist-info"
    info.mkdir()
    for name, text in INFO.items():
        (info / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.syspath_prepend(EXAMPLES)
        invalidate_caches()
        yield  # several times where other tests come between these: a plugin's module stays, as its manager knows it
        plugins.driver.cache_clear()


class TestTcp(DriverTests):
    url = "tcp://127.0.0.1:0"
