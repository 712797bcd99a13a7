"""Arrays as bytes: what travels, how it comes back, what is refused."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xooai import tensor
from xooai.errors import InvalidArgument, PluginError


@pytest.fixture(scope="module")
def numpy() -> ModuleType:
    module: ModuleType = pytest.importorskip("numpy", reason="arrays need the extra 'media'")
    return module


def test_the_sizes_are_those_of_numpy(numpy: ModuleType) -> None:
    assert {name: numpy.dtype(name).itemsize for name in tensor.DTYPES} == tensor.DTYPES


def test_every_array_comes_back_with_its_dtype_shape_and_bits(numpy: ModuleType) -> None:
    arrays = pytest.importorskip("hypothesis.extra.numpy")

    @given(st.data())
    def run(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(tensor.DTYPES)))
        order = data.draw(st.sampled_from("<>"))
        array = data.draw(
            arrays.arrays(numpy.dtype(name).newbyteorder(order), arrays.array_shapes(min_dims=0, min_side=0))
        )
        if data.draw(st.booleans()):
            array = array.T  # not in C order
        dtype, shape, content = tensor.pack(array)
        tensor.check(dtype, shape, len(content))
        back = tensor.unpack(dtype, shape, content)
        assert (dtype, shape) == (name, array.shape)
        assert (back.dtype, back.shape) == (numpy.dtype(name).newbyteorder("<"), array.shape)
        assert back.tobytes() == array.astype(back.dtype).tobytes()  # not ==: a NaN has bits, too

    run()


def test_the_bytes_are_little_endian_in_c_order(numpy: ModuleType) -> None:
    array = numpy.array([[1, 2], [3, 4]], dtype=">u2", order="F")
    assert tensor.pack(array) == ("uint16", (2, 2), b"\1\0\2\0\3\0\4\0")


def test_an_array_is_a_view_of_the_bytes_that_cannot_be_written(numpy: ModuleType) -> None:
    content = bytearray(8)
    array = tensor.unpack("int32", (2,), memoryview(content))
    content[0] = 7
    assert array.tolist() == [7, 0]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_whatever_numpy_takes_for_an_array_is_packed(numpy: ModuleType) -> None:
    class Library:
        """An array of somebody else's."""

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return numpy.array([1.5], dtype="float32")

    assert tensor.is_array(Library())
    assert tensor.pack(Library()) == ("float32", (1,), b"\0\0\xc0\x3f")
    assert tensor.pack(numpy.float64(0)) == ("float64", (), bytes(8))
    assert not any(tensor.is_array(value) for value in (b"", [1], (1,), 1, None, "a"))


def test_objects_records_and_texts_do_not_travel(numpy: ModuleType) -> None:
    refused = [
        numpy.array([object()]),
        numpy.array(["a"]),
        numpy.array([b"a"]),
        numpy.zeros(1, dtype=[("a", "int32")]),
        numpy.array(["2020-01-01"], dtype="datetime64[D]"),
        numpy.zeros(1, dtype="timedelta64[s]"),
        numpy.zeros(1, dtype="V4"),
    ]
    for array in refused:
        with pytest.raises(InvalidArgument, match="does not travel; there are: bool, int8"):
            tensor.pack(array)
    with pytest.raises(InvalidArgument, match="list is no array"):
        tensor.pack([[1, 2], [3]])


@pytest.mark.parametrize(
    ("dtype", "shape", "size", "words"),
    [
        ("object", (1,), 8, "unknown dtype 'object'; there are: bool"),
        ("<f4", (1,), 4, "unknown dtype"),
        ("bfloat16", (1,), 2, "unknown dtype"),
        ("O", (1,), 8, "unknown dtype"),
        ("", (), 0, "unknown dtype"),
        ("float32", (2, 3), 23, r"float32 of shape \[2, 3\] has 24 bytes, not 23"),
        ("float32", (2, 3), 25, "has 24 bytes, not 25"),
        ("float32", (), 0, "has 4 bytes, not 0"),
        ("uint8", (2**40, 2**40), 0, "bytes, not 0"),
        ("uint8", (0, 5), 1, "has 0 bytes, not 1"),
        ("uint8", (-1,), 1, "from 0 on"),
        ("uint8", (-1, -1), 1, "from 0 on"),
        ("uint8", (1.0,), 1, "from 0 on"),
        ("uint8", (True,), 1, "from 0 on"),
        ("uint8", (1,) * 33, 1, "at most 32 dimensions, not 33"),
    ],
)
def test_bytes_that_are_not_that_array_are_refused(dtype: str, shape: tuple[Any, ...], size: int, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as caught:
        tensor.check(dtype, shape, size)
    assert isinstance(caught.value, ValueError)


def test_bytes_that_are_that_array_are_accepted() -> None:
    tensor.check("complex128", (2, 3), 96)
    tensor.check("uint8", (0, 5), 0)
    tensor.check("bool", (), 1)
    tensor.check("float16", (1,) * 32, 2)
    tensor.check("float32", (1000, 1000))


def test_unpacking_checks_first(numpy: ModuleType) -> None:
    with pytest.raises(InvalidArgument, match="has 4 bytes, not 3"):
        tensor.unpack("float32", (1,), b"abc")
    with pytest.raises(InvalidArgument, match="unknown dtype"):
        tensor.unpack("O", (1,), bytes(8))


def test_checking_needs_no_numpy_and_packing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    tensor.check("float32", (1,), 4)
    with pytest.raises(PluginError, match=r"needs numpy; try: pip install 'xooai\[media\]'"):
        tensor.pack([1])
