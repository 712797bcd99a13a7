"""Arguments of an endpoint from lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from xooai.cli.values import reader
from xooai.endpoint import Endpoint
from xooai.errors import InvalidArgument

__all__ = ["FromLines"]


class FromLines:
    """Makes arguments of lines: an object of arguments by name, or the value of the one parameter that needs one; with
    `constants` for all.

    A document in a local file is left where it is: it is read when it is sent.
    """

    def __init__(self, endpoint: Endpoint, constants: Mapping[str, Any]) -> None:
        self._endpoint, self._constants = endpoint, constants
        self._readers = {name: reader(one.annotation, name) for name, one in endpoint.parameters.items()}
        open_ones = [one for name, one in endpoint.parameters.items() if name not in constants]
        needed = [one.name for one in open_ones if one.required] or [one.name for one in open_ones[:1]]
        self._one = needed[0] if len(needed) == 1 else None

    def __call__(self, text: bytes) -> Mapping[str, Any]:
        """Raises InvalidArgument."""
        try:
            given = msgspec.json.decode(text, type=dict[str, msgspec.Raw] if text.startswith(b"{") else msgspec.Raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidArgument(f"this is not JSON: {error}") from None
        if isinstance(given, dict) and (self._one is None or any(name in self._readers for name in given)):
            self._endpoint.check(dict.fromkeys(given))
            return {**self._constants, **{name: self._readers[name](bytes(value)) for name, value in given.items()}}
        if self._one is None:
            raise InvalidArgument(f"a line is an object of arguments by name: {', '.join(self._readers)}")
        return {**self._constants, self._one: self._readers[self._one](text)}
