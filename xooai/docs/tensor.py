"""Arrays of numbers as documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from xooai import tensor
from xooai.docs.content import OCTETS, _Bytes, is_assumed

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tensor"]


class Tensor(_Bytes, kind="tensor"):
    """Numbers of one type in an array: `dtype`, `shape` and raw little-endian data in C order.

    `Tensor(value=array)` takes both from a numpy array. Object arrays are refused: nothing is pickled.
    """

    media_type: str | None = Field(default=OCTETS, exclude_if=is_assumed)
    dtype: Annotated[str, Field(json_schema_extra={"enum": list(tensor.DTYPES)})]
    shape: tuple[Annotated[int, Field(ge=0, le=2**63 - 1)], ...]

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            ref: str | None = None,
            value: Any = None,
            dtype: str = "",
            shape: tuple[int, ...] = (),
            media_type: str | None = None,
            signature: str | None = None,
            size: int | None = None,
        ) -> None: ...

    def __init__(self, **fields: Any) -> None:  # type: ignore[no-redef]
        if tensor.is_array(fields.get("value")):
            dtype, shape, data = tensor.pack(fields["value"])
            fields = {"dtype": dtype, "shape": shape, **fields, "value": data}
        super().__init__(**fields)

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            tensor.check(self.dtype, self.shape, None if self.value is None else len(self.value))
        except ValueError as error:
            raise PydanticCustomError("tensor", "{reason}", {"reason": str(error)}) from None
        return self

    def array(self) -> NDArray[Any]:
        """A read-only numpy array of `dtype` and `shape`."""
        return tensor.unpack(self.dtype, self.shape, self.read())
