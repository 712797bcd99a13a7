"""A sweep of a bucket removes what puts have left there, and nothing else anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("obstore", reason="no module 'obstore'; it comes with: pip install 'xooai[stores]'")
pytest.importorskip("moto.server", reason="no module 'moto'; it comes with: pip install -e '.[dev]'")

from servers import ACCESS, SECRET, bucket, client
from xooai.content import MemoryContent, key_of
from xooai.errors import InvalidArgument, Unavailable
from xooai.plugins import open_store
from xooai.store import StoreOptions
from xooai_fsspec.s3 import S3

KEYS = {"access_key_id": ACCESS, "secret_access_key": SECRET, "region": "us-east-1"}
NOBODY = "http://127.0.0.1:1"


def opened(url: str, **given: Any) -> S3:
    store = open_store(url, StoreOptions(storage_options=given))
    assert isinstance(store, S3)
    return store


@pytest.fixture
def name(endpoint: str) -> str:
    return bucket(endpoint)


@pytest.mark.parametrize("prefix", ["", "some/prefix/"])
@pytest.mark.parametrize("endpoint_name", ["endpoint", "aws_endpoint_url_s3"])
def test_uploads_of_others_are_spared(endpoint: str, name: str, prefix: str, endpoint_name: str) -> None:
    key = key_of(MemoryContent(b"x").signature)
    others = ["backups/database.dump", "some/prefix/film.mp4", f"some/prefix/x/{key}", f"other/{key}"]
    for one in (prefix + key, *others):
        client(endpoint).create_multipart_upload(Bucket=name, Key=one)

    store = opened(f"s3://{name}/{prefix}", **KEYS, **{endpoint_name: endpoint})
    assert asyncio.run(store.sweep(-60)) == 1

    left = client(endpoint).list_multipart_uploads(Bucket=name)["Uploads"]
    assert sorted(upload["Key"] for upload in left) == sorted(others)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"region": "us-east-1"}, "access_key_id and secret_access_key"),
        ({"region": "us-east-1", "skip_signature": True}, "skip_signature"),
        ({**KEYS, "client_options": {"proxy_url": NOBODY}}, "proxy_url"),
        ({**KEYS, "virtual_hosted_style_request": True}, "virtual_hosted_style_request"),
        (
            {"region": "us-east-1", "credential_provider": lambda: {"access_key_id": "x", "secret_access_key": "y"}},
            "credential_provider",
        ),
    ],
)
def test_without_saying_whom_to_ask_and_who_asks_nobody_is_asked(given: dict[str, Any], told: str) -> None:
    """The engine and the library that sweeps look in different places for what is not said."""
    with pytest.raises(InvalidArgument, match=told):
        asyncio.run(opened("s3://bucket/x", **given).sweep())


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_of_the_environment_is_not_enough(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, NOBODY)
    with pytest.raises(InvalidArgument, match="environment"):
        asyncio.run(opened("s3://bucket/x", **KEYS).sweep())


def test_an_endpoint_that_is_none_is_told_without_its_secret() -> None:
    store = opened("s3://bucket/x", **KEYS, endpoint="user:hidden-word@host")
    with pytest.raises(Unavailable) as raised:
        asyncio.run(store.sweep())
    assert "hidden-word" not in str(raised.value)
