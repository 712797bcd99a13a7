"""A module that cannot be imported: what it needs is not installed."""

import json

import a_module_that_is_not_there  # type: ignore[import-not-found]

print(json, a_module_that_is_not_there)
