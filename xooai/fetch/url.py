"""One strict reading of URLs: what two parsers could read as two places is refused."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

import msgspec

from xooai.fetch.host import read_host

__all__ = ["PORTS", "Target", "read_location", "read_url"]

LONGEST = 8192  # characters: as much as servers take of a target
PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII | re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]@%]*\]|[^\[\]:@%]*)(?::([0-9]{1,5}))?")
_NEVER = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")  # parsers drop these, stop at them, or take '\' for '/'
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# What WHATWG's URL standard escapes in a path or a query, all else (signatures are made over it) stays as it is.
_ESCAPED = re.compile(r"[^!$-;=?-_a-z|~]")


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads: `path` is what the server is asked for, with the query; no fragment."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As in a Host field: without the scheme's usual port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if PORTS[self.scheme] == self.port else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def read_url(text: str) -> Target:
    """Read an absolute http or https URL. ValueError, whose text says what is wrong and repeats nothing of the URL."""
    if len(text) > LONGEST:
        raise ValueError(f"it has more than {LONGEST:,} characters")
    if _NEVER.search(text):
        raise ValueError("it holds a space, a control character, a backslash or a lone surrogate; escape these")
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError("only http:// and https:// are fetched")
    scheme, rest = found[1].lower(), found[3]
    authority = _AUTHORITY.fullmatch(found[2])
    if authority is None:
        raise ValueError(_why(found[2]))
    port = PORTS[scheme] if authority[2] is None else int(authority[2])
    path = rest if rest.startswith("/") else f"/{rest}"
    return Target(scheme, read_host(authority[1]), port, _ESCAPED.sub(lambda part: quote(part[0]), path))


def _why(authority: str) -> str:
    if "@" in authority:
        return "it holds a user name or password, and no credentials are sent"
    if "%" in authority:
        return "its host is escaped, or has a zone"
    return "its host and port are not written as host:port"


def read_location(text: str, base: Target) -> Target:
    """Read where a redirect leads. ValueError as in `read_url`."""
    if _NEVER.search(text):  # before urljoin, which drops some of these
        raise ValueError("it holds a space, a control character, a backslash or a lone surrogate; escape these")
    if _ABSOLUTE.match(text):
        return read_url(text)
    if text.startswith("//"):
        return read_url(f"{base.scheme}:{text}")
    if text.startswith("/"):  # as it is: urljoin would make one slash of two
        return read_url(f"{base.scheme}://{base.authority}{text}")
    return read_url(urljoin(base.url, text))
