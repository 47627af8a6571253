"""A job at a glance, to and from protobuf, and what other messages are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from ps import admin_pb2 as pb
from ps.admin.target import (
    JobStatus,
    ReplicaStatus,
    ShardStatus,
    StoreStatus,
    TableStatus,
)
from ps.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.admin.target import Pausable
    from ps.store.commit import Skips

_PAUSABLE: dict[Pausable, pb.Pausable.ValueType] = {
    "training": pb.PAUSABLE_TRAINING,
    "publishing": pb.PAUSABLE_PUBLISHING,
}


def pausable_message(what: Pausable) -> pb.Pausable.ValueType:
    """What can be paused, as a number."""
    return _PAUSABLE[what]


def pausable_of(number: pb.Pausable.ValueType) -> Pausable:
    """What can be paused. Raises SpecError for a number of no meaning here."""
    for name, known in _PAUSABLE.items():
        if known == number:
            return name
    raise SpecError(f"what is to be paused, {number}, is neither training nor publishing")


def skips_message(skips: Skips) -> dict[str, pb.Ranges]:
    """Ranges by partition."""
    return {
        partition: pb.Ranges(ranges=[pb.Range(begin=begin, end=end) for begin, end in ranges])
        for partition, ranges in skips.items()
    }


def skips_of(message: Mapping[str, pb.Ranges]) -> Skips:
    """Ranges by partition. Raises SpecError for one that ends before it begins."""
    skips: Skips = {}
    for partition, ranges in message.items():
        for one in ranges.ranges:
            if not 0 <= one.begin < one.end:
                raise SpecError(
                    f"skip {partition}:{one.begin}-{one.end} leaves nothing out; it must end after "
                    "it begins, and begin at 0 or later"
                )
        skips[partition] = tuple((one.begin, one.end) for one in ranges.ranges)
    return skips


def positions_of(message: Mapping[str, int]) -> dict[str, int]:
    """Offsets by partition, in order."""
    return dict(sorted(message.items()))


def status_message(status: JobStatus) -> pb.JobStatus:
    """A job at a glance."""
    return pb.JobStatus(
        job=status.job,
        model=status.model,
        version=status.version,
        pid=status.pid,
        host=status.host,
        started_us=status.started_us,
        now_us=status.now_us,
        state=status.state,
        paused=[pausable_message(what) for what in status.paused],
        generation=status.generation,
        epoch=status.epoch,
        examples=status.examples,
        examples_per_s=status.examples_per_s,
        event_ts_us=status.event_ts_us,
        metrics={name: pb.Metric(value=value) for name, value in status.metrics.items()},
        quarantined=status.quarantined,
        skips=skips_message(status.skips),
        shards=[_shard_message(shard) for shard in status.shards],
        replicas=[_replica_message(replica) for replica in status.replicas],
        store=None if status.store is None else _store_message(status.store),
    )


def status_of(message: pb.JobStatus) -> JobStatus:
    """A job at a glance. Raises SpecError where a newer service pauses what is not known here."""
    return JobStatus(
        job=message.job,
        model=message.model,
        version=message.version,
        pid=message.pid,
        host=message.host,
        started_us=message.started_us,
        now_us=message.now_us,
        state=message.state,
        paused=tuple(pausable_of(number) for number in message.paused),
        generation=message.generation,
        epoch=message.epoch,
        examples=message.examples,
        examples_per_s=message.examples_per_s,
        event_ts_us=message.event_ts_us,
        metrics={
            name: metric.value if metric.HasField("value") else None
            for name, metric in sorted(message.metrics.items())
        },
        quarantined=dict(sorted(message.quarantined.items())),
        skips=skips_of(message.skips),
        shards=tuple(_shard_of(shard) for shard in message.shards),
        replicas=tuple(_replica_of(replica) for replica in message.replicas),
        store=_store_of(message.store) if message.HasField("store") else None,
    )


def table_message(table: TableStatus) -> pb.TableStatus:
    """One table over all shards."""
    return pb.TableStatus(
        name=table.name,
        width=table.width,
        state_width=table.state_width,
        optimizer=table.optimizer,
        initializer=table.initializer,
        row_bytes=table.row_bytes,
        rows=table.rows,
        rows_by_shard=table.rows_by_shard,
        capacity_rows=table.capacity_rows,
        rows_admitted=table.rows_admitted,
        rows_expired=table.rows_expired,
        rows_evicted=table.rows_evicted,
        occurrences_refused=table.occurrences_refused,
        allocated_bytes=table.allocated_bytes,
        slots=table.slots,
    )


def table_of(message: pb.TableStatus) -> TableStatus:
    """One table over all shards."""
    return TableStatus(
        name=message.name,
        width=message.width,
        state_width=message.state_width,
        optimizer=message.optimizer,
        initializer=message.initializer,
        row_bytes=message.row_bytes,
        rows=message.rows,
        rows_by_shard=tuple(message.rows_by_shard),
        capacity_rows=message.capacity_rows if message.HasField("capacity_rows") else None,
        rows_admitted=message.rows_admitted,
        rows_expired=message.rows_expired,
        rows_evicted=message.rows_evicted,
        occurrences_refused=message.occurrences_refused,
        allocated_bytes=message.allocated_bytes,
        slots=dict(sorted(message.slots.items())),
    )


def _shard_message(shard: ShardStatus) -> pb.ShardStatus:
    return pb.ShardStatus(
        shard=shard.shard,
        generation=shard.generation,
        epoch=shard.epoch,
        event_ts_us=shard.event_ts_us,
        positions=shard.positions,
        rows=shard.rows,
        allocated_bytes=shard.allocated_bytes,
        pushes_applied=shard.pushes_applied,
        pushes_repeated=shard.pushes_repeated,
        standby_epoch=shard.standby_epoch,
    )


def _shard_of(message: pb.ShardStatus) -> ShardStatus:
    return ShardStatus(
        shard=message.shard,
        generation=message.generation,
        epoch=message.epoch,
        event_ts_us=message.event_ts_us,
        positions=positions_of(message.positions),
        rows=message.rows,
        allocated_bytes=message.allocated_bytes,
        pushes_applied=message.pushes_applied,
        pushes_repeated=message.pushes_repeated,
        standby_epoch=message.standby_epoch if message.HasField("standby_epoch") else None,
    )


def _replica_message(replica: ReplicaStatus) -> pb.ReplicaStatus:
    return pb.ReplicaStatus(
        address=replica.address,
        ready=replica.ready,
        epochs=replica.epochs,
        generations=replica.generations,
        rows=replica.rows,
        staleness_p50_s=replica.staleness_p50_s,
        staleness_p99_s=replica.staleness_p99_s,
        last_error=replica.last_error,
        age_s=replica.age_s,
    )


def _replica_of(message: pb.ReplicaStatus) -> ReplicaStatus:
    known = message.HasField
    return ReplicaStatus(
        address=message.address,
        ready=message.ready,
        epochs=tuple(message.epochs),
        generations=tuple(message.generations),
        rows=message.rows,
        staleness_p50_s=message.staleness_p50_s if known("staleness_p50_s") else None,
        staleness_p99_s=message.staleness_p99_s if known("staleness_p99_s") else None,
        last_error=message.last_error if known("last_error") else None,
        age_s=message.age_s if known("age_s") else None,
    )


def _store_message(store: StoreStatus) -> pb.StoreStatus:
    return pb.StoreStatus(
        url=store.url,
        state=store.state,
        committed_epoch=store.committed_epoch,
        committed_us=store.committed_us,
        waiting_blocks=store.waiting_blocks,
        waiting_bytes=store.waiting_bytes,
        restore_points=store.restore_points,
        stored_bytes=store.stored_bytes,
        compacting=store.compacting,
        last_error=store.last_error,
    )


def _store_of(message: pb.StoreStatus) -> StoreStatus:
    return StoreStatus(
        url=message.url,
        state=cast('Literal["ok", "behind", "failing"]', message.state),
        committed_epoch=message.committed_epoch if message.HasField("committed_epoch") else None,
        committed_us=message.committed_us if message.HasField("committed_us") else None,
        waiting_blocks=message.waiting_blocks,
        waiting_bytes=message.waiting_bytes,
        restore_points=message.restore_points,
        stored_bytes=message.stored_bytes,
        compacting=message.compacting,
        last_error=message.last_error if message.HasField("last_error") else None,
    )
