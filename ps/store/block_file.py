"""Block files: one sealed epoch of one shard, as ps.codec has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from ps.codec import VERSION, decode_block, encoded_parts
from ps.errors import CorruptBlockError, CorruptFileError, ForeignBlockError, ForeignFileError
from ps.store.names import block_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.block import Block, Cursor
    from ps.store.location import Location


# Where every version of the format has them: see ps.codec.
_CHECKSUM_BYTES = 16
_VERSION_AT = 4


def read_block(location: Location, shard: int, at: Cursor, model: str | None = None) -> Block:
    """The block that leads one shard to a cursor; its arrays are read-only.

    model: the fingerprint it must have; None: any. Raises CorruptFileError where the file is damaged
    or holds another block than its name says, ForeignFileError where it is of another version,
    ForeignBlockError where of another model, FileMissingError, StoreUnavailableError.
    """
    return read_block_sized(location, shard, at, model)[0]


def read_block_sized(
    location: Location, shard: int, at: Cursor, model: str | None = None
) -> tuple[Block, int]:
    """read_block(), and the bytes of the file."""
    name = block_name(shard, at)
    data = location.read(name)
    try:
        block = decode_block(data)
    except CorruptBlockError as error:
        raise CorruptFileError(name, str(error)) from error
    except ForeignBlockError as error:
        # A version that says so itself, or one that a flipped bit made up?
        if xxhash.xxh3_128_digest(data[:-_CHECKSUM_BYTES]) != data[-_CHECKSUM_BYTES:]:
            raise CorruptFileError(name, "does not match its checksum") from error
        version = int.from_bytes(data[_VERSION_AT : _VERSION_AT + 2], "little")
        raise ForeignFileError(name, version, VERSION) from error
    if (block.shard, block.cursor, block.base) != (shard, at, False):
        raise CorruptFileError(
            name,
            f"holds {'the base' if block.base else 'the block'} of shard {block.shard} at epoch "
            f"{block.epoch} of generation {block.generation}",
        )
    if model is not None and block.model != model:
        raise ForeignBlockError(f"{name} is of model {block.model}, not {model}")
    return block, len(data)


def write_block(location: Location, block: Block) -> int:
    """Write an ordinary block under its name, piece by piece; its bytes.

    Raises ShapeError where its arrays disagree, StoreUnavailableError; then there is no such file.
    """
    written = 0

    def counted() -> Iterator[bytes | memoryview]:
        nonlocal written
        for part in encoded_parts(block):
            written += len(part)
            yield part

    location.write(block_name(block.shard, block.cursor), counted())
    return written
