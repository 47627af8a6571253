"""Blocks as bytes: a msgpack header, raw little-endian arrays, and a checksum over everything.

    magic 4 | version u16 | 0 u16 | header bytes u32 | body bytes u64 | header | body | xxh3-128

The header says how many rows of what width there are; dtypes and the order of the arrays are fixed
by the version. Every array begins at a multiple of 8 from the start of the bytes. Equal blocks have
equal bytes. Nothing is ever unpickled, and no array is made before the checksum has been verified
and the sizes add up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import xxhash

from ps.block import Block, Cursor, DenseDelta, FilterDelta, TableDelta, TableTally
from ps.errors import CorruptBlockError, ForeignBlockError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

MAGIC = b"TLBK"
VERSION = 2

_PRELUDE = struct.Struct("<4sHHIQ")
_CHECKSUM_BYTES = 16
_ALIGNMENT = 8
_U64 = np.dtype("<u8")
_U32 = np.dtype("<u4")
_F32 = np.dtype("<f4")
_BYTE = np.dtype("u1")
# Bounds on what a header may claim, far above any real block, that keep products within int64.
_MAX_ROWS = 1 << 40
_MAX_WIDTH = 1 << 20
_MAX_RANK = 32
_FILTER_LINE_BYTES = 64


def encode_block(block: Block) -> bytes:
    """The block's bytes; equal blocks give equal bytes. Raises ShapeError on arrays that disagree."""
    return b"".join(encoded_parts(block))


def encoded_parts(block: Block) -> Iterator[bytes | memoryview]:
    """The bytes of encode_block() piece by piece, arrays uncopied, for writing them one by one.

    Raises ShapeError, before the first piece.
    """
    header, arrays = _header_and_arrays(block)
    body_bytes = sum(_padded(array.nbytes) for array in arrays)
    checksum = xxhash.xxh3_128()
    head = b"".join(
        (
            _PRELUDE.pack(MAGIC, VERSION, 0, len(header), body_bytes),
            header,
            _padding(_PRELUDE.size + len(header)),
        )
    )
    checksum.update(head)
    yield head
    for array in arrays:
        for part in (_raw(array), _padding(array.nbytes)):
            if len(part) > 0:
                checksum.update(part)
                yield part
    yield checksum.digest()


def _header_and_arrays(block: Block) -> tuple[bytes, list[npt.NDArray[Any]]]:
    arrays: list[npt.NDArray[Any]] = []
    tables = []
    for name, delta in sorted(block.tables.items()):
        tables.append([name, *_table_shape(name, delta)])
        arrays += [
            _little(delta.fids, _U64),
            _little(delta.last_seen_s, _U32),
            _little(delta.weights, _F32),
            _little(delta.state, _F32),
            _little(delta.removed, _U64),
        ]
    dense = []
    for name, variable in sorted(block.dense.items()):
        dense.append([name, list(variable.weights.shape), variable.state.size])
        arrays += [_little(variable.weights, _F32), _little(variable.state, _F32)]
    filters = []
    for name, change in sorted(block.filters.items()):
        filters.append(
            [
                name,
                change.wide,
                change.total_lines,
                change.period,
                change.keys,
                change.period_start_s,
                change.now_s,
                _filter_lines(name, change),
            ]
        )
        arrays += [_little(change.lines, _U32), _little(change.cells, _BYTE)]
    tallies = [
        [name, t.rows_admitted, t.rows_expired, t.rows_evicted, t.occurrences_refused]
        for name, t in sorted(block.tallies.items())
    ]
    header = msgpack.packb(
        [
            block.model,
            block.shard,
            block.generation,
            block.epoch,
            block.base,
            block.event_ts_us,
            block.sealed_us,
            block.ingest_us,
            sorted(block.positions.items()),
            tables,
            dense,
            filters,
            None if block.after is None else list(block.after),
            sorted(block.owners.items()),
            tallies,
            block.pushes_applied,
            block.pushes_repeated,
        ]
    )
    return header, arrays


def decode_block(data: bytes | bytearray | memoryview) -> Block:
    """The block in `data`; its arrays are read-only views of `data`, which must not change after.

    Raises CorruptBlockError where the bytes are not a whole, unaltered block, ForeignBlockError
    where they are a block of another version of this format; nothing else, whatever the bytes.
    """
    view = memoryview(data).cast("B").toreadonly()
    header, body = _verified(view)
    try:
        block = _read_block(_unpacked(header), _Body(body))
    except _MalformedError as error:
        raise CorruptBlockError(f"block header is malformed: {error}") from error
    return block


