"""The right to change a store, for as long as a command takes."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ps.clock import SystemClock
from ps.store.claim import take_claim
from ps.store.holder import Holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ps.store.claim import Claim
    from ps.store.location import Location

# Long enough to delete many files in one go; a command that was killed on another machine holds the
# store for so long, one that was killed on this machine does not.
_LEASE_S = 300.0


@contextmanager
def claimed(location: Location, command: str, *, above: int = 0) -> Iterator[Claim]:
    """Be the store's writer; above: a generation that the claim's must exceed.

    Raises StoreInUseError where a job or another command is, StoreUnavailableError.
    """
    holder = Holder.of_this_process(f"ps-admin {command}")
    with take_claim(location, holder, clock=SystemClock(), lease_s=_LEASE_S, above=above) as claim:
        yield claim
