"""Azure as a store passes the suite, on a server of Azurite."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from email.utils import formatdate
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")

from servers import AZURE_ACCOUNT, AZURE_KEY, azurite
from xooai.plugins import open_store
from xooai.store import StoreOptions
from xooai.testing import StoreTests
from xooai.testing.stores.fixtures import Open

pytestmark = pytest.mark.system

VERSION = "2021-12-02"


def make_container(endpoint: str, name: str) -> None:
    """Make a container, by a request that is signed as Microsoft says ("Authorize with Shared Key")."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": VERSION}
    named = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
    text = f"PUT{chr(10) * 12}{named}/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
    digest = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)).decode()
    headers |= {"authorization": f"SharedKey {AZURE_ACCOUNT}:{digest}", "content-length": "0"}
    with urlopen(Request(f"{endpoint}/{name}?restype=container", method="PUT", headers=headers), timeout=30) as answer:
        assert answer.status == 201


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


class TestAzurite(StoreTests):
    secrets = (AZURE_KEY,)

    @pytest.fixture
    def open_store(self, endpoint: str) -> Open:
        name = f"container-{secrets.token_hex(8)}"
        make_container(endpoint, name)
        options = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY, "endpoint": endpoint}
        return lambda: open_store(f"az://{name}/some/prefix", StoreOptions(storage_options=options))
