"""JSON Schemas for everybody's tools: what they allow is taken, what they do not is refused, as far as they can say it."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import JsonSchemaValue
from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from xooai import base64_text, nan
from xooai.doc import Doc, kinds
from xooai.json_schema import Typed
from xooai.walk import INT_MAX, INT_MIN

__all__ = ["Open", "as_taken"]

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_KEYS = {  # names of objects, by what they stand for
    "int": {"pattern": "^-?[0-9]{1,18}$"},  # 18 digits fit into 64 bits
    "float": {"pattern": f"^(?:{_NUMBER}|NaN|-?Infinity)$"},
    "decimal": {"pattern": f"^{_NUMBER}$"},
    "bool": {"enum": ["true", "false"]},
}
_WITHOUT_OFFSET = {  # what is written for a time that names no zone, which the formats of JSON Schema ask for
    "date-time": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$",
    "time": r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?$",
    "duration": r"^-?P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?$",  # with a sign or parts of a second
}


class Open(Typed):
    """The schemas of OpenAPI documents."""

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        found = super().generate_inner(schema)
        any_of = (
            getattr(schema.get("function", {}).get("function"), "__self__", None)
            if schema["type"] == "function-plain"
            else None
        )
        if isinstance(any_of, type) and issubclass(any_of, Doc):
            members = [kind for _, kind in sorted(kinds().items()) if issubclass(kind, any_of)]
            found = {**found, "oneOf": [self.generate_inner(kind.__pydantic_core_schema__) for kind in members]}
        return found

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
        config = cs.CoreConfig(allow_inf_nan=self._config.allow_inf_nan)
        try:
            SchemaValidator(cs.float_schema(**_limits(schema)), config).validate_python(value)
        except ValidationError:
            return False
        return True

    def decimal_schema(self, schema: cs.DecimalSchema) -> JsonSchemaValue:
        text = {"type": "string", "format": "decimal", "pattern": f"^{_NUMBER}$"}
        if self.mode == "serialization":
            return text
        number = super().float_schema(
            cs.float_schema(**{name: float(limit) for name, limit in _limits(schema).items()})
        )
        return {"anyOf": [number, text]}

    def bytes_schema(self, schema: cs.BytesSchema) -> JsonSchemaValue:
        found = super().bytes_schema(schema)
        return {**found, "pattern": base64_text.pattern(schema.get("min_length") or 0, schema.get("max_length"))}

    def datetime_schema(self, schema: cs.DatetimeSchema) -> JsonSchemaValue:
        found = super().datetime_schema(schema)
        return found if schema.get("tz_constraint") == "aware" else self._written(found)

    def time_schema(self, schema: cs.TimeSchema) -> JsonSchemaValue:
        return self._written(super().time_schema(schema))

    def timedelta_schema(self, schema: cs.TimedeltaSchema) -> JsonSchemaValue:
        return self._written(super().timedelta_schema(schema))

    def _written(self, found: JsonSchemaValue) -> JsonSchemaValue:
        """A reply may be what its format does not hold."""
        name = found.get("format")
        if self.mode == "validation" or name not in _WITHOUT_OFFSET:
            return found
        return {"type": "string", "anyOf": [{"format": name}, {"pattern": _WITHOUT_OFFSET[name]}]}

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
        keys = _KEYS.get(schema.get("keys_schema", {}).get("type", ""))
        return found if keys is None else {**found, "propertyNames": keys}

    def tagged_union_schema(self, schema: cs.TaggedUnionSchema) -> JsonSchemaValue:
        found = super().tagged_union_schema(schema)
        name = found.get("discriminator", {}).get("propertyName")
        return found if name is None else {**found, "type": "object", "required": [name]}


def _limits(schema: Any) -> dict[str, Any]:
    return {
        name: schema[name]
        for name in ("ge", "gt", "le", "lt", "multiple_of", "allow_inf_nan")
        if schema.get(name) is not None
    }


_OFTEN_UNKNOWN = ("ref", "value", "media_type", "signature", "size")


def as_taken(definition: Any) -> Any:
    """The schema of a document that is sent: what is not known may stand there as null, the content may not."""
    fields = definition.get("properties", {})
    if "const" not in fields.get("kind", {}) or "ref" not in fields:
        return definition
    nullable = {
        name: {**fields[name], "type": [fields[name]["type"], "null"]}
        for name in _OFTEN_UNKNOWN
        if "type" in fields[name]
    }
    known = [{"required": [name], "properties": {name: {"type": "string"}}} for name in ("ref", "value")]
    return {**definition, "properties": {**fields, **nullable}, "anyOf": known}
