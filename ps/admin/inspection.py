"""Looking at tables, rows and slots of the shards, for people: between two batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ps.admin.target import TableStatus
from ps.admin.wording import describe_optimizer, format_duration
from ps.admission import AdmitAfter, AdmitWithProbability
from ps.buckets import bucket_of, even_shard_map
from ps.errors import SpecError, UnknownTableError
from ps.inspected import InspectedRow, InspectedSlot
from ps.kernels.layout import row_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.arrays import U32, U64
    from ps.block import TableDelta
    from ps.shard import Shard
    from ps.table import SlotPolicy, TableSpec

_WORD_BYTES = 4
_SLOT_BITS = 48


def table_statuses(shards: Sequence[Shard]) -> list[TableStatus]:
    """Every table, over all shards."""
    return [_table_status(spec, shards) for spec in shards[0].spec.tables]


def inspect_fid(shards: Sequence[Shard], fid: int, table: str | None) -> list[InspectedRow]:
    """A fid in every table that knows its slot, or in the one named.

    Raises UnknownTableError, SpecError where no table knows the slot.
    """
    specs = _tables_of(shards, fid >> _SLOT_BITS, table)
    return [_inspected_row(shards, spec, fid) for spec in specs]


def inspect_slot(
    shards: Sequence[Shard], slot: int, table: str | None, rows: int
) -> list[InspectedSlot]:
    """A slot in every table that has it, or in the one named, with the latest seen of its rows.

    Reads every row of the table. Raises UnknownTableError, SpecError where no table knows the slot.
    """
    return [_inspected_slot(shards, spec, slot, rows) for spec in _tables_of(shards, slot, table)]


def slot_settings(policy: SlotPolicy) -> str:
    """Time to live, admission and learning rate in words."""
    parts = ["kept for ever" if policy.ttl_s is None else f"ttl {format_duration(policy.ttl_s)}"]
    match policy.admission:
        case AdmitAfter(occurrences=n):
            parts.append(f"admitted after {n}")
        case AdmitWithProbability(probability=p):
            parts.append(f"admitted with p = {p:g}")
        case _:
            parts.append("admitted at once")
    if policy.learning_rate is not None:
        parts.append(f"learning rate {policy.learning_rate:g}")
    return ", ".join(parts)


def _tables_of(shards: Sequence[Shard], slot: int, table: str | None) -> list[TableSpec]:
    specs = shards[0].spec.tables
    if table is not None:
        found = [spec for spec in specs if spec.name == table]
        if not found:
            raise UnknownTableError(table, sorted(spec.name for spec in specs))
        return found
    found = [spec for spec in specs if any(policy.slot == slot for policy in spec.slots)]
    if not found:
        known = sorted({policy.slot for spec in specs for policy in spec.slots})
        raise SpecError(
            f"no table has slot {slot}; there are {', '.join(map(str, known)) or 'none'}"
        )
    return found


def _table_status(spec: TableSpec, shards: Sequence[Shard]) -> TableStatus:
    stats = [shard.table(spec.name).stats() for shard in shards]
    initializer = spec.initializer
    return TableStatus(
        name=spec.name,
        width=spec.width,
        state_width=spec.state_width,
        optimizer=describe_optimizer(spec.optimizer),
        initializer=initializer.kind
        if initializer.kind == "zeros"
        else f"{initializer.kind} {initializer.scale:g}",
        row_bytes=row_layout(spec.width, spec.state_width).stride * _WORD_BYTES,
        rows=sum(one.rows for one in stats),
        rows_by_shard=[one.rows for one in stats],
        capacity_rows=None if spec.capacity_rows is None else spec.capacity_rows * len(shards),
        rows_admitted=sum(one.rows_admitted for one in stats),
        rows_expired=sum(one.rows_expired for one in stats),
        rows_evicted=sum(one.rows_evicted for one in stats),
        occurrences_refused=sum(one.occurrences_refused for one in stats),
        allocated_bytes=sum(one.allocated_bytes for one in stats),
        slots={policy.slot: slot_settings(policy) for policy in spec.slots},
    )


def _policy(spec: TableSpec, slot: int) -> SlotPolicy | None:
    return next((policy for policy in spec.slots if policy.slot == slot), None)


def _inspected_row(shards: Sequence[Shard], spec: TableSpec, fid: int) -> InspectedRow:
    fids = np.array([fid], dtype=np.uint64)
    bucket = int(bucket_of(fids)[0])
    shard = int(even_shard_map(len(shards))[bucket])
    table = shards[shard].table(spec.name)
    row, slot = table.inspect(fid), fid >> _SLOT_BITS
    policy = _policy(spec, slot)
    ttl_s = None if policy is None else policy.ttl_s
    return InspectedRow(
        table=spec.name,
        fid=fid,
        slot=slot,
        shard=shard,
        bucket=bucket,
        present=row is not None,
        last_seen_s=None if row is None else row.last_seen_s,
        expires_s=None if row is None or ttl_s is None else row.last_seen_s + ttl_s,
        weights=(table.pull(fids)[0] if row is None else row.weights).tolist(),
        state=[] if row is None else row.state.tolist(),
        occurrences=table.admission.count(fid),
    )


def _inspected_slot(
    shards: Sequence[Shard], spec: TableSpec, slot: int, rows: int
) -> InspectedSlot:
    policy = _policy(spec, slot)
    seen = [_of_slot(shard.table(spec.name).export(), slot) for shard in shards]
    fids = np.concatenate([fids for fids, _ in seen])
    last_seen_s = np.concatenate([last_seen_s for _, last_seen_s in seen])
    # By fid where they were last seen together, so that asking again gives the same.
    latest = np.lexsort((fids, -last_seen_s.astype(np.int64)))[:rows]
    return InspectedSlot(
        table=spec.name,
        slot=slot,
        settings="no settings of its own" if policy is None else slot_settings(policy),
        rows=fids.size,
        oldest_seen_s=int(last_seen_s.min()) if fids.size else None,
        newest_seen_s=int(last_seen_s.max()) if fids.size else None,
        examples=[_inspected_row(shards, spec, fid) for fid in fids[latest].tolist()],
    )


def _of_slot(rows: TableDelta, slot: int) -> tuple[U64, U32]:
    here = np.flatnonzero(rows.fids >> np.uint64(_SLOT_BITS) == slot)
    return rows.fids[here], rows.last_seen_s[here]
