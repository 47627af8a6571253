"""A rehearsal of the demo in small: whatever compiles on first use has compiled when it counts."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.errors import RunError
from cluster.local import LocalRun
from serving.client import PredictClient
from serving.errors import NoReplicaError, PredictTimeoutError
from worker.sources.synthetic import ClickStreamSpec, SyntheticClicks

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.clock import Clock

# Few records, far apart: rows are admitted, expire, and leave the replicas.
_STREAM = ClickStreamSpec(records=8_000, records_per_s=2.0)
_SYNC_INTERVAL_S = 0.001
_DEADLINE_S = 180.0
_POLL_S = 0.05


def rehearse(plan: Plan, clock: Clock) -> None:
    """Run the plan over a short stream, servers included, until every replica has caught up.

    Raises RunError where one does not within three minutes.
    """
    small = replace(
        plan,
        source=SyntheticClicks(_STREAM),
        train=replace(plan.train, quarantine=None),
        serve=replace(plan.serve, sync_interval_s=_SYNC_INTERVAL_S),
        store=None,
        admin=None,
    )
    with LocalRun(small, clock=clock, serve=True) as run:
        run.start_servers()
        last_epoch = run.run().epoch
        for target in run.addresses:
            with PredictClient(target, clock=clock) as client:
                _wait_for(client, last_epoch, clock, target)


def _wait_for(client: PredictClient, epoch: int, clock: Clock, target: str) -> None:
    deadline_s = clock.monotonic_s() + _DEADLINE_S
    pause = threading.Event()
    while clock.monotonic_s() < deadline_s:
        try:
            version = client.get_model().version
        except (NoReplicaError, PredictTimeoutError):  # still compiling
            version = None
        if version is not None and version.shards and version.shards[0].epoch >= epoch:
            return
        pause.wait(_POLL_S)
    raise RunError(
        f"the replica at {target} did not catch up within {_DEADLINE_S:g} s; is the machine "
        "overloaded?"
    )
