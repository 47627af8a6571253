"""What a Predict server counts, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.replica import Replica

# From a tenth of a millisecond to ten seconds, in steps of about two.
_LATENCY_BUCKETS_S = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
_CANDIDATE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class ServingMetrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self, replica: Replica) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "trilith_serving_requests",
            "Calls answered, by method and gRPC status code.",
            ("method", "code"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "trilith_serving_latency_seconds",
            "Time from a call's start in a server thread to its answer.",
            ("method",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._candidates = Histogram(
            "trilith_serving_candidates",
            "Candidates per request that was answered.",
            buckets=_CANDIDATE_BUCKETS,
            registry=self.registry,
        )
        self._unknown = Counter(
            "trilith_serving_unknown_fids",
            "Distinct fids of a request that have no row, by table.",
            ("table",),
            registry=self.registry,
        )
        self._gauge("staleness_seconds", "Age of the weights; NaN until ready.").set_function(
            lambda: _or_nan(replica.staleness_s())
        )
        self._gauge("ready", "1 once the replica has a whole model.").set_function(
            lambda: float(replica.ready)
        )
        self._gauge("rows", "Rows in the replica.").set_function(
            lambda: float(replica.status().rows)
        )
        self._gauge("blocks_applied", "Blocks the replica has applied.").set_function(
            lambda: float(replica.status().blocks_applied)
        )

    def observe_call(self, method: str, code: str, seconds: float) -> None:
        """Count a finished call."""
        self._requests.labels(method, code).inc()
        self._latency.labels(method).observe(seconds)

    def observe_prediction(self, candidates: int, unknown_fids: Mapping[str, int]) -> None:
        """Count what was predicted."""
        self._candidates.observe(candidates)
        for table, count in unknown_fids.items():
            if count:
                self._unknown.labels(table).inc(count)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"trilith_replica_{name}", text, registry=self.registry)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
