"""The process of a shard in its seat. It imports what a shard needs, and no more: until it is there
again after a failure, nobody learns.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from cluster.switching import SWITCH_INTERVAL_S
from ps.actor import ShardActor
from ps.host.warmup import warm_up

if TYPE_CHECKING:
    from ps.actor import ShardActorSpec
    from ps.shard_spec import ShardSpec


class SeatedShard(ShardActor):
    """A process of a shard, ready to be told what to hold."""

    def __init__(self, spec: ShardActorSpec, holds: ShardSpec) -> None:
        """holds: a shard like the one it will be told to hold: what that takes is compiled."""
        settle()
        warm_up(holds)
        super().__init__(spec)


def settle() -> None:
    """Set a process of a job up: turns of its threads, and what it logs."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
