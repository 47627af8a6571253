"""The shard: tables, dense variables and stream positions as one pure state machine.

It has no clock, thread, socket or file in it; the same calls leave the same bytes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import xxhash

from ps.admission import AdmissionFilter
from ps.dense import DenseStore
from ps.digest import digest_of
from ps.errors import SealInProgressError, ShapeError, SpecError, UnknownTableError
from ps.gradients import check_gradient
from ps.handle import Done
from ps.messages import Pulled, PushReceipt, ShardStats
from ps.progress import Progress
from ps.shard_spec import ShardSpec
from ps.standing import check_kinship, filters_of, head_of, is_next, take_over
from ps.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U64
    from ps.block import Block, Cursor, TableDelta
    from ps.messages import LogisticExamples, Push
    from ps.stream import Positions, Span

__all__ = ["Shard", "ShardSpec"]

# Each push pays for looking at this many rows for expiry: at least the floor, and a multiple of what
# it touched, so that the hand comes round in a fraction of the pushes that would fill the table.
_EXPIRY_FLOOR_ROWS = 1_024
_EXPIRY_ROWS_PER_FID = 2
_WHOLE_TABLE = 1 << 62


class Shard:
    """One shard. A push takes effect whole or not at all, and once.

    It writes (push, seal) or it reads (load and adopt a base, apply blocks); promote() makes a writer
    of a reader. Its logical state is a function of the stream: neither sharding nor a restore changes
    what it learns, but for tables that evict when full, which do so by layout in memory.
    """

    def __init__(self, spec: ShardSpec, *, generation: int = 0) -> None:
        self.spec = spec
        self._tables = {table.name: Table(table, seed=spec.seed) for table in spec.tables}
        self._dense = DenseStore(spec.dense, spec.seed)
        self._progress = Progress(generation)
        self._sealing: Block | None = None

    @property
    def cursor(self) -> Cursor:
        """The last epoch sealed or applied; (0, own generation) before the first."""
        return self._progress.cursor

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
        now_s = self._progress.now_s(push.event_ts_us)
        for name, gradients in push.rows.items():
            table = self.table(name)
            table.check(gradients, now_s=now_s)
            check_gradient(f"table {name!r}", gradients.grads)
        self._dense.check(push.dense)

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

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Done[Pulled]:
        """pull(), and pull_dense() if asked for, carried out at once."""
        return Done(Pulled(self.pull(fids), self.pull_dense() if dense else {}))

    def begin_push(self, push: Push) -> Done[PushReceipt]:
        """push(), carried out at once."""
        return Done(self.push(push))

    def close(self) -> None:
        """Nothing: a shard in this process needs no connection (see ShardHandle)."""

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
        now_s = self._progress.now_s(examples.event_ts_us)
        table.check_examples(examples, now_s=now_s)
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
            examples,
            variable,
            now_s=now_s,
            salt=_salt(examples.span),
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
        return self._progress.is_applied(span, generation)

    def _is_repeat(self, span: Span, generation: int) -> bool:
        """is_applied(), with its consequences: a repeat is counted, and it shows who owns the stream."""
        if not self.is_applied(span, generation):
            return False
        self._progress.owners[span.partition] = generation
        self._progress.pushes_repeated += 1
        return True

    def advance(
        self, span: Span, generation: int, event_ts_us: int, ingest_us: int | None, fids: int
    ) -> None:
        """Note that a span has been applied: position, event clock, and the expiry it pays for."""
        self._progress.advance(span, generation, event_ts_us, ingest_us)
        budget_rows = max(_EXPIRY_FLOOR_ROWS, _EXPIRY_ROWS_PER_FID * fids)
        now_s = self._progress.now_s(event_ts_us)
        for name in sorted(self._tables):
            self._tables[name].expire(now_s=now_s, budget_rows=budget_rows)

    def expire(self, now_s: int, budget_rows: int) -> int:
        """Look at budget_rows rows of every table for expiry; how many rows went."""
        return sum(
            table.expire(now_s=now_s, budget_rows=budget_rows) for table in self._tables.values()
        )

    def fence(self, owners: Mapping[str, int]) -> None:
        """Refuse pushes of earlier generations from now on, by partition; nobody moves backwards.

        Part of the state: whoever takes over from this shard's blocks refuses them too.
        """
        self._progress.fence(owners)

    def seal(self, sealed_us: int, epoch: int | None = None) -> Block:
        """End the current epoch and return its block, which may be empty of rows.

        epoch, errors: as in begin_seal().
        """
        self.begin_seal(sealed_us, epoch)
        block = None
        while block is None:
            block = self.gather(_WHOLE_TABLE)
        return block

    def begin_seal(self, sealed_us: int, epoch: int | None = None) -> None:
        """End the current epoch; gather() makes its block, while pushes go on into the next one.

        epoch: its number, which may leave some out; None: the next. Raises SealInProgressError where
        the epoch before is still being gathered, SpecError where the number is not above its own.
        """
        if self._sealing is not None:
            raise SealInProgressError(
                f"shard {self.spec.shard}: epoch {self._sealing.epoch} is still being gathered; "
                "call gather() until it returns its block"
            )
        progress = self._progress
        after = progress.begin_epoch(epoch)
        self._sealing = replace(
            head_of(self.spec, progress, self._tables, sealed_us, base=False),
            after=after,
            dense=self._dense.seal(),
            filters=filters_of(self._tables, AdmissionFilter.delta),
        )
        for table in self._tables.values():
            table.begin_seal()
        progress.follows = progress.ingest_us = None

    def gather(self, budget_rows: int) -> Block | None:
        """Copy out up to budget_rows rows of the epoch being sealed; its block once all are out.

        Raises SealInProgressError where no epoch is being sealed.
        """
        if self._sealing is None:
            raise SealInProgressError(
                f"shard {self.spec.shard}: no epoch is being sealed; call begin_seal() first"
            )
        tables = sorted(self._tables.items())
        for _, table in tables:
            pending_rows = table.pending_rows
            if not table.gather(budget_rows):
                return None
            budget_rows -= pending_rows
        block, self._sealing = self._sealing, None
        return replace(block, tables={name: table.finish_seal() for name, table in tables})

    @property
    def is_sealing(self) -> bool:
        """Whether begin_seal() has been called and gather() has not returned the block yet."""
        return self._sealing is not None

    def export(self, sealed_us: int) -> Block:
        """The whole state at the last sealed epoch's number; the current epoch goes on.

        Call it right after seal(): rows touched since then are in it too, and come again in
        the next block. Rows that are overdue are in it as long as they have not been freed: a reader
        that is taken back to an earlier event time has them again.
        """
        return self._export(sealed_us, with_overdue=True)

    def _export(self, sealed_us: int, *, with_overdue: bool) -> Block:
        return replace(
            head_of(self.spec, self._progress, self._tables, sealed_us, base=True),
            tables={
                name: self._tables[name].export(with_overdue=with_overdue)
                for name in sorted(self._tables)
            },
            dense=self._dense.export(),
            filters=filters_of(self._tables, AdmissionFilter.export),
        )

    def standing(self) -> Block:
        """What a block of this moment would say besides what it holds: its head alone."""
        return head_of(self.spec, self._progress, self._tables, sealed_us=0, base=False)

    def reserve(self, rows: Mapping[str, int]) -> None:
        """Make room in the index for so many rows by table, before they are loaded."""
        for name, n in rows.items():
            self.table(name).reserve_rows(n)

    def commit_memory(self, rows: Mapping[str, int]) -> None:
        """Have the memory of so many rows by table ready. Another thread may be loading them: that is
        what this is for, since the system clears each page before it hands it out.
        """
        for name, n in rows.items():
            self.table(name).commit_memory(n)

    def load(self, table: str, rows: TableDelta, *, fresh: bool = False) -> None:
        """Take over rows of a base, or of a block on the way to a restore point; adopt() ends it.

        fresh: none of the fids has a row yet, and none comes twice. Raises UnknownTableError,
        ShapeError, TableFullError; then nothing of `rows` has been taken over.
        """
        self.table(table).load(rows, fresh=fresh)

    def adopt(self, head: Block) -> None:
        """Take over everything but rows from a block: this shard then stands where its writer stood.

        What the head does not name stays as it is. Raises ForeignBlockError, UnknownTableError,
        ShapeError; then nothing has changed.
        """
        check_kinship(self.spec, head)
        self._check_fits(head)
        take_over(head, self._progress, self._tables, self._dense)

    def apply(self, block: Block) -> bool:
        """Follow another shard's blocks; False where this epoch was applied before.

        A base block replaces the state of a new shard. Raises ForeignBlockError, BlockGapError,
        SpecError, UnknownTableError, ShapeError; then nothing has changed.
        """
        check_kinship(self.spec, block)
        if not is_next(block, self._progress, self._tables):
            return False
        for name, change in block.tables.items():
            self.table(name).check_change(change)
        self._check_fits(block)
        for name, change in block.tables.items():
            self._tables[name].load(change, fresh=block.base)
        take_over(block, self._progress, self._tables, self._dense)
        return True

    def _check_fits(self, block: Block) -> None:
        """Refuse what take_over() could not take over: ShapeError, UnknownTableError."""
        self._dense.check_restore(block.dense)
        for name in (*block.filters, *block.tallies):
            self.table(name)

    def promote(
        self, generation: int, *, epoch: int | None = None, follows: Cursor | None = None
    ) -> None:
        """From now on this shard writes, at a generation of its own.

        epoch: after which its numbering goes on; None: after its cursor's. follows: where readers of
        its first block must stand; None: at its cursor. Raises SpecError where the generation is not
        above the one it followed, or the epoch below its cursor's.
        """
        fault = self._progress.promote(generation, epoch, follows)
        if fault is not None:
            raise SpecError(f"shard {self.spec.shard} {fault}")

    def mark_changed(self, fids: Mapping[str, U64], *, present: Shard | None = None) -> None:
        """Count fids (uint64[n] by table) as changed in the current epoch, and all that is no row.

        The next block then takes a reader from any state that differs from this one in those fids
        alone to this one: fids without a row are removed there. present: the shard whose last block
        that reader has applied; then only those lines of filters are in the block that differ from
        its. Raises UnknownTableError.
        """
        for name in fids:
            self.table(name)
        for name, changed in sorted(fids.items()):
            self._tables[name].mark_changed(changed)
        for name, table in self._tables.items():
            if present is None:
                table.admission.mark_all()
            else:
                table.admission.mark_different(present.table(name).admission)
        self._dense.mark_all()

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
        pushes (evicting tables apart). Rows that are overdue are not there, whether freed or not.
        """
        return digest_of(self._export(sealed_us=0, with_overdue=False))


def _salt(span: Span) -> int:
    """A number of this span's own, from its position: a replay draws the same."""
    return xxhash.xxh3_64_intdigest(f"{span.partition}\0{span.begin}".encode())
