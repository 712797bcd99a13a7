"""xooai: typed documents, executors that are server and client, over swappable drivers."""

from xooai.call import current
from xooai.combo import ComboDoc
from xooai.doc import Doc
from xooai.docs import Audio, File, Image, Tensor, Text, Video
from xooai.endpoint import post
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
from xooai.executor import Executor, serve

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
]
