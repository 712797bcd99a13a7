"""JSON Schemas for everybody's tools: what they allow is taken, what they do not is refused, as far as they can say it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as cs

from xooai import base64_text, nan
from xooai.doc import Doc, kinds
from xooai.json_schema import Typed
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["Open", "as_taken"]

_UNSIGNED = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_NUMBER = f"[+-]?{_UNSIGNED}"
_NAMES: dict[str, JsonSchemaValue] = {  # of objects, by what they stand for
    "float": {"pattern": f"^(?:{_NUMBER}|nan|-?inf|NaN|-?Infinity)$"},
    "decimal": {"pattern": f"^{_NUMBER}$"},
    "bool": {"enum": ["true", "false"]},
}
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_NAIVE = {  # February ends on its own day, which no pattern tells
    "validation": f"^[1-9][0-9]{{3}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T{_TIME}$",
    "serialization": f"^[0-9]{{4}}-[0-1][0-9]-[0-3][0-9]T{_TIME}$",
}
_DURATION = r"^-?P(?:[0-9]+D)?(?:T(?:[0-9]+H)?(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?)?$"


class Open(Typed):
    """The schemas of OpenAPI documents."""

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        found = super().generate_inner(schema)
        base = _any_of(schema)
        if base is None:
            return found
        members = [kind.__pydantic_core_schema__ for _, kind in sorted(kinds().items()) if issubclass(kind, base)]
        return {**found, "oneOf": [self.generate_inner(member) for member in members]}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # "Min Score" says no more than min_score

    def int_schema(self, schema: cs.IntSchema) -> JsonSchemaValue:
        found = super().int_schema(schema)
        if not found.keys() & {"minimum", "exclusiveMinimum"}:
            found["minimum"] = INT_MIN
        if not found.keys() & {"maximum", "exclusiveMaximum"}:
            found["maximum"] = INT_MAX
        return {**found, "format": "int64"}

    def float_schema(self, schema: cs.FloatSchema) -> JsonSchemaValue:
        found = super().float_schema(schema)
        allowed = [text for text in nan.TEXTS if self._takes(schema, float(text))]
        return {**found, "type": ["number", "string"], "pattern": f"^({'|'.join(allowed)})$"} if allowed else found

    def _takes(self, schema: cs.FloatSchema, value: float) -> bool:
        config = cs.CoreConfig(allow_inf_nan=bool(self._config.allow_inf_nan))
        bare: Any = {name: rule for name, rule in schema.items() if name not in ("ref", "metadata", "serialization")}
        return SchemaValidator(bare, config).isinstance_python(value)

    def decimal_schema(self, schema: cs.DecimalSchema) -> JsonSchemaValue:
        text = {"type": "string", "format": "decimal", "pattern": f"^{_NUMBER}$"}
        if self.mode == "serialization":
            return text
        limits: dict[str, Any] = {name: float(schema[name]) for name in _LIMITS if schema.get(name) is not None}  # type: ignore[literal-required]
        return {"anyOf": [super().float_schema(cs.float_schema(**limits)), text]}

    def bytes_schema(self, schema: cs.BytesSchema) -> JsonSchemaValue:
        found = super().bytes_schema(schema)
        return {**found, "pattern": base64_text.pattern(schema.get("min_length") or 0, schema.get("max_length"))}

    def complex_schema(self, schema: cs.ComplexSchema) -> JsonSchemaValue:
        if self.mode == "serialization":
            return {"type": "string"}
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{_NUMBER}(?:[+-]{_UNSIGNED}j)?$"}]}

    def fraction_schema(self, schema: Any) -> JsonSchemaValue:
        text = {"type": "string", "pattern": "^[+-]?[0-9]+(?:/[1-9][0-9]*)?$"}
        return text if self.mode == "serialization" else {"anyOf": [{"type": "number"}, text]}

    def datetime_schema(self, schema: cs.DatetimeSchema) -> JsonSchemaValue:
        found = super().datetime_schema(schema)
        if schema.get("tz_constraint") == "naive":
            return {"type": "string", "pattern": _NAIVE[self.mode]}
        is_whole = schema.get("tz_constraint") == "aware" or self.mode == "validation"
        return found if is_whole else _or(found, _NAIVE[self.mode])

    def time_schema(self, schema: cs.TimeSchema) -> JsonSchemaValue:
        return _or(super().time_schema(schema), f"^{_TIME}$")

    def timedelta_schema(self, schema: cs.TimedeltaSchema) -> JsonSchemaValue:
        found = super().timedelta_schema(schema)
        return found if self.mode == "validation" else _or(found, _DURATION)

    def set_schema(self, schema: cs.SetSchema) -> JsonSchemaValue:
        return self._doubled(super().set_schema(schema))

    def frozenset_schema(self, schema: cs.FrozenSetSchema) -> JsonSchemaValue:
        return self._doubled(super().frozenset_schema(schema))

    def _doubled(self, found: JsonSchemaValue) -> JsonSchemaValue:
        """A set that is sent may hold an item twice: it counts once."""
        return {name: rule for name, rule in found.items() if name != "uniqueItems" or self.mode == "serialization"}

    def tuple_schema(self, schema: cs.TupleSchema) -> JsonSchemaValue:
        found = super().tuple_schema(schema)
        fixed = found.get("prefixItems")
        if not fixed or "items" in found:
            return found
        same = all(item == fixed[0] for item in fixed)
        if not same and self.mode == "validation":
            return found
        # Many tools read `items` only; schemathesis 4 fails on `prefixItems` in a reply.
        del found["prefixItems"]
        return {**found, "items": fixed[0] if same else self.get_union_of_schemas(fixed)}

    def dict_schema(self, schema: cs.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        names = self._names(schema.get("keys_schema", {}))
        if not names:
            return found
        for values in found.pop("patternProperties", {}).values():  # one
            found["additionalProperties"] = values
        return {**found, "propertyNames": names}

    def _names(self, schema: Any) -> JsonSchemaValue:
        """What names stand for a dict's keys, which are texts in JSON; nothing where pydantic says it already."""
        if schema.get("type") == "int":  # 18 digits fit into 64 bits, some numbers of 19 do
            return {"pattern": f"^-?[0-9]{{1,{18 if self.mode == 'validation' else 19}}}$"}
        if schema.get("type") == "enum":
            return {"enum": [str(member.value) for member in schema["members"]]}
        return dict(_NAMES.get(schema.get("type", ""), {}))

    def tagged_union_schema(self, schema: cs.TaggedUnionSchema) -> JsonSchemaValue:
        found = super().tagged_union_schema(schema)
        name = found.get("discriminator", {}).get("propertyName")
        return found if name is None else {**found, "type": "object", "required": [name]}


