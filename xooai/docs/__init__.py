"""The kinds of documents that come with xooai, each loaded when it is first asked for (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xooai.docs.audio import Audio
    from xooai.docs.file import File
    from xooai.docs.image import Image
    from xooai.docs.tensor import Tensor
    from xooai.docs.text import Text
    from xooai.docs.video import Video

__all__ = ["Audio", "File", "Image", "Tensor", "Text", "Video"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'xooai.docs' has no attribute {name!r}")
    kind = getattr(import_module(f"xooai.docs.{name.lower()}"), name)
    globals()[name] = kind
    return kind
