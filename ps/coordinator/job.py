"""What the parts of a coordinator share: the job, who takes part in it, and what is known of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ps.errors import FencedError, PsError, StaleTermError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.clock import Clock
    from ps.coordinator.fanout import Fanout
    from ps.coordinator.fitness import Fitness
    from ps.coordinator.fleet import Fleet
    from ps.coordinator.holds import Holds
    from ps.coordinator.keeping import Keeping
    from ps.coordinator.leaders import Leaders
    from ps.coordinator.members import Members
    from ps.coordinator.numbering import Numbering
    from ps.coordinator.ownership import Ownership
    from ps.coordinator.plan import JobPlan
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit


@dataclass(slots=True)
class Job:
    """specs: of the shards there are now. stopped: set once the coordinator is to do nothing more.
    woken: set where something has happened that the supervisor should look at.
    """

    plan: JobPlan
    fleet: Fleet
    keeping: Keeping
    leaders: Leaders
    numbering: Numbering
    members: Members
    ownership: Ownership
    holds: Holds
    fitness: Fitness
    fanout: Fanout
    clock: Clock
    say: Callable[[str], None]
    specs: tuple[ShardSpec, ...]
    stopped: threading.Event = field(default_factory=threading.Event)
    woken: threading.Event = field(default_factory=threading.Event)
    replaced: PsError | None = None

    @property
    def term(self) -> int:
        """By which hosts know this coordinator from others."""
        return self.keeping.term

    @property
    def shards(self) -> int:
        """How many there are now."""
        return len(self.specs)

    def has_been_replaced(self, error: PsError) -> bool:
        """Whether that is what an error says; then this coordinator does nothing more."""
        if not isinstance(error, FencedError | StaleTermError):
            return False
        if self.replaced is None:
            self.replaced = error
            self.say(f"this coordinator has been replaced: {error}")
        self.stopped.set()
        self.woken.set()
        return True


def to_be_sent(commit: Commit) -> Commit:
    """A restore point as hosts need it: without what workers know of the stream."""
    return replace(commit, worker=b"")
