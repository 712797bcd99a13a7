"""xooai: typed documents, executors that are server and client, over swappable drivers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xooai.call import current
    from xooai.combo import ComboDoc
    from xooai.doc import Doc
    from xooai.docs import Audio, File, Image, Tensor, Text, Video
    from xooai.errors import (
        AlreadyExists,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        FlowError,
        Internal,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        PluginError,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        XooaiError,
    )
    from xooai.executor import Executor
    from xooai.flow import Flow
    from xooai.mark import post, stream
    from xooai.serving import serve

_HOMES = {
    "xooai.call": ("current",),
    "xooai.combo": ("ComboDoc",),
    "xooai.doc": ("Doc",),
    "xooai.docs.audio": ("Audio",),
    "xooai.docs.file": ("File",),
    "xooai.docs.image": ("Image",),
    "xooai.docs.tensor": ("Tensor",),
    "xooai.docs.text": ("Text",),
    "xooai.docs.video": ("Video",),
    "xooai.errors": (
        "AlreadyExists",
        "DataLoss",
        "DeadlineExceeded",
        "FailedPrecondition",
        "FlowError",
        "Internal",
        "InvalidArgument",
        "NotFound",
        "PermissionDenied",
        "PluginError",
        "ResourceExhausted",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "XooaiError",
    ),
    "xooai.executor": ("Executor",),
    "xooai.mark": ("post", "stream"),
    "xooai.flow": ("Flow",),
    "xooai.serving": ("serve",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadyExists",
    "Audio",
    "ComboDoc",
    "DataLoss",
    "DeadlineExceeded",
    "Doc",
    "Executor",
    "FailedPrecondition",
    "File",
    "Flow",
    "FlowError",
    "Image",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "PluginError",
    "ResourceExhausted",
    "Tensor",
    "Text",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Video",
    "XooaiError",
    "current",
    "post",
    "serve",
    "stream",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562): a command line or a worker pays for what it uses."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'xooai' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