class _MalformedError(Exception):
    """A header that passed its checksum and still makes no sense."""


@dataclass(slots=True)
class _Body:
    """Hands out the arrays of a body one after the other, and knows when there is no more."""

    view: memoryview
    at: int = 0

    def array(self, dtype: np.dtype[Any], *shape: int) -> npt.NDArray[Any]:
        count = 1
        for extent in shape:
            count *= extent
        size = count * dtype.itemsize
        if size > len(self.view) - self.at:
            raise _MalformedError(
                f"an array of {size} bytes at {self.at} exceeds the body's {len(self.view)}"
            )
        at, self.at = self.at, self.at + _padded(size)
        if count == 0:
            empty = np.empty(shape, dtype=dtype)
            empty.flags.writeable = False
            return empty
        return np.frombuffer(self.view, dtype=dtype, count=count, offset=at).reshape(shape)

    def finish(self) -> None:
        if self.at != len(self.view):
            raise _MalformedError(f"arrays end at {self.at}, the body at {len(self.view)}")


def _verified(view: memoryview) -> tuple[memoryview, memoryview]:
    """Header and body of bytes whose magic, version, length and checksum are right."""
    if len(view) < _PRELUDE.size + _CHECKSUM_BYTES:
        raise CorruptBlockError(f"{len(view)} bytes are too few for a block")
    magic, version, reserved, header_bytes, body_bytes = _PRELUDE.unpack_from(view)
    if magic != MAGIC:
        raise CorruptBlockError(f"block begins with {magic!r}, expected {MAGIC!r}")
    if version != VERSION or reserved != 0:
        raise ForeignBlockError(
            f"block is of format version {version} (flags {reserved}), this program reads "
            f"version {VERSION} (flags 0); read it with the release that wrote it"
        )
    body_at = _padded(_PRELUDE.size + header_bytes)
    expected = body_at + body_bytes + _CHECKSUM_BYTES
    if len(view) != expected:
        raise CorruptBlockError(f"block has {len(view)} bytes, its prelude says {expected}")
    content = view[:-_CHECKSUM_BYTES]
    found, said = xxhash.xxh3_128_digest(content), bytes(view[-_CHECKSUM_BYTES:])
    if found != said:
        raise CorruptBlockError(
            f"block of {len(view)} bytes has checksum {found.hex()}, it says {said.hex()}"
        )
    return view[_PRELUDE.size : _PRELUDE.size + header_bytes], content[body_at:]


