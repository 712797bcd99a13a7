"""How a node of a Flow gets its arguments: which reply goes to which parameter (design: the table of Flows)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from xooai.codec import invalid
from xooai.doc import Doc
from xooai.endpoint import Endpoint, Parameter
from xooai.errors import FlowError
from xooai.fitting import members, shown, takes_none
from xooai.hints import nearest
from xooai.payload import estranged

__all__ = ["INPUT", "Absent", "Binding", "Place", "Rule", "bind"]

INPUT = "input"
"""The id that stands for the Flow's input."""


class Rule(Enum):
    """How the replies become arguments."""

    INPUT = "the Flow's input, by name"
    NAMES = "each to the parameter named as it"
    FIELDS = "each to the field named as it"
    LIST = "all as one list"
    JOIN = "all to join="
    FIRST = "the first"


class Absent(Enum):
    """What becomes of a node where a reply that it needs is not there."""

    SKIP = "it is not called"
    NONE = "it gets None"
    DEFAULT = "it is called without"


class Place(msgspec.Struct, frozen=True):
    """Where one reply goes: what that is called, the type that is wanted there, and what if there is no reply."""

    name: str
    annotation: Any
    absent: Absent = Absent.DEFAULT

    @classmethod
    def of(cls, name: str, annotation: Any, is_required: bool) -> Place:
        if not is_required:
            return cls(name, annotation)
        return cls(name, annotation, Absent.NONE if takes_none(annotation) else Absent.SKIP)


class Binding(msgspec.Struct, frozen=True):
    """What becomes of the replies that one node needs."""

    rule: Rule
    needs: Sequence[str] = ()
    places: Mapping[str, Place] = {}
    parameter: str = ""
    model: type[BaseModel] | None = None

    def arguments(self, replies: Mapping[str, Any], joined: Any = None) -> dict[str, Any] | None:
        """The arguments, of the replies that are there; None where the node cannot do without one that is not.

        `joined` is what `join=` made of them. Raises InvalidArgument for fields that do not validate.
        """
        there = [need for need in self.needs if need in replies]
        if self.is_skipped(there):
            return None
        if self.rule is Rule.NAMES:
            return self._by_name(replies)
        if self.rule is Rule.FIELDS:
            assert self.model is not None
            given = self._by_name(replies)
            try:
                return {self.parameter: estranged(self.model(**given), given)}
            except ValidationError as error:
                raise invalid(error) from None
        if self.rule is Rule.LIST:
            return {self.parameter: [replies[need] for need in there]}
        return {self.parameter: joined if self.rule is Rule.JOIN else replies[there[0]]}

    def is_skipped(self, there: Collection[str]) -> bool:
        """Whether the node cannot be called where only these replies are there."""
        if self.rule in (Rule.NAMES, Rule.FIELDS):
            return any(place.absent is Absent.SKIP and need not in there for need, place in self.places.items())
        return bool(self.needs) and not any(need in there for need in self.needs)

    def used(self, uncertain: Collection[str]) -> list[str]:
        """The needs whose replies may be used, where those that are `uncertain` may be missing: the others only order."""
        if self.rule is not Rule.FIRST:
            return list(self.needs)
        sure = next((place for place, need in enumerate(self.needs) if need not in uncertain), len(self.needs))
        return list(self.needs[: sure + 1])

    def _by_name(self, replies: Mapping[str, Any]) -> dict[str, Any]:
        return {
            need: replies.get(need)
            for need, place in self.places.items()
            if need in replies or place.absent is Absent.NONE
        }


