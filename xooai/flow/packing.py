"""How the request of a node elsewhere is made of what others have sent, unread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from xooai.binding import Absent, Rule
from xooai.codec import JSON, MSGPACK, Codec
from xooai.driver import MESSAGE_LIMIT
from xooai.endpoint import Endpoint
from xooai.flow.targets import Elsewhere, Target
from xooai.flow.unread import Packed, Reply, Request, packed
from xooai.graph import Step
from xooai.way import room, stays

__all__ = ["Packing"]

_NULL = {JSON.name: msgspec.Raw(b"null"), MSGPACK.name: msgspec.Raw(b"\xc0")}


class Packing:
    """Of one node, which is elsewhere."""

    def __init__(self, step: Step, flow: Endpoint, target: Elsewhere) -> None:
        self._step, self._binding, self.target = step, step.binding, target
        self._takes_all = not step.constants and step.endpoint.parameters.keys() == flow.parameters.keys()
        self._constants: dict[str, dict[str, Any]] = {}
        self._untyped = {need for need, place in step.binding.places.items() if place.annotation is Any}
        """The needs that go where plain data alone is taken: no document, which would become such on the way."""

    @classmethod
    def of(cls, step: Step, flow: Endpoint, target: Target) -> Packing | None:
        """None for a node whose request has to be made of values."""
        if not isinstance(target, Elsewhere) or step.mapped or step.join or step.is_away or step.is_streamed:
            return None
        if step.when is not None and step.binding.rule is Rule.INPUT:  # it is asked with the values anyway
            return None
        return cls(step, flow, target) if stays(step.constants, room(MESSAGE_LIMIT, JSON)) else None

    @property
    def splits(self) -> bool:
        """Whether it takes parts of the Flow's input."""
        return self._binding.rule is Rule.INPUT and not self._takes_all

    def request(self, replies: Mapping[str, Any], given: Any) -> Packed | None:
        """The request, where all that it is made of is unread, in one codec, and can be read over there."""
        if self._binding.rule is Rule.INPUT:
            return self._of_input(given)
        found: list[tuple[str, Any]] = []
        codec: Codec | None = None
        for need, place in self._binding.places.items():
            reply = replies.get(need)
            if reply is None and need not in replies:
                found += [(need, None)] if place.absent is Absent.NONE else []
                continue
            if type(reply) is not Reply or (reply.is_bound and reply.origin is not self.target.origin()):
                return None
            if need in self._untyped and reply.schema.facts.documents:
                return None
            codec = codec or reply.codec
            if codec is not reply.codec:
                return None
            found.append((need, msgspec.Raw(reply.frame)))
        if codec is None:
            return None
        return self._packed(self._placed(found, _NULL[codec.name]), codec)

    def _of_input(self, given: Any) -> Packed | None:
        if type(given) is not Request:
            return None
        if self._takes_all:
            return Packed(given.frame, given.codec)
        parts, constants = given.parts(), self._step.constants
        pieces = {
            name: parts[name] for name in self._step.endpoint.parameters if name in parts and name not in constants
        }
        return self._packed(pieces, given.codec)

    def _placed(self, found: list[tuple[str, Any]], null: msgspec.Raw) -> dict[str, Any]:
        rule, parameter = self._binding.rule, self._binding.parameter
        if rule is Rule.FIRST:
            return {parameter: found[0][1]}
        if rule is Rule.LIST:
            return {parameter: [piece for _, piece in found]}
        named = {need: null if piece is None else piece for need, piece in found}
        return named if rule is Rule.NAMES else {parameter: named}

    def _packed(self, pieces: dict[str, Any], codec: Codec) -> Packed:
        constants = self._step.constants
        if constants:
            written = self._constants.get(codec.name)
            if written is None:
                endpoint = self._step.endpoint
                written = self._constants[codec.name] = {
                    name: msgspec.Raw(codec.encode(endpoint.schema_of(endpoint.parameters[name]), value))
                    for name, value in constants.items()
                }
            pieces |= written
        return packed(pieces, codec)