def _any_of(schema: Any) -> type[Doc] | None:
    """Of what a field takes any kind: Doc, or a base of some kinds."""
    if schema["type"] != "function-plain":
        return None
    found = getattr(schema["function"]["function"], "__self__", None)
    return found if isinstance(found, type) and issubclass(found, Doc) else None


def _or(found: JsonSchemaValue, pattern: str) -> JsonSchemaValue:
    """A format of JSON Schema, which asks for an offset from UTC and whole seconds, or what is like it without."""
    return (
        {"type": "string", "anyOf": [{"format": found["format"]}, {"pattern": pattern}]} if "format" in found else found
    )


_LIMITS = ("ge", "gt", "le", "lt", "multiple_of")


_MAY_BE_UNKNOWN = ("ref", "value", "media_type", "signature", "size")


def as_taken(definition: Any) -> Any:
    """The schema of a document that is sent: what is not known may stand there as null, the content may not."""
    fields = definition.get("properties", {})
    if "const" not in fields.get("kind", {}) or "ref" not in fields:
        return definition
    typed = {name: fields[name] for name in _MAY_BE_UNKNOWN if "type" in fields[name]}
    nullable = {name: {**schema, "type": [schema["type"], "null"]} for name, schema in typed.items()}
    known = [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("ref", "value")]
    return {**definition, "properties": {**fields, **nullable}, "anyOf": known}
