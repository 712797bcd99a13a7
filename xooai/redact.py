"""Refs as they may be shown: user names, passwords and query strings of URLs are left out of every text."""

from __future__ import annotations

import re

__all__ = ["redact"]

LONGEST = 200  # characters of a ref in a text: enough for any real path, while a data: URL may hold megabytes

# Patterns as texts, which `re` compiles on first use: a start shows no ref.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"
_HOP = rf"::(?={_SCHEME})"  # where fsspec's chains continue; '::' may also stand in a host or password
_PORT = r"\d{0,5}"
_ON_DISK = frozenset({"file", "local"})  # their paths are taken literally: '?' and '@' stand in file names


def redact(ref: str) -> str:
    """Return `ref` without what may be secret: userinfo, query and fragment of URLs, the content of data: URLs."""
    if ref.startswith("data:"):
        return f"{ref.partition(',')[0][:LONGEST]},..."
    if ref.startswith("store:"):  # its grant permits whoever has it to read
        return _without_query(ref)[:LONGEST]
    shown = "::".join(_part(part) for part in re.split(_HOP, ref))
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "..."


def _part(part: str) -> str:
    scheme = re.match(_SCHEME, part)
    if scheme is None or scheme[0][:-3].lower() in _ON_DISK:
        return part
    return scheme[0] + _without_query(_without_userinfo(part[scheme.end() :]))


def _without_userinfo(rest: str) -> str:
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return "***@" + rest[host.rindex("@") + 1 :]
    # A password may hold an unescaped '/', '?' or '#'; then what looks like the port is no number.
    port = "" if host.startswith("[") else host.partition(":")[2]
    if "@" in rest and re.fullmatch(_PORT, port) is None:
        return "***@" + rest[rest.rindex("@") + 1 :]
    return rest


def _without_query(rest: str) -> str:
    shown = re.split(r"[?#]", rest, maxsplit=1)[0]
    return shown if shown == rest else shown + "?***"
