"""The small records of a store: claims, commits, snapshots and its identity, each a file of its own.

    magic 4 | version u16 | kind u16 | payload bytes u32 | payload (msgpack) | xxh3-128

The checksum is over everything before it, in every version of the format, so that a record of
another version can be told from a damaged one. Nothing is ever unpickled.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgpack
import xxhash

from ps.errors import CorruptFileError, ForeignFileError

MAGIC = b"TLRC"
VERSION = 1

_PRELUDE = struct.Struct("<4sHHI")
_CHECKSUM_BYTES = 16


class Kind(IntEnum):
    """What a record is. The numbers are part of the format."""

    IDENTITY = 1
    CLAIM = 2
    COMMIT = 3
    SNAPSHOT = 4


def seal_record(kind: Kind, fields: list[object]) -> bytes:
    """A record's bytes; equal fields give equal bytes."""
    payload: bytes = msgpack.packb(fields)
    content = _PRELUDE.pack(MAGIC, VERSION, kind, len(payload)) + payload
    return content + xxhash.xxh3_128_digest(content)


def open_record(kind: Kind, data: bytes, name: str) -> object:
    """What seal_record() was given, as msgpack gives it back; name: of the file, for messages.

    Raises CorruptFileError where the bytes are not a whole, unaltered record of that kind,
    ForeignFileError where they are one of another version; nothing else, whatever the bytes.
    """
    if len(data) < _PRELUDE.size + _CHECKSUM_BYTES:
        raise CorruptFileError(name, f"{len(data)} bytes are too few for a record")
    magic, version, found_kind, payload_bytes = _PRELUDE.unpack_from(data)
    if magic != MAGIC:
        raise CorruptFileError(name, f"begins with {magic!r}, expected {MAGIC!r}")
    whole = _PRELUDE.size + payload_bytes + _CHECKSUM_BYTES
    if version == VERSION and len(data) < whole:
        raise CorruptFileError(name, f"cut short: {len(data):,} of {whole:,} bytes are there")
    content, said = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    found = xxhash.xxh3_128_digest(content)
    if found != said:
        raise CorruptFileError(
            name, f"{len(data)} bytes have checksum {found.hex()}, the file says {said.hex()}"
        )
    if version != VERSION:
        raise ForeignFileError(name, version, VERSION)
    if len(content) - _PRELUDE.size != payload_bytes:
        raise CorruptFileError(
            name, f"has a payload of {len(content) - _PRELUDE.size} bytes, it says {payload_bytes}"
        )
    if found_kind != kind:
        raise CorruptFileError(name, f"is a record of kind {found_kind}, expected {int(kind)}")
    try:
        payload: object = msgpack.unpackb(
            memoryview(content)[_PRELUDE.size :], use_list=True, strict_map_key=True
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptFileError(name, f"payload is no msgpack ({error})") from error
    return payload
