"""Exporting: one restore point, copied to a place of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.admin.offline.writing import claimed
from ps.errors import StoreError
from ps.store.commit_codec import encode_commit
from ps.store.inventory import names_of
from ps.store.names import COMMITS, commit_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.store.commit import Commit
    from ps.store.location import Location

# Read and written at once: large enough for an object store, and nothing to a machine's memory.
_PIECE_BYTES = 8 << 20


def copy_restore_point(
    source: Location,
    commit: Commit,
    destination: Location,
    *,
    on_progress: Callable[[int, int], None],
) -> tuple[int, int]:
    """Make a store of one restore point; how many files, and their bytes.

    1. become the destination's writer
    2. copy what the restore point needs
    3. write the commit, which names it

    A copy that is broken off before 3 is no restore point, and may be made again. Raises StoreError
    where the destination holds restore points already; StoreInUseError, FileMissingError,
    StoreUnavailableError.
    """
    if destination.list(COMMITS):
        raise StoreError(
            f"{destination.url} holds restore points already; export to an empty folder or URL"
        )
    names = names_of(commit)
    sizes = {name: source.size(name) for name in names}
    total, done = sum(sizes.values()), 0
    with claimed(destination, "snapshot export", above=commit.at.generation) as claim:  # 1
        for name in names:  # 2
            with destination.writer(name) as out:
                for offset in range(0, sizes[name], _PIECE_BYTES):
                    piece = source.read_range(name, offset, _PIECE_BYTES)
                    out.write(piece)
                    done += len(piece)
                    claim.renew()
                    on_progress(done, total)
        claim.check()
        encoded = encode_commit(commit)
        destination.write(commit_name(commit.at), [encoded])  # 3
    return len(names) + 1, done + len(encoded)
