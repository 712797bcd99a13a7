"""The installed plugins, as plain text, with what each of them lacks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout

from xooai import plugins
from xooai.errors import PluginError
from xooai.plugins import Plugin

__all__ = ["plugin_table"]

OWN = "xooai"  # the distribution whose schemes nobody takes over
_KINDS = {"xooai.drivers": "driver", "xooai.stores": "store"}
_FINDERS = {"xooai.drivers": plugins.driver, "xooai.stores": plugins.store}


def plugin_table() -> str:
    """One line a plugin: scheme, kind, distribution, module, and whether it loads: each is imported."""
    found = plugins.installed()
    own = {(plugin.group, plugin.scheme) for plugin in found if plugin.distribution == OWN}
    rows = [
        (f"{one.scheme}://", _KINDS.get(one.group, one.group), one.distribution, one.module, _state(one, own))
        for one in found
    ]
    return (
        _aligned([("SCHEME", "KIND", "DISTRIBUTION", "MODULE", "STATE"), *rows])
        if rows
        else "no plugins are installed; try: pip install 'xooai[http]'"
    )


def _state(plugin: Plugin, own: Iterable[tuple[str, str]]) -> str:
    if plugin.distribution != OWN and (plugin.group, plugin.scheme) in own:
        return f"not used: {plugin.scheme}:// is xooai's own"
    try:
        with redirect_stdout(sys.stderr):  # a plugin that prints while it is imported
            _FINDERS[plugin.group](plugin.scheme)
    except PluginError as error:
        return error.message
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin that is broken in its own way must not hide the others
        return f"does not load: {type(error).__name__}: {error}".partition("\n")[0]
    return "loads"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
