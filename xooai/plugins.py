"""Drivers and stores, found by the scheme of a URL: the only module that knows pluggy.

One entry point a scheme, loaded by name on first use: loading a whole group would break everything where one extra is missing.
pluggy knows a plugin by its entry point's name whatever the group, so each kind has a manager of its own. It is loaded for
plugins of others, whose hooks it checks; those of ours, which our tests check, are called as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, EntryPoints, PackageNotFoundError, distribution, entry_points
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

from xooai.driver import Driver
from xooai.errors import InvalidArgument, PluginError, XooaiError
from xooai.hints import nearest
from xooai.lazy import lazy

if TYPE_CHECKING:
    import pluggy

    from xooai import scheme as schemes
    from xooai import store as stores
    from xooai.store import Opener, Store, StoreOptions
else:
    pluggy = lazy("pluggy")
    schemes = lazy("xooai.scheme")
    stores = lazy("xooai.store")

__all__ = ["Plugin", "driver", "hookimpl", "installed", "open_store", "store"]

if TYPE_CHECKING:
    hookimpl = pluggy.HookimplMarker("xooai")
    """Marks a plugin's function, as `@hookimpl def xooai_driver(scheme): ...`"""


def __getattr__(name: str) -> Any:
    """Make the marker when a plugin asks for it (PEP 562)."""
    if name != "hookimpl":
        raise AttributeError(f"module 'xooai.plugins' has no attribute {name!r}")
    marker = globals()[name] = pluggy.HookimplMarker("xooai")
    return marker


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
    "xooai.stores": {
        "file": "",
        "memory": "testing",
        "s3": "s3",
        "s3a": "s3",
        "gs": "stores",
        "gcs": "stores",
        "az": "stores",
        "abfs": "stores",
        "abfss": "stores",
        "http": "stores",
        "https": "stores",
    },
}
OWN_DISTRIBUTION = "xooai"
ALLOWED = "XOOAI_PLUGINS"
"""The environment variable by which an operator names the distributions whose plugins may be loaded, with commas between them;
unset, all that are installed. xooai's own always may.
"""


_NEARLY_A_URL = r"[A-Za-z][A-Za-z0-9+.-]+:(?!//)"


class _Drivers:
    def xooai_driver(self, scheme: str) -> Driver | None:
        """Return the driver for a URL scheme, or None where the plugin does not know it."""


class _Stores:
    def xooai_store(self, scheme: str) -> Opener | None:
        """Return what opens the stores of a URL scheme, or None where the plugin does not know it."""


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
        self._spec = spec
        self._lock = Lock()

    @cached_property
    def _manager(self) -> pluggy.PluginManager:
        """Made when a plugin of others is first asked for."""
        pluggy.HookspecMarker("xooai")(getattr(self._spec, self.hook), firstresult=True)
        manager = pluggy.PluginManager("xooai")
        manager.add_hookspecs(self._spec)
        return manager

    def find(self, scheme: str) -> Any:
        """What serves `scheme`. Raises PluginError."""
        entry = self._entry(scheme)
        with self._lock:
            module = self._load(entry, scheme)
            hook = getattr(module, self.hook) if scheme in OWN[self.group] else self._checked(entry, module)
        try:
            found = hook(scheme=scheme)
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
            hint = f"; try: pip install 'xooai[{own}]'" if own else nearest(scheme, OWN[self.group])
            raise PluginError(f"nothing serves {scheme}://{hint}; installed are: {known}")
        return found[0]

    def _load(self, entry: EntryPoint, scheme: str) -> Any:
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            extra = OWN[self.group].get(scheme)
            how = f"xooai[{extra}]" if extra else entry.dist.name if entry.dist else entry.value
            raise PluginError(f"{scheme}:// needs the module {error.name!r}; try: pip install {how!r}") from error
        except Exception as error:  # somebody else's code
            raise _broken(entry, scheme, error) from error

    def _checked(self, entry: EntryPoint, module: Any) -> Callable[..., Any]:
        """The hook of a plugin, once it is known to be one. Raises PluginError."""
        if not self._manager.is_registered(module):  # two schemes may be one module
            try:
                self._manager.register(module, name=f"{self.group}:{entry.value}")
                self._manager.check_pending()
            except pluggy.PluginValidationError as error:
                if self._manager.is_registered(module):
                    self._manager.unregister(module)
                raise PluginError(f"the plugin {entry.value!r} does not fit: {error}") from error
        others = [other for other in self._manager.get_plugins() if other is not module]
        return self._manager.subset_hook_caller(self.hook, others)


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


@lru_cache(maxsize=32)
def store(scheme: str) -> Opener:
    """What opens the stores of a URL scheme, loaded on first use. Raises PluginError saying what to install."""
    found = _stores.find(scheme)
    if not callable(getattr(found, "open", None)):
        raise PluginError(f"the store for {scheme}:// has no open(); see xooai.store.Opener")
    return found  # type: ignore[no-any-return]


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """The store at a URL; a plain path is a directory of this machine. Raises PluginError and InvalidArgument."""
    scheme = schemes.scheme_of(url)
    if scheme is None and re.match(_NEARLY_A_URL, url):
        raise InvalidArgument(
            f"{url.partition(':')[0]}: is no place for a store without '//' after it; a path with a colon is written ./with:colon"
        )
    scheme = scheme or "file"
    opener = store(scheme)
    try:
        found = opener.open(url, options or stores.StoreOptions())
    except XooaiError:
        raise
    except Exception as error:  # noqa: BLE001 - somebody else's code, whose text may show the options
        raise PluginError(f"the store at {scheme}:// cannot be opened: {type(error).__name__}") from None
    missing = [name for name in ("put", "get", "aclose") if not callable(getattr(found, name, None))]
    if missing:
        raise PluginError(f"the store at {scheme}:// has no {missing[0]}(); see xooai.store.Store")
    return found


def installed() -> list[Plugin]:
    """All installed plugins, none of them loaded."""
    found = [(group, entry) for group in OWN for entry in entry_points(group=group)]
    plugins = [Plugin(group, entry.name, entry.value, entry.dist.name if entry.dist else "?") for group, entry in found]
    return sorted(plugins, key=lambda plugin: (plugin.group, plugin.scheme))
