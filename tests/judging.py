"""Judges of JSON Schema and OpenAPI, loaded by the first test that asks: that takes seconds, in each of the processes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

__all__ = ["faults_of_openapi", "needed", "validator"]


def needed() -> None:
    """Skip the module that calls this where the judges are missing."""
    if find_spec("openapi_spec_validator") is None:
        pytest.skip("needs openapi-spec-validator; it comes with: pip install -e '.[dev]'", allow_module_level=True)


def faults_of_openapi(described: Any) -> list[str]:
    """What is wrong with a document of OpenAPI 3.1."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    return [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()]


def validator(schema: Any, described: Any) -> Any:
    """Judges values by a schema of an OpenAPI document, formats included."""
    judge = pytest.importorskip("jsonschema").Draft202012Validator
    return judge({"components": described["components"], **schema}, format_checker=judge.FORMAT_CHECKER)
