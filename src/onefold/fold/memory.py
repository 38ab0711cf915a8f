"""Hand compiled code a whole memory of several arrays as one pointer.

numba passes an array as seven words, so a tuple of nine arrays is copied, word by word, at every
call between compiled functions, and unpacked anew at every call from Python (0.76 µs for a tuple of
two). Here a *root* row holds the addresses of the arrays, compiled code receives the root, and an
accessor made by `row_of` turns an index into a reference to a row. The Python object that owns the
arrays owns the root too, so the addresses live as long as the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic

Rows = Any  # a structured array, or one of its rows: numba gives rows attributes, numpy's types not


def root_dtype(arrays: tuple[str, ...], fields: tuple[tuple[str, str], ...] = ()) -> np.dtype[Any]:
    """Return the layout of a root: an address and a length per array, and further fields."""
    addresses = [(name, "i8") for name in arrays]
    lengths = [(f"{name}_rows", "i8") for name in arrays]
    return np.dtype([*addresses, *lengths, *fields])


def new_root(dtype: np.dtype[Any], arrays: Mapping[str, Rows]) -> Rows:
    """Return a root (an array of one row) that points to the arrays, which must be contiguous."""
    root = np.zeros(1, dtype)
    point(root, arrays)
    return root


def point(root: Rows, arrays: Mapping[str, Rows]) -> None:
    """Let a root point to the arrays; what else stands in it stays."""
    for name, rows in arrays.items():
        if not rows.flags.c_contiguous:
            raise ValueError(f"{name} is not contiguous")
        root[name] = rows.ctypes.data
        root[f"{name}_rows"] = len(rows)


def _word_at(context: Any, builder: Any, root: Any, offset: int) -> Any:
    """Emit the load of an eight-byte field of the root."""
    word = context.get_value_type(types.int64)
    start = builder.ptrtoint(root, word)
    place = builder.add(start, context.get_constant(types.int64, offset))
    loaded = builder.load(builder.inttoptr(place, word.as_pointer()))
    # Addresses and lengths never change while a kernel runs: one load serves the whole kernel.
    loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
    return loaded


def _emit_row(context: Any, builder: Any, root: Any, offset: int, index: Any, record: Any) -> Any:
    """Emit the address of one row of the array whose address stands at `offset`."""
    size = context.get_constant(types.int64, record.size)
    start = _word_at(context, builder, root, offset)
    place = builder.add(start, builder.mul(index, size))
    return builder.inttoptr(place, context.get_value_type(record))


def row_of(root: np.dtype[Any], array: str, dtype: np.dtype[Any]) -> Callable[..., Rows]:
    """Return a compiled accessor: (root, index) -> reference to a row of `array`."""
    record = numba.from_dtype(dtype)
    offset = root.fields[array][1]  # type: ignore[index]

    @intrinsic
    def row(_: Any, memory: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            at = context.cast(builder, args[1], index, types.int64)
            return _emit_row(context, builder, args[0], offset, at, record)

        return record(memory, index), codegen

    return row


def only_of(root: np.dtype[Any], array: str, dtype: np.dtype[Any]) -> Callable[..., Rows]:
    """Return a compiled accessor: root -> reference to the only row of `array`."""
    record = numba.from_dtype(dtype)
    offset = root.fields[array][1]  # type: ignore[index]

    @intrinsic
    def only(_: Any, memory: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            first = context.get_constant(types.int64, 0)
            return _emit_row(context, builder, args[0], offset, first, record)

        return record(memory), codegen

    return only


def cell_of(
    root: np.dtype[Any], array: str, dtype: np.dtype[Any], columns: str
) -> Callable[..., Rows]:
    """Return a compiled accessor: (root, row, column) -> reference to a cell of `array`.

    The array is stored row by row; the root's field `columns` says how many a row has.
    """
    record = numba.from_dtype(dtype)
    offset, width_offset = root.fields[array][1], root.fields[columns][1]  # type: ignore[index]

    @intrinsic
    def cell(_: Any, memory: Any, row: Any, column: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            width = _word_at(context, builder, args[0], width_offset)
            y = context.cast(builder, args[1], row, types.int64)
            x = context.cast(builder, args[2], column, types.int64)
            at = builder.add(builder.mul(y, width), x)
            return _emit_row(context, builder, args[0], offset, at, record)

        return record(memory, row, column), codegen

    return cell


def entry_of(root: np.dtype[Any], array: str, dtype: Any) -> Callable[..., Any]:
    """Return a compiled accessor: (root, row, column) -> a number of a read-only table.

    The root's field `{array}_columns` says how many columns a row has; a row of one column has the
    same number in all. Integers of any size come out as 64 bits.
    """
    stored = numba.from_dtype(np.dtype(dtype))
    given = types.int64 if isinstance(stored, types.Integer) else stored
    offset, width_offset = root.fields[array][1], root.fields[f"{array}_columns"][1]  # type: ignore[index]

    @intrinsic
    def entry(_: Any, memory: Any, row: Any, column: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            first, one = (context.get_constant(types.int64, n) for n in (0, 1))
            width = _word_at(context, builder, args[0], width_offset)
            y = context.cast(builder, args[1], row, types.int64)
            x = context.cast(builder, args[2], column, types.int64)
            x = builder.select(builder.icmp_signed("==", width, one), first, x)
            at = builder.add(builder.mul(y, width), x)
            start = _word_at(context, builder, args[0], offset)
            size = context.get_constant(types.int64, np.dtype(dtype).itemsize)
            place = builder.add(start, builder.mul(at, size))
            value = builder.load(
                builder.inttoptr(place, context.get_value_type(stored).as_pointer())
            )
            return context.cast(builder, value, stored, given)

        return given(memory, row, column), codegen

    return entry
