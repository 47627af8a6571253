"""The shard: tables, dense variables and stream positions as one pure state machine.

It has no clock, thread, socket or file in it; the same calls leave the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from ps.block import Block, TableDelta
from ps.dense import DenseSpec, DenseStore
from ps.errors import (
    BlockGapError,
    ForeignBlockError,
    PositionGapError,
    ShapeError,
    SpecError,
    StaleGenerationError,
    UnknownTableError,
)
from ps.gradients import check_gradient
from ps.messages import PushReceipt, ShardStats
from ps.table import Table, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U64
    from ps.messages import LogisticExamples, Push
    from ps.stream import Positions, Span

_MICROSECONDS = 1_000_000
# Rows keep the second they were last seen in 32 bits; the clock stops there rather than wrap.
_LAST_SECOND = (1 << 32) - 1
# Each push pays for looking at this many rows for expiry: at least the floor, and a multiple of what
# it touched, so that the hand comes round in a fraction of the pushes that would fill the table.
_EXPIRY_FLOOR_ROWS = 1_024
_EXPIRY_ROWS_PER_FID = 2


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """What one shard of a model holds.

    model: the fingerprint of what was configured; blocks of another are refused. seed: with names
    and fids, decides every initial value.
    """

    model: str
    tables: tuple[TableSpec, ...]
    dense: tuple[DenseSpec, ...] = ()
    shard: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        names = [table.name for table in self.tables]
        if len(set(names)) != len(names):
            raise SpecError(f"two tables have one name among {names}; rename one")


@dataclass(slots=True)
class _Progress:
    """How far a shard has come: everything but its parameters."""

    generation: int
    epoch: int = 0
    event_ts_us: int = 0
    ingest_us: int | None = None
    positions: Positions = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    pushes_applied: int = 0
    pushes_repeated: int = 0


class Shard:
    """One shard. A push takes effect whole or not at all, and once."""

    def __init__(self, spec: ShardSpec, *, generation: int = 0) -> None:
        self.spec = spec
        self._tables = {table.name: Table(table, seed=spec.seed) for table in spec.tables}
        self._dense = DenseStore(spec.dense, spec.seed)
        self._progress = _Progress(generation)

    def table(self, name: str) -> Table:
        """The table of that name, for the one-process path and for inspection."""
        if name not in self._tables:
            raise UnknownTableError(name, sorted(self._tables))
        return self._tables[name]

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        """Rows by table: fids uint64[n] -> float32[n, width], owned by the caller. No side effect."""
        return {name: self.table(name).pull(wanted) for name, wanted in fids.items()}

    def pull_dense(self) -> dict[str, F32]:
        """The dense variables, copied."""
        return self._dense.values()

    def positions(self) -> Positions:
        """Per partition, the first offset not applied yet."""
        return dict(self._progress.positions)

    def push(self, push: Push) -> PushReceipt:
        """Apply one batch's gradients, unless their position was applied before.

        Raises StaleGenerationError, PositionGapError, UnknownTableError, ShapeError,
        NonFiniteGradientError, TableFullError; then nothing has changed.
        """
        if self._is_repeat(push.span, push.generation):
            return PushReceipt(applied=False)
        for name, gradients in push.rows.items():
            table = self.table(name)
            table.check(gradients)
            check_gradient(f"table {name!r}", gradients.grads)
        self._dense.check(push.dense)

        now_s = self._now_s(push.event_ts_us)
        salt = _salt(push.span)
        created = refused = 0
        for name in sorted(push.rows):
            made, turned_away = self._tables[name].push(push.rows[name], now_s=now_s, salt=salt)
            created += made
            refused += turned_away
        self._dense.apply(push.dense)
        fids = sum(gradients.fids.size for gradients in push.rows.values())
        self.advance(push.span, push.generation, push.event_ts_us, push.ingest_us, fids)
        return PushReceipt(applied=True, rows_created=created, rows_refused=refused)

    def learn_logistic(self, examples: LogisticExamples) -> F32 | None:
        """Predict and learn example by example, as one push; None where it was applied before.

        Returns float32[n], each example's probability before it was learned from. The table's rows
        have one weight, which starts at 0. Raises what push() raises.
        """
        table = self.table(examples.table)
        if table.spec.width != 1 or table.spec.initializer.kind != "zeros":
            raise SpecError(
                f"table {examples.table!r} has rows of {table.spec.width} weights that start at "
                f"{table.spec.initializer.kind}; learning by example needs one weight from zeros"
            )
        if self._is_repeat(examples.span, examples.generation):
            return None
        table.check_examples(examples)
        check_gradient("dense inputs", examples.inputs)
        check_gradient("labels", examples.labels)
        if examples.values is not None:
            check_gradient("values", examples.values)
        variable = self._dense.lend(examples.dense)
        if examples.inputs.shape != (examples.labels.size, variable[0].size - 1):
            raise ShapeError(
                f"dense inputs are {list(examples.inputs.shape)}, dense variable "
                f"{examples.dense!r} is for {examples.labels.size} x {variable[0].size - 1}"
            )
        probabilities = table.learn_logistic(
            examples, variable, now_s=self._now_s(examples.event_ts_us), salt=_salt(examples.span)
        )
        self.advance(
            examples.span,
            examples.generation,
            examples.event_ts_us,
            examples.ingest_us,
            examples.fids.size,
        )
        return probabilities

    def is_applied(self, span: Span, generation: int) -> bool:
        """Whether a span has been applied; False means it comes next.

        Raises StaleGenerationError where its sender has been replaced, PositionGapError where the
        span neither repeats what was applied nor follows it.
        """
        owner = self._progress.owners.get(span.partition, generation)
        if generation < owner:
            raise StaleGenerationError(span.partition, owner, generation)
        reached = self._progress.positions.get(span.partition)
        if reached is None or span.begin == reached < span.end:
            return False
        if span.end <= reached:
            return True
        raise PositionGapError(span.partition, reached, span.begin, span.end)

    def _is_repeat(self, span: Span, generation: int) -> bool:
        """is_applied(), with its consequences: a repeat is counted, and it shows who owns the stream."""
        if not self.is_applied(span, generation):
            return False
        self._progress.owners[span.partition] = generation
        self._progress.pushes_repeated += 1
        return True

    def _now_s(self, event_ts_us: int) -> int:
        """The event clock once event_ts_us has been seen, in seconds as a row keeps them."""
        return min(max(self._progress.event_ts_us, event_ts_us) // _MICROSECONDS, _LAST_SECOND)

    def advance(
        self, span: Span, generation: int, event_ts_us: int, ingest_us: int | None, fids: int
    ) -> None:
        """Note that a span has been applied: position, event clock, and the expiry it pays for."""
        progress = self._progress
        progress.owners[span.partition] = generation
        progress.positions[span.partition] = span.end
        progress.event_ts_us = max(progress.event_ts_us, event_ts_us)
        known = [at for at in (progress.ingest_us, ingest_us) if at is not None]
        progress.ingest_us = min(known, default=None)
        progress.pushes_applied += 1
        budget_rows = max(_EXPIRY_FLOOR_ROWS, _EXPIRY_ROWS_PER_FID * fids)
        now_s = self._now_s(event_ts_us)
        for name in sorted(self._tables):
            self._tables[name].expire(now_s=now_s, budget_rows=budget_rows)

    def expire(self, now_s: int, budget_rows: int) -> int:
        """Look at budget_rows rows of every table for expiry; how many rows went."""
        return sum(
            table.expire(now_s=now_s, budget_rows=budget_rows) for table in self._tables.values()
        )

    def seal(self, sealed_us: int) -> Block:
        """End the current epoch and return its block, which may be empty of rows."""
        progress = self._progress
        progress.epoch += 1
        ingest_us, progress.ingest_us = progress.ingest_us, None
        return Block(
            model=self.spec.model,
            shard=self.spec.shard,
            generation=progress.generation,
            epoch=progress.epoch,
            base=False,
            event_ts_us=progress.event_ts_us,
            sealed_us=sealed_us,
            ingest_us=ingest_us,
            positions=dict(progress.positions),
            tables={name: self._tables[name].seal() for name in sorted(self._tables)},
            dense=self._dense.seal(),
            filters={},
        )

    def export(self, sealed_us: int) -> Block:
        """The whole state at the last sealed epoch's number; the current epoch goes on.

        Call it right after seal(): rows touched since then are in it too, and come again in
        the next block.
        """
        progress = self._progress
        return Block(
            model=self.spec.model,
            shard=self.spec.shard,
            generation=progress.generation,
            epoch=progress.epoch,
            base=True,
            event_ts_us=progress.event_ts_us,
            sealed_us=sealed_us,
            ingest_us=progress.ingest_us,
            positions=dict(progress.positions),
            tables={name: self._tables[name].export() for name in sorted(self._tables)},
            dense=self._dense.export(),
            filters={
                name: self._tables[name].admission.state_bytes() for name in sorted(self._tables)
            },
        )

    def apply(self, block: Block) -> bool:
        """Follow another shard's blocks; False where this epoch was applied before.

        A base block replaces the state of a new shard. Raises ForeignBlockError, BlockGapError,
        SpecError, UnknownTableError, ShapeError; then nothing has changed.
        """
        progress = self._progress
        if (block.model, block.shard) != (self.spec.model, self.spec.shard):
            raise ForeignBlockError(
                f"block of model {block.model} shard {block.shard} offered to model "
                f"{self.spec.model} shard {self.spec.shard}; point the reader at its own log"
            )
        if block.generation < progress.generation:
            raise ForeignBlockError(
                f"block of generation {block.generation}, this reader follows "
                f"{progress.generation}; its sender has been replaced"
            )
        same = block.generation == progress.generation
        if block.epoch <= progress.epoch and same:
            return False
        if block.base:
            if any(len(table) for table in self._tables.values()):
                raise SpecError("a base block needs a shard without rows; make a new one")
        elif not same and progress.epoch > 0:
            # A restored shard may be younger than its reader: only a base says what it holds.
            raise ForeignBlockError(
                f"block of generation {block.generation}, this reader is at epoch "
                f"{progress.epoch} of {progress.generation}; start again from a base block"
            )
        elif block.epoch != progress.epoch + 1:
            raise BlockGapError(block.shard, progress.epoch + 1, block.epoch)
        for name, change in block.tables.items():
            self.table(name).check_change(change)
        self._dense.check_restore(block.dense)
        for name, change in block.tables.items():
            self._tables[name].apply(change)
            self._tables[name].seal()
        self._dense.restore(block.dense)
        for name, state in block.filters.items():
            self.table(name).admission.restore(state)
        progress.generation = block.generation
        progress.epoch = block.epoch
        progress.event_ts_us = block.event_ts_us
        progress.positions = dict(block.positions)
        return True

    def stats(self) -> ShardStats:
        """Counters and sizes."""
        progress = self._progress
        return ShardStats(
            epoch=progress.epoch,
            generation=progress.generation,
            event_ts_us=progress.event_ts_us,
            pushes_applied=progress.pushes_applied,
            pushes_repeated=progress.pushes_repeated,
            tables={name: table.stats() for name, table in self._tables.items()},
        )

    def digest(self) -> str:
        """A hash of parameters, filters, positions and clock, whatever their layout in memory.

        Two shards with one digest hold the same rows, bit for bit, and learn the same from the same
        pushes, but for one thing: the hand of expiry goes by memory, so that a shard rebuilt from
        blocks may part with a row that is overdue some pushes sooner or later.
        """
        digest = xxhash.xxh3_128()
        state = self.export(sealed_us=0)
        for name, rows in state.tables.items():
            _digest_rows(digest, name, rows)
            digest.update(state.filters[name])
        for name, variable in sorted(state.dense.items()):
            digest.update(name.encode())
            digest.update(variable.weights.tobytes())
            digest.update(variable.state.tobytes())
        digest.update(repr(sorted(state.positions.items())).encode())
        digest.update(repr(state.event_ts_us).encode())
        return digest.hexdigest()


def _digest_rows(digest: xxhash.xxh3_128, name: str, rows: TableDelta) -> None:
    order = np.argsort(rows.fids)
    digest.update(name.encode())
    for array in (rows.fids, rows.last_seen_s, rows.weights, rows.state):
        digest.update(array[order].tobytes())


def _salt(span: Span) -> int:
    """A number of this span's own, from its position: a replay draws the same."""
    return xxhash.xxh3_64_intdigest(f"{span.partition}\0{span.begin}".encode())
