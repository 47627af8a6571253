"""Messages as bytes: a msgpack head plus raw little-endian arrays, and a checksum over everything.

    magic 2 | version u8 | kind u8 | head bytes u32 | body bytes u64 | head | body | xxh3-64

Every array begins at a multiple of 8 from the start of the bytes. Nothing is ever unpickled, and
nothing is read before the checksum has been verified and the sizes add up.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import xxhash

from ps.errors import CorruptFileError, CorruptMessageError, ShapeError
from ps.store.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

MAGIC = b"TN"
VERSION = 1

U64 = np.dtype("<u8")
U32 = np.dtype("<u4")
F32 = np.dtype("<f4")

_PRELUDE = struct.Struct("<2sBBIQ")
_CHECKSUM = struct.Struct("<Q")
_ALIGNMENT = 8
_BYTE = np.dtype("u1")


class Kind(IntEnum):
    """What a message says. The numbers are part of the format."""

    PULL = 1
    PUSH = 2
    FENCE = 3
    POSITIONS = 4
    READ = 5
    BASE = 6
    PULLED = 17
    RECEIPT = 18
    FENCED = 19
    REACHED = 20
    BLOCK = 21
    REFUSAL = 32


def seal_message(
    kind: Kind, head: Sequence[object], arrays: Sequence[npt.NDArray[Any]] = ()
) -> bytes:
    """A message's bytes. arrays: C-contiguous and little-endian, as little() leaves them.

    Raises ShapeError where the head has a number that no message can hold.
    """
    try:
        packed: bytes = msgpack.packb(head)
    except (OverflowError, ValueError, TypeError) as error:
        raise ShapeError(f"a {kind.name.lower()} message cannot hold this ({error})") from error
    body_bytes = sum(_padded(array.nbytes) for array in arrays)
    parts: list[bytes | memoryview] = [
        _PRELUDE.pack(MAGIC, VERSION, kind, len(packed), body_bytes),
        packed,
        _padding(_PRELUDE.size + len(packed)),
    ]
    for array in arrays:
        parts += [array.reshape(-1).view(_BYTE).data, _padding(array.nbytes)]
    checksum = xxhash.xxh3_64()
    for part in parts:
        checksum.update(part)
    parts.append(_CHECKSUM.pack(checksum.intdigest()))
    return b"".join(parts)


def little(array: npt.NDArray[Any], dtype: np.dtype[Any], what: str) -> npt.NDArray[Any]:
    """The array as a message holds it, copied only where it must be. Raises ShapeError."""
    if array.dtype != dtype:
        raise ShapeError(f"{what}: {array.dtype.name}, expected {dtype.name}")
    return np.ascontiguousarray(array, dtype=dtype)


class Message:
    """A whole, unaltered message: its kind, the fields of its head, and its arrays one by one.

    Raises CorruptMessageError where the bytes are anything else, or of another kind than expected.
    """

    def __init__(self, data: bytes | memoryview, *expected: Kind) -> None:
        """data: must not change after; arrays are read-only views of it."""
        view = memoryview(data).toreadonly()
        head_bytes, body_bytes, kind = _prelude(view)
        body_at = _padded(_PRELUDE.size + head_bytes)
        whole = body_at + body_bytes + _CHECKSUM.size
        if len(view) != whole:
            raise CorruptMessageError(f"a message has {len(view)} bytes, it says {whole}")
        (said,) = _CHECKSUM.unpack_from(view, whole - _CHECKSUM.size)
        found = xxhash.xxh3_64_intdigest(view[: whole - _CHECKSUM.size])
        if found != said:
            raise CorruptMessageError(
                f"a message of {len(view)} bytes has checksum {found:016x}, it says {said:016x}"
            )
        if kind not in expected:
            names = " or ".join(one.name.lower() for one in expected)
            raise CorruptMessageError(f"a message of kind {kind}, expected {names}")
        self.kind = Kind(kind)
        self._head = _unpacked(view[_PRELUDE.size : _PRELUDE.size + head_bytes])
        self._body = view[body_at : body_at + body_bytes]
        self._at = 0

    def array(self, dtype: np.dtype[Any], *shape: int) -> npt.NDArray[Any]:
        """The next array of the body: a view of the message's bytes."""
        count = 1
        for extent in shape:
            count *= extent
        size = count * dtype.itemsize
        if size > len(self._body) - self._at:
            raise CorruptMessageError(
                f"a {self.kind.name.lower()} message has an array of {size} bytes at {self._at}, "
                f"its body has {len(self._body)}"
            )
        if count == 0:
            return np.empty(shape, dtype=dtype)
        at, self._at = self._at, self._at + _padded(size)
        return np.frombuffer(self._body, dtype=dtype, count=count, offset=at).reshape(shape)

    @contextmanager
    def reading(self, length: int) -> Iterator[Fields]:
        """The head, a list of so many fields; on leaving, every array must have been read."""
        name = self.kind.name.lower()
        try:
            yield Fields(name, self._head, "head", length)
        except CorruptFileError as error:
            raise CorruptMessageError(f"a {name} message whose {error.fault}") from error
        except ValueError as error:
            raise CorruptMessageError(f"a {name} message that makes no sense: {error}") from error
        if self._at != len(self._body):
            raise CorruptMessageError(
                f"a {name} message whose arrays end at {self._at}, its body at {len(self._body)}"
            )


def _unpacked(packed: memoryview) -> object:
    try:
        head: object = msgpack.unpackb(packed, use_list=True, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CorruptMessageError(f"a message's head is no msgpack ({error})") from error
    return head


def _prelude(view: memoryview) -> tuple[int, int, int]:
    """Bytes of head and body, and the kind; of a message of this version."""
    if len(view) < _PRELUDE.size + _CHECKSUM.size:
        raise CorruptMessageError(f"{len(view)} bytes are too few for a message")
    magic, version, kind, head_bytes, body_bytes = _PRELUDE.unpack_from(view)
    if magic != MAGIC:
        raise CorruptMessageError(f"a message begins with {magic!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise CorruptMessageError(
            f"a message of version {version}, this program speaks {VERSION}; run one release "
            "everywhere"
        )
    return head_bytes, body_bytes, kind


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _padding(size: int) -> bytes:
    return bytes(_padded(size) - size)
