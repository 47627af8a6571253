"""What the files of a store are called, and what a name says.

store.json                                     what this folder is
claims/g000002.claim                           who may write, the highest generation wins
blocks/shard-0003/e000000000042-g000002.block
bases/shard-0003/e000000000042-g000002.base
commits/e000000000042-g000002.commit           a restore point; written last
snapshots/NAME.snapshot                        a restore point that retention leaves alone
*.tmp-…                                        being written; never read
"""

from __future__ import annotations

import re

from ps.block import Cursor

BLOCKS = "blocks"
BASES = "bases"
COMMITS = "commits"
CLAIMS = "claims"
SNAPSHOTS = "snapshots"
IDENTITY = "store.json"

_CURSOR = re.compile(r"e(\d{12})-g(\d{6})\.(block|base|commit)")
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


def cursor_of(name: str) -> Cursor | None:
    """The cursor a block's, base's or commit's name stands for; None where it is none of them."""
    found = _CURSOR.fullmatch(name.rsplit("/", 1)[-1])
    return Cursor(int(found[1]), int(found[2])) if found else None


def is_snapshot_name(name: str) -> bool:
    """Whether a snapshot may be called so: letters, digits, dots, dashes; no path."""
    return _SNAPSHOT_NAME.fullmatch(name) is not None
