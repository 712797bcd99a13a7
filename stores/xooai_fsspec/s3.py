"""Uploads to S3 that were never ended: found and removed, by the library of AWS, because the engine cannot list them."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any

from xooai.errors import PermissionDenied, PluginError, Unavailable
from xooai.store import ABANDONED
from xooai_fsspec.objects import Objects

__all__ = ["S3"]

_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})


class S3(Objects):
    """A bucket of S3. Who was killed in the middle of an upload leaves parts, which nobody sees and which cost: sweep them."""

    async def sweep(self, older: float = ABANDONED) -> int:
        engine = self._engine
        return await asyncio.to_thread(self._swept, engine.config, time.time() - older)

    def _swept(self, config: dict[str, Any], before: float) -> int:
        try:
            boto3, botocore = importlib.import_module("boto3"), importlib.import_module("botocore.exceptions")
        except ModuleNotFoundError as error:
            raise PluginError(
                f"to sweep s3:// needs the module {error.name!r}; try: pip install 'xooai[s3]'"
            ) from error
        try:
            return _removed(_client(boto3, config), str(config["bucket"]), self._prefix, before)
        except botocore.ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = PermissionDenied if code in _DENIED else Unavailable
            raise kind(f"the store {self.name!r} cannot be swept: {code}") from None
        except botocore.BotoCoreError as error:
            raise Unavailable(f"the store {self.name!r} cannot be swept: {type(error).__name__}") from None


def _client(boto3: Any, config: dict[str, Any]) -> Any:
    """A client with what the engine was told; what it was not told both find in the environment."""
    named = {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
        "region_name": "region",
        "endpoint_url": "endpoint",
    }
    return boto3.session.Session().client("s3", **{name: config.get(ours) for name, ours in named.items()})


def _removed(client: Any, bucket: str, prefix: str, before: float) -> int:
    removed = 0
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", ()):
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
