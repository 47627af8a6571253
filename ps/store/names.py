"""What the files of a store are called, and what a name says.

store.identity                                 what this folder is
claims/g000002.claim                           who may write, the highest generation wins
blocks/shard-0003/e000000000042-g000002.block
bases/shard-0003/e000000000042-g000002.base
commits/e000000000042-g000002.commit           a restore point; written last
snapshots/NAME.snapshot                        a restore point that retention leaves alone
store.lock                                     in local stores: held while a writer lives
*.tmp-…                                        being written; never read
"""

from __future__ import annotations

import re

from ps.block import Cursor
from ps.errors import SpecError

BLOCKS = "blocks"
BASES = "bases"
COMMITS = "commits"
CLAIMS = "claims"
SNAPSHOTS = "snapshots"
IDENTITY = "store.identity"
# Local stores only: locked for as long as a writer lives.
LOCK = "store.lock"

_CURSOR = re.compile(r"e(\d{12})-g(\d{6})\.(block|base|commit)")
_CLAIM = re.compile(r"g(\d{6,})\.claim")
_SHARD = re.compile(rf"(?:{BLOCKS}|{BASES})/shard-(\d{{4,}})/[^/]+")
_SNAPSHOT = re.compile(rf"{SNAPSHOTS}/(.+)\.snapshot")
_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def block_name(shard: int, at: Cursor) -> str:
    """Where the block that leads to a cursor is, relative to the store."""
    return f"{BLOCKS}/shard-{shard:04d}/e{at.epoch:012d}-g{at.generation:06d}.block"


def base_name(shard: int, at: Cursor) -> str:
    """Where the base of a cursor is."""
    return f"{BASES}/shard-{shard:04d}/e{at.epoch:012d}-g{at.generation:06d}.base"


def commit_name(at: Cursor) -> str:
    """Where the restore point of a cursor is."""
    return f"{COMMITS}/e{at.epoch:012d}-g{at.generation:06d}.commit"


def claim_name(generation: int) -> str:
    """Where the claim of a generation is."""
    return f"{CLAIMS}/g{generation:06d}.claim"


def snapshot_file(name: str) -> str:
    """Where the snapshot of a name is. Raises SpecError where nothing may be called so."""
    if not is_snapshot_name(name):
        raise SpecError(
            f"{name!r} cannot be a snapshot's name; use up to 100 letters, digits, dots, dashes and "
            "underscores, a letter or digit first"
        )
    return f"{SNAPSHOTS}/{name}.snapshot"


def generation_of(name: str) -> int | None:
    """The generation a claim's name stands for; None where it is no claim's."""
    found = _CLAIM.fullmatch(name.rsplit("/", 1)[-1])
    return int(found[1]) if found else None


def shard_of(name: str) -> int | None:
    """The shard a block or base is of, by its name; None where it is neither."""
    found = _SHARD.fullmatch(name)
    return int(found[1]) if found else None


def snapshot_of(name: str) -> str | None:
    """What a snapshot's file says it is called; None where it is no snapshot's."""
    found = _SNAPSHOT.fullmatch(name)
    return found[1] if found and is_snapshot_name(found[1]) else None


def cursor_of(name: str) -> Cursor | None:
    """The cursor a block's, base's or commit's name stands for; None where it is none of them."""
    found = _CURSOR.fullmatch(name.rsplit("/", 1)[-1])
    return Cursor(int(found[1]), int(found[2])) if found else None


def is_store_file(name: str) -> bool:
    """Whether a file of that name belongs to a store, as far as its name goes."""
    at, shard, generation, snapshot = (
        cursor_of(name),
        shard_of(name),
        generation_of(name),
        snapshot_of(name),
    )
    expected = {IDENTITY, LOCK}
    if at is not None:
        expected.add(commit_name(at))
        if shard is not None:
            expected |= {block_name(shard, at), base_name(shard, at)}
    if generation is not None:
        expected.add(claim_name(generation))
    if snapshot is not None:
        expected.add(snapshot_file(snapshot))
    return name in expected


def is_snapshot_name(name: str) -> bool:
    """Whether a snapshot may be called so: letters, digits, dots, dashes; no path."""
    return _SNAPSHOT_NAME.fullmatch(name) is not None and ".tmp-" not in name
