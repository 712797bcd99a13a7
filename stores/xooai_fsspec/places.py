"""Where a URL of an object store leads: a bucket or container, a prefix in it, and how the engine is to reach it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

from xooai.errors import InvalidArgument
from xooai.store import StoreOptions

__all__ = ["SCHEMES", "Place", "place_at", "web_engine"]

CLIENT = {
    "connect_timeout": "5s",
    "read_timeout": "30s",  # of silence
    "timeout": "365d",  # of a whole request: a reader may be as slow as it likes
}
WRITING = {
    "read_timeout": "300s"  # which runs while a part goes out, too: six parts of 5 MiB need 100 KiB/s
}
RETRIES: dict[str, Any] = {
    "max_retries": 5,
    "retry_timeout": timedelta(seconds=30),  # the engine's own three minutes are longer than a call has
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
"""Variables of the environment that say which credentials to use; without them the engine asks the instance's own address."""
_ENDPOINTS = ("endpoint", "aws_endpoint_url_s3", "base_url")
_PREFIX = re.compile(r"[A-Za-z0-9._=/-]*")
"""Characters that are the same in every store, in URLs and in signatures of requests."""
_USER = re.compile(r"//([^/@]+)@")
_BUCKET = re.compile(r"[A-Za-z0-9._$-]+")
"""What buckets and containers are called, `$web` among them."""


class Place(msgspec.Struct, frozen=True):
    """An engine's store of a whole bucket, and one that is patient while it writes; `prefix` is empty or ends with '/';
    `secrets` are what no text may show.
    """

    scheme: str
    bucket: str
    prefix: str
    engine: Any
    writer: Any
    secrets: frozenset[str]

    def __repr__(self) -> str:
        return f"Place({self.url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich shows; msgspec's own would show the secrets."""
        return [("url", self.url)]

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")


def _s3(bucket: str, options: Mapping[str, Any]) -> Any:
    return S3Store(bucket, **options)


def _gcs(bucket: str, options: Mapping[str, Any]) -> Any:
    return GCSStore(bucket, **options)


def _azure(container: str, options: Mapping[str, Any]) -> Any:
    name, _, host = container.partition("@")  # container@account.dfs.core.windows.net
    account = {"account_name": host.partition(".")[0]} if host else {}
    return AzureStore(name, **{**account, **options})


SCHEMES: dict[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "s3": _s3, "s3a": _s3, "gs": _gcs, "gcs": _gcs, "az": _azure, "abfs": _azure, "abfss": _azure,
}  # fmt: skip


def place_at(url: str, options: StoreOptions) -> Place:
    """The place that `scheme://bucket/prefix` names. Raises InvalidArgument."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    given = dict(options.storage_options)
    secrets = _secrets(given)
    prefix = parts.path.strip("/")
    bucket, at, host = parts.netloc.partition("@")  # container@account.dfs.core.windows.net is Azure's
    is_place = _BUCKET.fullmatch(bucket) and (not at or (SCHEMES[scheme] is _azure and _BUCKET.fullmatch(host)))
    if not is_place or parts.query or parts.fragment:
        raise InvalidArgument(f"no place for a store; it is written {scheme}://bucket/prefix, credentials are options")
    if not _PREFIX.fullmatch(prefix) or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
        raise InvalidArgument(f"{prefix!r} is no prefix; it has letters, digits, and ._=- between slashes")
    client = dict(given.pop("client_options", {}))
    if any(str(given.get(name, "")).startswith("http://") for name in _ENDPOINTS):
        client.setdefault("allow_http", True)  # the operator wrote so
    retries = {**RETRIES, **given.pop("retry_config", {})}
    try:
        engine, writer = (
            SCHEMES[scheme](parts.netloc, {**given, "client_options": {**ours, **client}, "retry_config": retries})
            for ours in (CLIENT, CLIENT | WRITING)
        )
    except (BaseError, ValueError, TypeError) as error:
        names = ", ".join(sorted(given)) or "none"
        raise InvalidArgument(
            f"the storage_options of {scheme}:// do not fit ({type(error).__name__}); given are: {names}; "
            "known are those of obstore's store for this scheme"
        ) from None  # whose text may show what was given
    if isinstance(engine, S3Store):
        _check_credentials(engine)
    return Place(scheme, parts.netloc, f"{prefix}/" if prefix else "", engine, writer, secrets)


def _check_credentials(engine: S3Store) -> None:
    """Where another server than AWS is named, this machine's credentials in AWS are none for it: nobody is asked for them."""
    config = engine.config
    is_elsewhere = any("endpoint" in name for name in config)
    is_given = "access_key_id" in config or config.get("skip_signature") or engine.credential_provider is not None
    if is_elsewhere and not is_given and not any(name in os.environ for name in _CREDENTIALS):
        raise InvalidArgument(
            "a store of S3 at an endpoint needs access_key_id and secret_access_key among the storage_options, "
            "or skip_signature for one that is open to all"
        )


def web_engine(url: str, options: StoreOptions) -> tuple[HTTPStore, frozenset[str]]:
    """The engine for reading below a URL of a web server, and what no text may show."""
    given = dict(options.storage_options)
    secrets = _secrets(given)
    client: Any = {**CLIENT, "allow_http": True, **given.pop("client_options", {})}
    retries: Any = {**RETRIES, **given.pop("retry_config", {})}
    if given:
        raise InvalidArgument(f"unknown storage_options for a web server: {', '.join(sorted(given))}")
    try:
        return HTTPStore(url, client_options=client, retry_config=retries), secrets
    except (BaseError, ValueError, TypeError) as error:
        raise InvalidArgument(f"the storage_options of a web server do not fit ({type(error).__name__})") from None


def _secrets(options: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(value for value in map(str, _values(options)) if len(value) > 3)


def _values(options: Mapping[str, Any]) -> list[Any]:
    """All that might be a secret."""
    found: list[Any] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += _values(value)
        elif isinstance(value, str) and (user := _USER.search(value)):  # of an endpoint, or a proxy
            found += [value, user[1], user[1].partition(":")[2]]
        elif isinstance(value, str) and re.search("key|secret|token|password|credential|header", name, re.IGNORECASE):
            found.append(value)
    return found
