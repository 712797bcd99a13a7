"""The environment variables of processes that tests start, less what this run of the tests has added to them."""

from __future__ import annotations

import os


def without_options() -> dict[str, str]:
    """For a pytest of its own, which takes nothing of what this one is told."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}


def unmeasured() -> dict[str, str]:
    """For a program of others: measuring branches would find none of ours in it, and make it several times slower."""
    return {name: value for name, value in without_options().items() if not name.startswith("COVERAGE_PROCESS_")}
