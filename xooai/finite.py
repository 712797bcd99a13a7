"""Validators of JSON that take no number for infinite: a parser reads 1e999 so, where JSON has the text "Infinity" for it."""

from __future__ import annotations

from typing import cast

from pydantic_core import CoreSchema, SchemaValidator

from xooai.forms import CONFIG, MAPPINGS, Node, mapped

__all__ = ["finite"]


def finite(schema: CoreSchema) -> SchemaValidator:
    """The validator of a finished schema, its floats finite."""
    # Without the validators that classes have already: those take infinities.
    return SchemaValidator(cast(CoreSchema, _finite(cast(Node, schema))), CONFIG, _use_prebuilt=False)


def _finite(node: Node) -> Node:
    new = mapped(node, _finite)
    if new["type"] == "float":
        new["allow_inf_nan"] = False
    if node["type"] in MAPPINGS and "keys_schema" in node:  # keys are texts
        new["keys_schema"] = node["keys_schema"]
    return new
