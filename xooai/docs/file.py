"""Any other content as documents."""

from __future__ import annotations

from xooai.docs.content import _Bytes

__all__ = ["File"]


class File(_Bytes, kind="file"):
    """Any other content, as bytes."""
