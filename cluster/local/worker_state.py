"""What a restore point says of the stream's reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import WorkerStateError
from worker.state import WorkerState

if TYPE_CHECKING:
    from ps.store.commit import Commit


def worker_state(commit: Commit) -> WorkerState | None:
    """What the commit says of the stream's reader; None where it says nothing that can be read."""
    try:
        return WorkerState.decode(commit.worker) if commit.worker else None
    except WorkerStateError:
        return None
