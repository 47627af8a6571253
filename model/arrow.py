"""From Arrow columns to NumPy arrays: the few idioms, in one place and with exact types.

Arrow's annotations are partial, so results pass through Any here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

if TYPE_CHECKING:
    from ps.arrays import F64, I32, I64, U8, Bool

    Column = pa.Array[Any]

# A smaller part of a column is searched value by value rather than halved again.
_HALVE_ABOVE = 8


def nulls(column: Column) -> Bool:
    """bool[n], True where the column is null."""
    if not column.null_count:
        return np.zeros(len(column), np.bool_)
    mask: Bool = column.is_null().to_numpy(zero_copy_only=False)
    return mask


def filled_words(column: Column) -> I64:
    """An integer column as int64[n] (uint64 by its bits), 0 where null."""
    whole: Any = column.fill_null(0) if column.null_count else column
    unsigned = pt.is_unsigned_integer(column.type)
    values: I64 = whole.to_numpy().astype(np.uint64 if unsigned else np.int64, copy=False)
    return np.ascontiguousarray(values).view(np.int64)


def filled_floats(column: Column) -> F64:
    """A number column as float64[n], NaN where null; read-only where it is the column's memory."""
    wide: Any = column if pt.is_float64(column.type) else column.cast(pa.float64(), safe=False)
    values: F64 = wide.to_numpy(zero_copy_only=not column.null_count)
    return values


def text_buffers(column: Column) -> tuple[I32, U8]:
    """A non-empty string column's starts int32[n + 1] and its bytes, both views."""
    buffers: list[Any] = column.buffers()
    starts = np.frombuffer(buffers[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return starts, np.frombuffer(buffers[2] or b"", np.uint8)


def take(column: Column, rows: I64) -> Column:
    """The rows of a column, int64[k]."""
    index: Any = pa.array(rows)
    taken: Column = column.take(index)
    return taken


def dictionary(column: Column) -> tuple[Column, I64]:
    """Distinct values and int64[n] codes into them; -1 where null. Encodes a plain column."""
    encoded: Any = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    codes: Any = encoded.indices
    if codes.null_count:
        codes = codes.cast(pa.int64()).fill_null(-1)
    numbers: I64 = codes.to_numpy().astype(np.int64, copy=False)
    return encoded.dictionary, numbers


def plain(column: Column) -> Column:
    """A dictionary-encoded column decoded, any kind of text as string; others as they are."""
    kind = column.type
    if pt.is_dictionary(kind):
        decoded: Column = column.cast(kind.value_type)
        return plain(decoded)
    if pt.is_large_string(kind) or pt.is_string_view(kind):
        text: Column = column.cast(pa.string())
        return text
    return column


def empty_text(column: Column) -> Bool:
    """bool[n], True where a string column is null or of no characters."""
    zero: Any = pa.scalar(0, pa.int32())
    lengths: Any = pc.call_function("binary_length", [column])
    empty: Any = pc.equal(lengths.fill_null(0), zero)
    mask: Bool = empty.to_numpy(zero_copy_only=False)
    return mask


def empty_as_null(column: Column) -> Column:
    """A string column, null where the text is empty."""
    empty = empty_text(column)
    return _without(column, empty) if empty.any() else column


def trimmed(column: Column) -> Column:
    """A string column without blanks around its values; null where nothing is left."""
    bare: Any = pc.call_function("utf8_trim_whitespace", [column])
    return empty_as_null(bare)


def castable(column: Column, to: pa.DataType, pattern: str) -> tuple[Column, Bool | None]:
    """Cast the text that can be cast; null where it failed, and where that is (or None).

    One cast when all is well. Otherwise what does not match pattern (RE2) has failed, and among the
    rest halves are tried: a failing cast costs Arrow a message for every failing value.
    """
    whole = _cast(column, to)
    if whole is not None:
        return whole, None
    like: Any = pc.call_function(
        "match_substring_regex", [column], pc.MatchSubstringOptions(pattern)
    )
    failed: Bool = ~like.fill_null(True).to_numpy(zero_copy_only=False)
    rest = _without(column, failed)
    cast = _cast(rest, to)
    if cast is None:
        _mark_failures(rest, to, 0, failed)
        cast = _without(column, failed).cast(to)
    return cast, failed


def _without(column: Column, mask: Bool) -> Column:
    """The column, null where mask is True."""
    chosen: Any = pa.array(mask)
    nothing: Any = pa.scalar(None, column.type)
    kept: Column = pc.if_else(chosen, nothing, column)
    return kept


def _mark_failures(column: Column, to: pa.DataType, start: int, failed: Bool) -> None:
    """Mark the values of column (known to hold failures) that cannot be cast."""
    n = len(column)
    if n <= _HALVE_ABOVE:
        for i in range(n):
            failed[start + i] |= _cast(column.slice(i, 1), to) is None
        return
    half = n // 2
    for begin, length in ((0, half), (half, n - half)):
        part = column.slice(begin, length)
        if _cast(part, to) is None:
            _mark_failures(part, to, start + begin, failed)


def _cast(column: Column, to: pa.DataType) -> Column | None:
    try:
        cast: Column = column.cast(to)
    except pa.ArrowInvalid:
        return None
    return cast
