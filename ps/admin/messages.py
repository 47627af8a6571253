"""What the admin service says of rows, restore points and operations, to and from protobuf."""

from __future__ import annotations

from typing import Literal, cast

from ps import admin_pb2 as pb
from ps.admin.status_messages import positions_of, skips_message, skips_of
from ps.admin.target import FailoverReport, PruneReport, ReshardReport, RestorePoint, RollbackReport
from ps.inspected import InspectedRow, InspectedSlot


def row_message(row: InspectedRow) -> pb.InspectedRow:
    """One fid in one table."""
    return pb.InspectedRow(
        table=row.table,
        fid=row.fid,
        slot=row.slot,
        shard=row.shard,
        bucket=row.bucket,
        present=row.present,
        last_seen_s=row.last_seen_s,
        expires_s=row.expires_s,
        weights=row.weights,
        state=row.state,
        occurrences=row.occurrences,
    )


def row_of(message: pb.InspectedRow) -> InspectedRow:
    """One fid in one table."""
    return InspectedRow(
        table=message.table,
        fid=message.fid,
        slot=message.slot,
        shard=message.shard,
        bucket=message.bucket,
        present=message.present,
        last_seen_s=message.last_seen_s if message.HasField("last_seen_s") else None,
        expires_s=message.expires_s if message.HasField("expires_s") else None,
        weights=tuple(message.weights),
        state=tuple(message.state),
        occurrences=message.occurrences if message.HasField("occurrences") else None,
    )


def slot_message(slot: InspectedSlot) -> pb.InspectedSlot:
    """One slot of one table."""
    return pb.InspectedSlot(
        table=slot.table,
        slot=slot.slot,
        settings=slot.settings,
        rows=slot.rows,
        oldest_seen_s=slot.oldest_seen_s,
        newest_seen_s=slot.newest_seen_s,
        examples=[row_message(row) for row in slot.examples],
    )


def slot_of(message: pb.InspectedSlot) -> InspectedSlot:
    """One slot of one table."""
    return InspectedSlot(
        table=message.table,
        slot=message.slot,
        settings=message.settings,
        rows=message.rows,
        oldest_seen_s=message.oldest_seen_s if message.HasField("oldest_seen_s") else None,
        newest_seen_s=message.newest_seen_s if message.HasField("newest_seen_s") else None,
        examples=tuple(row_of(row) for row in message.examples),
    )


def point_message(point: RestorePoint) -> pb.RestorePoint:
    """One restore point."""
    return pb.RestorePoint(
        epoch=point.epoch,
        generation=point.generation,
        created_us=point.created_us,
        event_ts_us=point.event_ts_us,
        shards=point.shards,
        positions=point.positions,
        rows=point.rows,
        bytes_to_read=point.bytes_to_read,
        aligned=point.aligned,
        pinned_by=point.pinned_by,
    )


def point_of(message: pb.RestorePoint) -> RestorePoint:
    """One restore point."""
    return RestorePoint(
        epoch=message.epoch,
        generation=message.generation,
        created_us=message.created_us,
        event_ts_us=message.event_ts_us,
        shards=message.shards,
        positions=positions_of(message.positions),
        rows=message.rows,
        bytes_to_read=message.bytes_to_read,
        aligned=message.aligned,
        pinned_by=message.pinned_by if message.HasField("pinned_by") else None,
    )


def prune_message(report: PruneReport) -> pb.PruneReport:
    """What pruning deletes."""
    return pb.PruneReport(
        dry_run=report.dry_run,
        restore_points=report.restore_points,
        files=report.files,
        bytes=report.bytes,
    )


def prune_of(message: pb.PruneReport) -> PruneReport:
    """What pruning deletes."""
    return PruneReport(
        dry_run=message.dry_run,
        restore_points=tuple(message.restore_points),
        files=message.files,
        bytes=message.bytes,
    )


def rollback_message(report: RollbackReport) -> pb.RollbackReport:
    """What going back does."""
    return pb.RollbackReport(
        dry_run=report.dry_run,
        from_epoch=report.from_epoch,
        to_epoch=report.to_epoch,
        epoch=report.epoch,
        generation=report.generation,
        positions=report.positions,
        skips=skips_message(report.skips),
        rows_changed=report.rows_changed,
        rows_removed=report.rows_removed,
        seconds=report.seconds,
        learned_again=skips_message(report.learned_again),
    )


def rollback_of(message: pb.RollbackReport) -> RollbackReport:
    """What going back does."""
    return RollbackReport(
        dry_run=message.dry_run,
        from_epoch=message.from_epoch,
        to_epoch=message.to_epoch,
        epoch=message.epoch,
        generation=message.generation,
        positions=positions_of(message.positions),
        skips=skips_of(message.skips),
        rows_changed=message.rows_changed,
        rows_removed=message.rows_removed,
        seconds=message.seconds,
        learned_again=skips_of(message.learned_again),
    )


def reshard_message(report: ReshardReport) -> pb.ReshardReport:
    """Another number of shards."""
    return pb.ReshardReport(
        dry_run=report.dry_run,
        shards_before=report.shards_before,
        shards_after=report.shards_after,
        epoch=report.epoch,
        generation=report.generation,
        rows=report.rows,
        seconds=report.seconds,
    )


def reshard_of(message: pb.ReshardReport) -> ReshardReport:
    """Another number of shards."""
    return ReshardReport(
        dry_run=message.dry_run,
        shards_before=message.shards_before,
        shards_after=message.shards_after,
        epoch=message.epoch,
        generation=message.generation,
        rows=message.rows,
        seconds=message.seconds,
    )


def failover_message(report: FailoverReport) -> pb.FailoverReport:
    """A shard replaced."""
    return pb.FailoverReport(
        shard=report.shard,
        source=report.source,
        generation=report.generation,
        epoch=report.epoch,
        positions=report.positions,
        seconds=report.seconds,
    )


def failover_of(message: pb.FailoverReport) -> FailoverReport:
    """A shard replaced."""
    return FailoverReport(
        shard=message.shard,
        source=cast('Literal["standby", "store"]', message.source),
        generation=message.generation,
        epoch=message.epoch,
        positions=positions_of(message.positions),
        seconds=message.seconds,
    )
