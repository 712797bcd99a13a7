"""What a ref says before it is opened: its scheme, whether it is a path, and whether it may be sent to others."""

from __future__ import annotations

import os
import re

from xooai.optional import load

__all__ = ["REMOTE", "is_chain", "is_local", "is_protocol", "path_of", "scheme_of"]

# What may leave the process as the text that it is. Closed, because the mistake in the other direction shows a path of this
# machine to a peer: a scheme that is not here counts as local, whatever it is. `git`, `dvc`, `reference`, `zip` and the caches
# read local files; `memory` and `data` mean something here only.
# fmt: off
REMOTE = frozenset({
    "abfs", "abfss", "adl", "az", "box", "dbfs", "dropbox", "ftp", "gcs", "gdrive", "gist", "github", "gs", "hdfs", "hf",
    "http", "https", "lakefs", "oci", "oss", "s3", "s3a", "sftp", "smb", "ssh", "store", "tos", "wandb", "webdav", "webhdfs",
})
# fmt: on
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:// is a drive
_IPV6_HOST = re.compile(r"(://(?:[^/?#@]*@)?)\[[0-9A-Fa-f:.]+\]")


def is_local(ref: str) -> bool:
    """Say whether `ref` means something in this process or on this machine only, so that it must not be sent."""
    if ref.startswith("store:"):
        return False
    return scheme_of(ref) not in REMOTE or is_chain(ref)


def scheme_of(ref: str) -> str | None:
    found = _SCHEME.match(ref)
    return None if found is None else found[1].lower()


def is_chain(ref: str) -> bool:
    """Say whether fsspec would open `ref` through several filesystems (`zip://a.png::https://host/b.zip`)."""
    first, mark, _ = _IPV6_HOST.sub(r"\1host", ref).partition("::")
    if not mark or scheme_of(ref) in ("file", "local"):
        return False
    return "://" in first or is_protocol(first)


def is_protocol(word: str) -> bool:
    fsspec = load("fsspec", "a ref")  # by name, when a ref needs it: its import takes as long as all of ours
    return (
        word in fsspec.available_protocols() or word in fsspec.registry
    )  # the latter are those that were added by hand


def path_of(ref: str) -> str | None:
    """The path that `ref` names, None for every other URL. As fsspec does: '~' is the home, file:// is taken literally."""
    for prefix in ("file://", "local://", "file:", "local:"):
        if ref.lower().startswith(prefix):
            return os.path.expanduser(ref[len(prefix) :])
    if scheme_of(ref) is not None or is_chain(ref) or ref.startswith(("data:", "store:")):
        return None
    return os.path.expanduser(ref)
