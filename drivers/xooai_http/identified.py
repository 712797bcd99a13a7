"""A connection as all that answers on it knows it: uvicorn's, and who its client is."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Identified"]


class Identified(HttpToolsProtocol):
    """A connection whose client may have shown who it is."""

    identity = ""
    """As `Head.identity` has it."""
