"""Uploads to S3 that were never ended: found and removed, by the library of AWS, because the engine cannot list them."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Mapping
from typing import Any

from xooai.errors import InvalidArgument, PermissionDenied, PluginError, Unavailable
from xooai.store import ABANDONED
from xooai_fsspec.objects import KEY, Objects
from xooai_fsspec.places import CLIENT

__all__ = ["S3"]

_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})
_NAMED = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
    "token": "aws_session_token",
    "region": "region_name",
    "endpoint": "endpoint_url",
    "endpoint_url": "endpoint_url",
    "endpoint_url_s3": "endpoint_url",
}
"""What the engine and the library of AWS call the same."""
_WITHOUT_MEANING_HERE = {"bucket", "conditional_put", "copy_if_not_exists", "checksum_algorithm", "unsigned_payload"}
_ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Variables of the environment: the engine heeds other ones than the library."""


class S3(Objects):
    """A bucket of S3. Who was killed in the middle of an upload leaves parts, which nobody sees and which cost: sweep them."""

    async def sweep(self, older: float = ABANDONED) -> int:
        """As every sweep does. Raises InvalidArgument where the options leave open which server it is, and who asks."""
        engine = self._engine
        given = _given(engine)
        return await asyncio.to_thread(self._swept, given, str(engine.config["bucket"]), time.time() - older)

    def _swept(self, given: dict[str, str], bucket: str, before: float) -> int:
        try:
            boto3, botocore = importlib.import_module("boto3"), importlib.import_module("botocore.exceptions")
            config = importlib.import_module("botocore.config").Config(ignore_configured_endpoint_urls=True)
        except ModuleNotFoundError as error:
            raise PluginError(
                f"to sweep s3:// needs the module {error.name!r}; try: pip install 'xooai[s3]'"
            ) from error
        try:
            client = boto3.session.Session().client("s3", config=config, **given)
            return _removed(client, bucket, self._prefix, before)
        except botocore.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = PermissionDenied if code in _DENIED else Unavailable
            raise kind(f"the store {self.name!r} cannot be swept: {code}") from None
        except (botocore.BotoCoreError, ValueError) as error:  # the latter for an endpoint that is none
            raise Unavailable(f"the store {self.name!r} cannot be swept: {type(error).__name__}") from None


def _given(engine: Any) -> dict[str, str]:
    """What the library of AWS is to be told so that it asks the engine's server as the engine does. It finds much of that by
    itself, but elsewhere than the engine: where anything is left to be found, another server might be swept.
    """
    config: Mapping[str, str] = engine.config
    given = {theirs: config[ours] for ours, theirs in _NAMED.items() if ours in config}
    wrong = sorted(config.keys() - _NAMED.keys() - _WITHOUT_MEANING_HERE)
    wrong += sorted((engine.client_options or {}).keys() - CLIENT.keys() - {"allow_http"})
    if "endpoint_url" not in given and any(name in os.environ for name in _ENDPOINTS):
        wrong.append("an endpoint from the environment")
    if engine.credential_provider is not None:
        wrong.append("credential_provider")
    if wrong:
        raise InvalidArgument(
            f"to sweep is not possible with: {', '.join(wrong)}; a lifecycle rule of the bucket does it too"
        )
    missing = [name for name in ("access_key_id", "secret_access_key") if name not in config]
    if missing:
        raise InvalidArgument(
            f"to sweep needs {' and '.join(missing)} among the storage_options; a lifecycle rule of the bucket does it too"
        )
    return given


def _removed(client: Any, bucket: str, prefix: str, before: float) -> int:
    removed = 0
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", ()):
            if not KEY.fullmatch(upload["Key"].removeprefix(prefix)):
                continue  # somebody else's
            which = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            try:
                if _written(client, upload, which) <= before:
                    client.abort_multipart_upload(**which)
                    removed += 1
            except client.exceptions.NoSuchUpload:
                pass  # ended meanwhile
    return removed


def _written(client: Any, upload: dict[str, Any], which: dict[str, str]) -> float:
    """When the last part of an upload came, or it was begun."""
    times = [upload["Initiated"]]
    for page in client.get_paginator("list_parts").paginate(**which):
        times += [part["LastModified"] for part in page.get("Parts", ())]
    return float(max(times).timestamp())
