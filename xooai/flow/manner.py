"""How a node's servers are called: the metadata of its calls, such as a key, and whom a connection trusts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from xooai.errors import FlowError, InvalidArgument
from xooai.metadata import metadata_of

__all__ = ["Filed", "Manner"]


class Filed(str):
    """A text of metadata that a file tells, or names the variable of the environment for: it may be written there again."""

    __slots__ = ("variable",)

    variable: str

    def __new__(cls, value: str, variable: str = "") -> Filed:
        found = super().__new__(cls, value)
        found.variable = variable
        return found


class Manner(msgspec.Struct, frozen=True):
    """What is said beside a node's URL. Its metadata may be secret: it is shown nowhere."""

    metadata: tuple[tuple[str, str], ...] = ()
    trust: str | None = None

    def __repr__(self) -> str:
        return f"<Manner {', '.join(name for name, _ in self.metadata)}>"

    @classmethod
    def of(cls, use: Any, metadata: Mapping[str, str] | None, trust: str | None) -> Manner | None:
        """None where nothing is said. Raises FlowError."""
        if metadata is None and trust is None:
            return None
        if not isinstance(use, str | list | tuple):
            raise FlowError(
                "metadata= and trust= are for a node that is named by its URL; "
                "a client is made with its own: Executor.at(url, metadata=..., trust=...)"
            )
        if trust is not None and not isinstance(trust, str):
            raise FlowError(
                f"trust= is a {type(trust).__name__}; it takes a PEM file of authorities, as Executor.at does"
            )
        try:
            return cls(tuple(metadata_of({} if metadata is None else metadata).items()), trust)
        except InvalidArgument as error:
            raise FlowError(error.message) from None
