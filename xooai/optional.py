"""Packages that are not of the core: imported on first use, with an error that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

from xooai.errors import PluginError

__all__ = ["load"]

_NAMES = {"PIL": "Pillow", "av": "PyAV", "yaml": "PyYAML"}  # where the package is called otherwise than its module


def load(module: str, user: str, extra: str = "media") -> ModuleType:
    """Import `module` for `user` (as 'Image.pil()'); PluginError naming the extra when it is not there or does not load."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as exc:  # OSError: soundfile found no libsndfile
        top = module.partition(".")[0]
        needed = f"{user} needs {_NAMES.get(top, top)}"
        if isinstance(exc, ModuleNotFoundError) and (exc.name or "").partition(".")[0] == top:
            raise PluginError(f"{needed}; try: pip install 'xooai[{extra}]'") from exc
        raise PluginError(f"{needed}, which is installed but does not load: {exc}") from exc
