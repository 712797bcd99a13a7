"""Drivers and stores, found by the scheme of a URL: the only module that knows pluggy.

One entry point a scheme, loaded by name on first use: loading a whole group would break everything where one extra is missing.
pluggy knows a plugin by its entry point's name whatever the group, so each kind has a manager of its own.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError, distribution, entry_points
from threading import Lock
from typing import Any

import msgspec
import pluggy

from xooai.driver import Driver
from xooai.errors import PluginError

__all__ = ["Plugin", "driver", "hookimpl", "installed"]

hookspec = pluggy.HookspecMarker("xooai")
hookimpl = pluggy.HookimplMarker("xooai")
"""Marks a plugin's function, as `@hookimpl def xooai_driver(scheme): ...`"""

# What we ship: nobody else takes these schemes over silently. Scheme → the extra that brings it.
OWN = {
    "xooai.drivers": {
        "http": "http",
        "https": "http",
        "grpc": "grpc",
        "grpcs": "grpc",
        "quic": "quic",
        "memory": "testing",
    },
    "xooai.stores": {},
}
OWN_DISTRIBUTION = "xooai"
ALLOWED = "XOOAI_PLUGINS"
"""The environment variable by which an operator names the distributions whose plugins may be loaded, with commas between them;
unset, all that are installed. xooai's own always may.
"""


class _Drivers:
    @hookspec(firstresult=True)
    def xooai_driver(self, scheme: str) -> Driver | None:
        """Return the driver for a URL scheme, or None where the plugin does not know it."""


class _Stores:
    @hookspec(firstresult=True)
    def xooai_store(self, scheme: str) -> Any | None:
        """Return the store for a URL scheme, or None where the plugin does not know it."""


class Plugin(msgspec.Struct, frozen=True):
    """An installed plugin: the URL `scheme` it serves, the module it lives in, the distribution it came with."""

    group: str
    scheme: str
    module: str
    distribution: str


class _Group:
    """The plugins of one kind, loaded one by one."""

    def __init__(self, group: str, hook: str, spec: type) -> None:
        self.group = group
        self.hook = hook
        self._manager = pluggy.PluginManager("xooai")
        self._manager.add_hookspecs(spec)
        self._lock = Lock()

    def find(self, scheme: str) -> Any:
        """What serves `scheme`. Raises PluginError."""
        entry = self._entry(scheme)
        with self._lock:
            module = self._load(entry, scheme)
        others = [other for other in self._manager.get_plugins() if other is not module]
        try:
            found = self._manager.subset_hook_caller(self.hook, others)(scheme=scheme)
        except Exception as error:  # somebody else's code
            raise _broken(entry, scheme, error) from error
        if found is None:
            raise PluginError(f"the plugin {entry.value!r} is registered for {scheme}:// and does not serve it")
        return found

    def _entry(self, scheme: str) -> EntryPoint:
        own = OWN[self.group].get(scheme)
        # A scheme of ours is served by us: nobody else's entry points need to be read.
        offered = entry_points(group=self.group) if own is None else _own_entry_points(self.group)
        found = [entry for entry in offered if entry.name == scheme]
        if len(found) > 1:
            who = ", ".join(sorted(entry.dist.name if entry.dist else entry.value for entry in found))
            raise PluginError(f"{scheme}:// is claimed by several plugins ({who}); uninstall all but one")
        for entry in found:
            _check_allowed(entry, scheme)
        if not found:
            known = ", ".join(sorted(f"{entry.name}://" for entry in entry_points(group=self.group))) or "none"
            hint = f"; try: pip install 'xooai[{own}]'" if own else ""
            raise PluginError(f"nothing serves {scheme}://{hint}; installed are: {known}")
        return found[0]

    def _load(self, entry: EntryPoint, scheme: str) -> Any:
        try:
            module = entry.load()
        except ModuleNotFoundError as error:
            extra = OWN[self.group].get(scheme)
            how = f"xooai[{extra}]" if extra else entry.dist.name if entry.dist else entry.value
            raise PluginError(f"{scheme}:// needs the module {error.name!r}; try: pip install {how!r}") from error
        except Exception as error:  # somebody else's code
            raise _broken(entry, scheme, error) from error
        if not self._manager.is_registered(module):  # http and https are one module
            try:
                self._manager.register(module, name=f"{self.group}:{entry.value}")
                self._manager.check_pending()
            except pluggy.PluginValidationError as error:
                if self._manager.is_registered(module):
                    self._manager.unregister(module)
                raise PluginError(f"the plugin {entry.value!r} does not fit: {error}") from error
        return module


def _check_allowed(entry: EntryPoint, scheme: str) -> None:
    allowed = os.environ.get(ALLOWED)
    if allowed is None or entry.dist is None or entry.dist.name == OWN_DISTRIBUTION:
        return
    name = _normal(entry.dist.name)
    if name not in {_normal(one) for one in allowed.split(",")}:
        raise PluginError(
            f"{scheme}:// is served by {name}, which {ALLOWED} does not name; it names: {allowed or 'none'}"
        )


def _normal(name: str) -> str:
    """A distribution's name as all its spellings compare (PyPA: name normalization)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _own_entry_points(group: str) -> EntryPoints:
    try:
        return distribution(OWN_DISTRIBUTION).entry_points.select(group=group)
    except PackageNotFoundError:  # run from its sources
        return EntryPoints()


def _broken(entry: EntryPoint, scheme: str, error: Exception) -> PluginError:
    who = entry.dist.name if entry.dist else entry.value
    return PluginError(f"{scheme}:// cannot be used, its plugin {who!r} fails: {type(error).__name__}: {error}")


_drivers = _Group("xooai.drivers", "xooai_driver", _Drivers)
_stores = _Group("xooai.stores", "xooai_store", _Stores)


@lru_cache(maxsize=32)  # schemes: a handful
def driver(scheme: str) -> Driver:
    """The driver for a URL scheme, loaded on first use. Raises PluginError saying what to install."""
    found = _drivers.find(scheme)
    missing = [name for name in ("dial", "listen") if not callable(getattr(found, name, None))]
    if missing:
        raise PluginError(f"the driver for {scheme}:// has no {missing[0]}(); see xooai.driver.Driver")
    return found  # type: ignore[no-any-return]


def installed() -> list[Plugin]:
    """All installed plugins, none of them loaded."""
    found = [(group, entry) for group in OWN for entry in entry_points(group=group)]
    plugins = [Plugin(group, entry.name, entry.value, entry.dist.name if entry.dist else "?") for group, entry in found]
    return sorted(plugins, key=lambda plugin: (plugin.group, plugin.scheme))
