"""How many values a protobuf message holds, counted before it is parsed: an empty one takes two bytes, and fifty in memory.

Rules of the encoding: https://protobuf.dev/programming-guides/encoding/. Depth is bounded by protobuf itself, at 100.
"""

from __future__ import annotations

from typing import Literal

from xooai.proto import Field, File, Message
from xooai_grpc.kinds import Unfit

__all__ = ["LIMIT", "Plan", "Plans", "check"]

LIMIT = 1_000_000  # values in one message, as the core has it of a frame

_VARINT, _LENGTH = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # and those of a fixed size, in bytes
_CONTINUED = bytes(range(128, 256))  # bytes of a varint that are not its last


class Plan:
    """What a message holds that may be many values: by tag, its messages, and numbers that are packed together."""

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight  # values that its frame holds in any case: itself, and the fields that are always there
        self.messages: dict[int, Plan] = {}
        self.packed: dict[int, Literal["varints", "doubles"]] = {}


class Plans:
    """Those of a file's messages."""

    def __init__(self, file: File) -> None:
        self._plans = {message.name: Plan(_weight(message)) for message in file.messages}
        self._enums = {enum.name for enum in file.enums}
        for message in file.messages:
            for field in message.fields:
                self._add(self._plans[message.name], field)
        # A value has a byte where it is packed, and a message two.
        self.surely = 2 * LIMIT // max([2, *(plan.weight for plan in self._plans.values())])

    def __getitem__(self, message: str) -> Plan:
        return self._plans[message]

    def _add(self, plan: Plan, field: Field) -> None:
        tag = field.number << 3 | _LENGTH
        inner = self._plans.get(field.type)
        if field.label == "map":
            entry = plan.messages[tag] = Plan()
            if inner is not None:
                entry.messages[2 << 3 | _LENGTH] = inner
        elif inner is not None:
            plan.messages[tag] = inner
        elif field.label == "repeated" and (field.type in ("bool", "int64") or field.type in self._enums):
            plan.packed[tag] = "varints"
        elif field.label == "repeated" and field.type == "double":
            plan.packed[tag] = "doubles"


def _weight(message: Message) -> int:
    always = sum(field.required or field.label in ("repeated", "map") for field in message.fields)
    return 1 + always + len(message.constants)


def check(frame: bytes, plan: Plan, surely: int = 0, limit: int = LIMIT) -> None:
    """Raise Unfit for a message that holds more values, or that is none and large enough to: none of `surely` bytes is."""
    if len(frame) <= surely:
        return
    try:
        count = _count(frame, plan, limit)
    except (IndexError, KeyError):  # cut off, or with a group, which proto3 does not have
        raise Unfit("it is no message of proto3") from None
    if count > limit:
        raise Unfit(f"it holds more than {limit:,} values")


def _count(frame: bytes, plan: Plan, limit: int) -> int:
    """The number of values, or one beyond the limit. Raises IndexError or KeyError."""
    count, at, end = plan.weight, 0, len(frame)
    around: list[tuple[int, Plan]] = []
    while count <= limit:
        if at >= end:
            if not around:
                break
            end, plan = around.pop()
            continue
        tag = frame[at]
        at += 1
        if tag > 127:
            tag, at = _varint(frame, at - 1)
        if tag & 7 == _LENGTH:
            size = frame[at]
            at += 1
            if size > 127:
                size, at = _varint(frame, at - 1)
            inner = plan.messages.get(tag)
            if inner is not None:
                around.append((end, plan))
                end, plan = min(at + size, end), inner
                count += inner.weight
                continue
            count += _packed(frame[at : at + size], plan.packed[tag]) if tag in plan.packed else 1
            at += size
        else:
            count += 1
            at = _varint(frame, at)[1] if tag & 7 == _VARINT else at + _FIXED[tag & 7]
    return count


def _packed(content: bytes, kind: str) -> int:
    return len(content) // 8 if kind == "doubles" else len(content.translate(None, _CONTINUED))


def _varint(frame: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it. Raises IndexError."""
    value = shift = 0
    while shift < 70:
        byte = frame[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise IndexError(at)
