"""How xooai finds the stores of S3, GCS and Azure."""

from __future__ import annotations

from xooai.plugins import hookimpl
from xooai.store import Opener, Store, StoreOptions
from xooai_fsspec.objects import Objects
from xooai_fsspec.places import SCHEMES, place_at
from xooai_fsspec.s3 import S3

__all__ = ["xooai_store"]


class _Buckets:
    def open(self, url: str, options: StoreOptions) -> Store:
        place = place_at(url, options)
        return (S3 if place.scheme in ("s3", "s3a") else Objects)(place, options.name)


@hookimpl
def xooai_store(scheme: str) -> Opener | None:
    """The stores of s3://, gs:// and az:// with their other names."""
    return _Buckets() if scheme in SCHEMES else None