class _Free:
    """The parameters of a node that no constant fills."""

    def __init__(self, id: str, endpoint: Endpoint, args: Mapping[str, Any]) -> None:
        self.where = f"node {id!r}"
        self.endpoint = endpoint
        for name in args:
            if name not in endpoint.parameters:
                raise FlowError(
                    f"{self.where}: args={{{name!r}: ...}}: {endpoint.owner}.{endpoint.name} has no such parameter"
                    f"{nearest(name, endpoint.parameters)}; it takes: {_listed(endpoint.parameters)}"
                )
        self.parameters = {name: one for name, one in endpoint.parameters.items() if name not in args}

    @property
    def one(self) -> Parameter:
        """The only required one, else the first. Raises FlowError where there is none."""
        needed = [parameter for parameter in self.parameters.values() if parameter.required]
        found = needed[0] if len(needed) == 1 else next(iter(self.parameters.values()), None)
        if found is None:
            raise FlowError(
                f"{self.where}: {self.endpoint.owner}.{self.endpoint.name} has no parameter left for a reply to go to"
            )
        return found

    @property
    def list(self) -> Parameter | None:
        """The one parameter that is a list."""
        lists = [parameter for parameter in self.parameters.values() if parameter.item is not None]
        return lists[0] if len(lists) == 1 else None

    def record(self, needs: Sequence[str]) -> tuple[Parameter, type[BaseModel]] | None:
        """The one parameter whose fields are named as the needs. Raises FlowError for a partial match."""
        for parameter in self.parameters.values():
            for kind in members(parameter.annotation):
                if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or issubclass(kind, Doc):
                    continue
                if _match(needs, _fields(kind), f"{self.where}: {parameter.name}: {kind.__name__}", "field"):
                    return parameter, kind
        return None

    def check_filled(self, filled: Iterable[str]) -> None:
        """Raise FlowError for a required parameter that nothing goes to."""
        for parameter in self.parameters.values():
            if parameter.required and parameter.name not in filled:
                raise FlowError(
                    f"{self.where}: nothing goes to {parameter.name!r}: {shown(parameter.annotation)}, which "
                    f"{self.endpoint.owner}.{self.endpoint.name} needs; "
                    f"name a need {parameter.name!r}, or give args={{{parameter.name!r}: ...}}"
                )


def bind(id: str, endpoint: Endpoint, needs: Sequence[str], args: Mapping[str, Any], has_join: bool) -> Binding:
    """How a node with these needs gets its arguments. Raises FlowError."""
    free = _Free(id, endpoint, args)
    if not has_join and tuple(needs) in ((), (INPUT,)):
        return Binding(Rule.INPUT)
    binding = _bound(free, needs, has_join)
    free.check_filled([binding.parameter] if binding.parameter else binding.needs)
    return binding


def _bound(free: _Free, needs: Sequence[str], has_join: bool) -> Binding:
    if has_join:  # what is said goes before what is found
        return _to(Rule.JOIN, free.one, needs, free.one.annotation)
    if _match(needs, free.parameters, free.where, "parameter"):
        found = [free.parameters[need] for need in needs]
        return Binding(Rule.NAMES, needs, {one.name: Place.of(one.name, one.annotation, one.required) for one in found})
    if len(needs) > 1:
        record = free.record(needs)
        if record is not None:
            return _to_fields(free, *record, needs)
        if free.list is not None:
            item = free.list.item
            return _to(Rule.LIST, free.list, needs, None if item is None else item.annotation)
    return _to(Rule.FIRST, free.one, needs, free.one.annotation)


def _to(rule: Rule, parameter: Parameter, needs: Sequence[str], annotation: Any) -> Binding:
    return Binding(rule, needs, dict.fromkeys(needs, Place(parameter.name, annotation)), parameter.name)


def _to_fields(free: _Free, parameter: Parameter, model: type[BaseModel], needs: Sequence[str]) -> Binding:
    fields = _fields(model)
    for name, field in fields.items():
        if field.is_required() and name not in needs:
            raise FlowError(
                f"{free.where}: nothing goes to the field {name!r} of {parameter.name}: {model.__name__}, which is required"
            )
    places = {
        need: Place.of(f"{parameter.name}.{need}", fields[need].annotation, fields[need].is_required())
        for need in needs
    }
    return Binding(Rule.FIELDS, needs, places, parameter.name, model)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """The fields by the names that they have when a model is made."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _match(needs: Sequence[str], names: Collection[str], where: str, what: str) -> bool:
    """Whether all needs are among the names. Raises FlowError where only some are."""
    found = [need for need in needs if need in names]
    if not found or len(found) == len(needs):
        return bool(found)
    missing = [need for need in needs if need not in names]
    raise FlowError(
        f"{where}: there is a {what} {found[0]!r} for the need of that id, and none for {_listed(missing)}; "
        f"name all of them as {what}s or none, or give join="
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
