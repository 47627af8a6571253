"""A job's right to write to its store, from one generation to the next."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ps.errors import StoreUnavailableError
from ps.store.claim import Claim, is_of_the_same_job, take_claim

if TYPE_CHECKING:
    from ps.clock import Clock
    from ps.store.holder import Holder
    from ps.store.location import Location

# How long a claim holds without being renewed, for those who cannot see whether the process lives.
LEASE_S = 60.0


class Tenure(Claim):
    """The claims of one process, one after another, as one: what is written bears the newest.

    Safe to use from several threads: who checks sees either the claim before or the one after.
    """

    def __init__(
        self,
        location: Location,
        holder: Holder,
        clock: Clock,
        above: int = 0,
        *,
        successor: bool = False,
    ) -> None:
        """Take the first. successor: of a process of the same job, which need not have ended.

        Raises StoreInUseError, StoreUnavailableError, ForeignFileError.
        """
        self._of = (location, holder, clock)
        self._admin = holder.admin
        self._lock_of_claims = threading.Lock()
        takeover = successor and is_of_the_same_job(location, holder)
        self._claims = [
            take_claim(
                location, holder, clock=clock, lease_s=LEASE_S, above=above, takeover=takeover
            )
        ]
        self._first_generation = self._claims[0].generation

    @property
    def generation(self) -> int:
        """The newest claim's."""
        return self._claims[-1].generation

    @property
    def first_generation(self) -> int:
        """The oldest claim's: what this process wrote bears none below."""
        return self._first_generation

    def advance(self) -> int:
        """Take the next claim; what is written from now on bears its generation.

        Raises FencedError where someone else has, StoreUnavailableError.
        """
        location, holder, clock = self._of
        with self._lock_of_claims:
            self._claims[-1].check()
            # Whoever looks for the job by its store looks at the newest claim.
            holder = replace(holder, admin=self._admin)
            following = take_claim(location, holder, clock=clock, lease_s=LEASE_S)
            # The first has the lock of a local store. Those between say nothing that the newest does
            # not, and there may be thousands in the end.
            self._claims = [self._claims[0], following]
            return following.generation

    def check(self) -> None:
        """See Claim."""
        with self._lock_of_claims:
            self._claims[-1].check()

    def renew(self, admin: str | None = None) -> None:
        """See Claim."""
        with self._lock_of_claims:
            self._admin = admin or self._admin
            self._claims[-1].renew(admin)

    def release(self) -> None:
        """See Claim. The newest first: it says that nobody writes any more."""
        with self._lock_of_claims:
            error: StoreUnavailableError | None = None
            for claim in reversed(self._claims):
                try:
                    claim.release()
                except StoreUnavailableError as unavailable:
                    error = error or unavailable
            if error is not None:
                raise error