def _unpacked(header: memoryview) -> list[object]:
    try:
        fields = msgpack.unpackb(header, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise _MalformedError(f"not msgpack ({error})") from error
    return _list(fields, "header", length=17)


def _read_block(fields: list[object], body: _Body) -> Block:
    model, shard, generation, epoch, base, event, sealed, ingest, positions, *rest = fields
    tables, dense, filters, after, owners, tallies, applied, repeated = rest
    block = Block(
        model=_text(model, "model"),
        shard=_integer(shard, "shard"),
        generation=_integer(generation, "generation"),
        epoch=_integer(epoch, "epoch"),
        base=_flag(base, "base"),
        event_ts_us=_signed(event, "event_ts_us"),
        sealed_us=_signed(sealed, "sealed_us"),
        ingest_us=None if ingest is None else _signed(ingest, "ingest_us"),
        positions=_numbers_by_name(positions, "positions"),
        tables={name: _read_table(entry, body) for name, entry in _entries(tables, "tables", 5)},
        dense={name: _read_dense(entry, body) for name, entry in _entries(dense, "dense", 3)},
        filters={
            name: _read_filter(entry, body) for name, entry in _entries(filters, "filters", 8)
        },
        after=None if after is None else _read_cursor(after),
        owners=_numbers_by_name(owners, "owners"),
        tallies={
            name: TableTally(*(_integer(count, "tally") for count in entry[1:]))
            for name, entry in _entries(tallies, "tallies", 5)
        },
        pushes_applied=_integer(applied, "pushes applied"),
        pushes_repeated=_integer(repeated, "pushes repeated"),
    )
    body.finish()
    return block


def _read_table(entry: list[object], body: _Body) -> TableDelta:
    rows, width, state_width, removed = (
        _size(entry[1], "rows"),
        _size(entry[2], "width", most=_MAX_WIDTH),
        _size(entry[3], "state width", most=_MAX_WIDTH),
        _size(entry[4], "removed"),
    )
    return TableDelta(
        fids=body.array(_U64, rows),
        last_seen_s=body.array(_U32, rows),
        weights=body.array(_F32, rows, width),
        state=body.array(_F32, rows, state_width),
        removed=body.array(_U64, removed),
    )


def _read_dense(entry: list[object], body: _Body) -> DenseDelta:
    shape = [_integer(extent, "extent", least=1) for extent in _list(entry[1], "shape")]
    if len(shape) > _MAX_RANK:
        raise _MalformedError(f"a variable of {len(shape)} dimensions")
    return DenseDelta(
        weights=body.array(_F32, *shape), state=body.array(_F32, _size(entry[2], "state"))
    )


def _read_filter(entry: list[object], body: _Body) -> FilterDelta:
    n = _size(entry[7], "filter lines")
    return FilterDelta(
        wide=_flag(entry[1], "wide"),
        total_lines=_integer(entry[2], "filter lines in all"),
        period=_signed(entry[3], "filter period"),
        keys=_signed(entry[4], "filter keys"),
        period_start_s=_signed(entry[5], "filter period start"),
        now_s=_signed(entry[6], "filter clock"),
        lines=body.array(_U32, n),
        cells=body.array(_BYTE, n, _FILTER_LINE_BYTES),
    )


def _read_cursor(found: object) -> Cursor:
    epoch, generation = _list(found, "cursor", length=2)
    return Cursor(_integer(epoch, "epoch"), _integer(generation, "generation"))


def _numbers_by_name(found: object, what: str) -> dict[str, int]:
    return {name: _integer(entry[1], what) for name, entry in _entries(found, what, 2)}


def _entries(found: object, what: str, length: int) -> Iterator[tuple[str, list[object]]]:
    """The named entries of one section, which must be in strict order of their names."""
    last: str | None = None
    for entry in _list(found, what):
        fields = _list(entry, what, length=length)
        name = _text(fields[0], what)
        if last is not None and name <= last:
            raise _MalformedError(f"{what}: {name!r} after {last!r}")
        last = name
        yield name, fields


def _list(found: object, what: str, length: int | None = None) -> list[object]:
    if not isinstance(found, list) or (length is not None and len(found) != length):
        raise _MalformedError(f"{what} is no list{'' if length is None else f' of {length}'}")
    return found


def _text(found: object, what: str) -> str:
    if not isinstance(found, str):
        raise _MalformedError(f"{what} is no text")
    return found


def _flag(found: object, what: str) -> bool:
    if not isinstance(found, bool):
        raise _MalformedError(f"{what} is neither true nor false")
    return found


def _integer(found: object, what: str, least: int = 0, most: int = (1 << 63) - 1) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise _MalformedError(f"{what} is no integer between {least} and {most}")
    return found


def _signed(found: object, what: str) -> int:
    return _integer(found, what, least=-(1 << 63))


def _size(found: object, what: str, most: int = _MAX_ROWS) -> int:
    return _integer(found, what, most=most)


def _table_shape(name: str, delta: TableDelta) -> tuple[int, int, int, int]:
    """rows, width, state width, removed."""
    rows = delta.fids.shape[0] if delta.fids.ndim == 1 else -1
    shapes = (delta.last_seen_s.shape, delta.weights.shape[:1], delta.state.shape[:1])
    ranks = (delta.weights.ndim, delta.state.ndim, delta.removed.ndim)
    if shapes != ((rows,),) * 3 or ranks != (2, 2, 1):
        raise ShapeError(
            f"table {name!r}: fids {list(delta.fids.shape)}, last_seen_s "
            f"{list(delta.last_seen_s.shape)}, weights {list(delta.weights.shape)}, state "
            f"{list(delta.state.shape)}, removed {list(delta.removed.shape)} do not belong together"
        )
    return rows, delta.weights.shape[1], delta.state.shape[1], delta.removed.shape[0]


def _filter_lines(name: str, change: FilterDelta) -> int:
    n = change.lines.shape[0] if change.lines.ndim == 1 else -1
    if change.cells.shape != (n, _FILTER_LINE_BYTES):
        raise ShapeError(
            f"filter of table {name!r}: lines {list(change.lines.shape)} and cells "
            f"{list(change.cells.shape)} do not belong together"
        )
    return n


def _little(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if array.dtype != dtype:
        raise ShapeError(f"a block holds {dtype.name} here, not {array.dtype.name}")
    return np.ascontiguousarray(array, dtype=dtype)


def _raw(array: npt.NDArray[Any]) -> memoryview:
    """The array's bytes without a copy."""
    return array.reshape(-1).view(_BYTE).data


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _padding(size: int) -> bytes:
    return bytes(_padded(size) - size)
