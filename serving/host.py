"""The process of one replica: it answers clients, follows the leaders, and does as it is told."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import TYPE_CHECKING

from ps.coordinator.orders import ReplicaReport
from ps.errors import JobBusyError
from ps.net.feed_store import StoredBlocks
from serving.following import Following
from serving.from_specs import replica_of
from serving.predictor import Predictor
from serving.reporting import status_of
from serving.server import start_near

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model.features import FeatureSpec
    from model.model import Model
    from ps.clock import Clock
    from ps.coordinator.orders import Coordination, ReplicaOrders
    from ps.net.feed import Connect
    from ps.shard_spec import ShardSpec
    from ps.store.location import Location
    from serving.config import ServingConfig
    from serving.server import PredictServer

logger = logging.getLogger(__name__)

BEAT_S = 0.5
# How long a server that is about to stop still answers, so that all clients have turned away.
NOTICE_S = 0.5
# What stop() allows beyond the server's grace.
_STOP_S = 15.0
_ANY_ADDRESS = ("0.0.0.0", "::", "[::]")  # noqa: S104  # compared with, not bound


class ReplicaHost:
    """One serving replica: its server, what it serves, and what keeps that current.

    It reports every beat_s and is told how to stand. While the coordinator cannot be reached it goes
    on as it was told last; while no leader can be reached it serves what it has. Health says serving
    from when it has the whole model until it is told to stop.
    """

    def __init__(
        self,
        number: int,
        *,
        shards: int,
        specs: Callable[[int], Sequence[ShardSpec]],
        features: FeatureSpec,
        make_model: Callable[[], Model],
        config: ServingConfig,
        coordination: Coordination,
        connect: Connect,
        store: Location | None,
        clock: Clock,
        fingerprint: str,
        node: str,
        node_ip: str | None = None,
        beat_s: float = BEAT_S,
        notice_s: float = NOTICE_S,
    ) -> None:
        """number: of this replica. shards: how many there are in the job file; specs: of any number.

        connect: reaches a leader. store: where bases come from first; None: from the leaders. node,
        node_ip: where this process runs, as others see it.
        """
        first = specs(shards)
        self.replica = replica_of(first, clock)
        self.process = uuid.uuid4().hex
        self._number = number
        self._node = node
        self._node_ip = node_ip
        self._fingerprint = fingerprint
        self._config = config
        self._clock = clock
        self._coordination = coordination
        self._beat_s = beat_s
        self._notice_s = notice_s
        self._predictor = Predictor(features, make_model, self.replica, clock)
        stored = None
        if store is not None:
            stored = StoredBlocks(store, model=first[0].model, clock=clock, with_state=False)
        self.following = Following(self.replica, specs, connect, stored)
        self._server: PredictServer | None = None
        self._unreached: str | None = None
        self._changed = threading.Condition()
        self._due = False
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica-beat", daemon=True)

    @property
    def address(self) -> str:
        """host:port that clients anywhere can use; empty before start."""
        if self._server is None:
            return ""
        host = self._config.host
        if host in _ANY_ADDRESS and self._node_ip is not None:
            host = f"[{self._node_ip}]" if ":" in self._node_ip else self._node_ip
        return f"{host}:{self._server.port}"

    def start(self) -> None:
        """Listen, report, and follow what is told. Raises serving.errors.ServerStartError."""
        self._server = start_near(self._predictor, self._clock, self._config)
        self.replica.when_ready(self._report_now)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, by an order or by stop(); False where the time ran out first."""
        return self._ended.wait(timeout_s)

    def stop(self) -> bool:
        """End in order; whether it has ended in time. May be called again, and from any thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if not self._thread.is_alive() and not self._ended.is_set():
            self._end()
        return self._ended.wait(self._notice_s + self._config.grace_s + _STOP_S)

    def hello(self) -> ReplicaReport:
        """How it stands."""
        following = self.following
        fault = following.fault or self._unreached
        return ReplicaReport(
            replica=self._number,
            process=self.process,
            node=self._node,
            fingerprint=self._fingerprint,
            shards=self.replica.shards,
            status=status_of(self.address, self.replica, following.follower, fault),
        )

    def _run(self) -> None:
        while not self._stopping:
            orders = self._beat()
            if orders is not None:
                if orders.stop:
                    break
                self.following.turn_to(orders.directory, publishing=orders.publishing)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._due, self._beat_s)
                self._due = False
        self._end()

    def _beat(self) -> ReplicaOrders | None:
        """Report; what to do, None where the coordinator could not be reached."""
        try:
            orders = self._coordination.serve(self.hello())
        except JobBusyError as error:
            if self._unreached is None:
                logger.warning("going on as told last: %s", error)
            self._unreached = f"the coordinator does not answer: {error}"
        except Exception as error:
            # Whatever is wrong with it: users are served on.
            logger.exception("the coordinator cannot be reported to, for now")
            self._unreached = f"{type(error).__name__}: {error}"
        else:
            self._unreached = None
            return orders
        return None

    def _end(self) -> None:
        """End in order:

        1. health says NOT_SERVING, and clients turn to other replicas; calls are answered on
        2. calls under way are finished, within the grace; new ones are refused
        3. nothing is followed any more
        """
        if self._server is not None:
            self._server.withdraw()  # 1
            if self.replica.ready:
                threading.Event().wait(self._notice_s)
            self._server.stop()  # 2
        self.following.stop()  # 3
        self._ended.set()

    def _report_now(self) -> None:
        with self._changed:
            self._due = True
            self._changed.notify_all()
