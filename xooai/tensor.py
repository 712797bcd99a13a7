"""Arrays as they travel: a dtype's name, a shape, and raw little-endian bytes in C order. Never objects, never pickles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from xooai.errors import InvalidArgument
from xooai.optional import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIMENSIONS", "DTYPES", "check", "is_array", "pack", "unpack"]

# Names as numpy's, and the bytes of one item. bfloat16 is not among them: numpy has no such type.
DTYPES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
DIMENSIONS = 32  # axes: what every numpy takes (2.0 raised it to 64), and far above any model's


def is_array(value: object) -> bool:
    """Say whether `value` is an array of whatever library: numpy, torch, JAX, pandas, ... Imports none of them."""
    return hasattr(value, "__array__")


def check(dtype: str, shape: Sequence[int], size: int | None = None) -> None:
    """Raise InvalidArgument unless `size` bytes (None: any number) are an array of `dtype` and `shape`. Needs no numpy."""
    if dtype not in DTYPES:
        raise InvalidArgument(f"unknown dtype {dtype!r}; there are: {', '.join(DTYPES)}")
    if len(shape) > DIMENSIONS:
        raise InvalidArgument(f"a tensor has at most {DIMENSIONS} dimensions, not {len(shape)}")
    if any(isinstance(length, bool) or not isinstance(length, int) or length < 0 for length in shape):
        raise InvalidArgument(f"a shape is whole numbers from 0 on, not {list(shape)!r}")
    expected = math.prod(shape) * DTYPES[dtype]
    if size is not None and size != expected:
        raise InvalidArgument(f"{dtype} of shape {list(shape)!r} has {expected:,} bytes, not {size:,}")


def pack(array: object, *, user: str = "Tensor(value=...)") -> tuple[str, tuple[int, ...], bytes]:
    """Return dtype, shape and data of whatever numpy takes for an array; InvalidArgument where its dtype does not travel."""
    numpy = load("numpy", user)
    try:
        values = numpy.asarray(array)
    except (ValueError, TypeError) as exc:  # ragged lists, arrays on a GPU
        raise InvalidArgument(f"{type(array).__name__} is no array: {exc}") from exc
    name = values.dtype.name
    if name not in DTYPES or values.dtype.kind in "MmSUVO":
        raise InvalidArgument(f"an array of dtype {name!r} does not travel; there are: {', '.join(DTYPES)}")
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return name, tuple(values.shape), little.tobytes(order="C")


def unpack(dtype: str, shape: Sequence[int], data: bytes | memoryview, *, user: str = "Tensor.array()") -> NDArray[Any]:
    """Return the array that `check` accepts: a view of `data`, not a copy, that cannot be written to."""
    numpy = load("numpy", user)
    check(dtype, shape, data.nbytes if isinstance(data, memoryview) else len(data))
    flat = numpy.frombuffer(data, dtype=numpy.dtype(dtype).newbyteorder("<"))
    flat.flags.writeable = False
    return cast("NDArray[Any]", flat.reshape(tuple(shape)))
