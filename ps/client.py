"""The routing client: one face for N shards, wherever they live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ps.buckets import dense_owner, even_shard_map
from ps.errors import PsError, ShapeError, SpecError
from ps.gradients import check_gradient
from ps.kernels.routing import BUCKETS, group_by_shard
from ps.messages import Pulled, Push, PushReceipt, RowGradients

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.arrays import F32, I64, U16, U64
    from ps.handle import Pending, ShardHandle
    from ps.stream import Positions, Span

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Route:
    """A batch's fids by owner: shard s has fids[starts[s]:starts[s + 1]], fids == asked[order]."""

    fids: U64
    order: I64
    starts: I64

    def of(self, shard: int) -> slice:
        return slice(int(self.starts[shard]), int(self.starts[shard + 1]))

    def has(self, shard: int) -> bool:
        return bool(self.starts[shard] < self.starts[shard + 1])


@dataclass(frozen=True, slots=True)
class _PullOfAll:
    """A pull of every shard, under way: the rows of each go where they were asked for."""

    routes: Mapping[str, _Route]
    parts: Sequence[tuple[int, Pending[Pulled]]]

    def result(self) -> Pulled:
        rows: dict[str, F32] = {}
        dense: dict[str, F32] = {}
        collected = _collected([part for _, part in self.parts])
        for (number, _), pulled in zip(self.parts, collected, strict=True):
            for table, found in pulled.rows.items():
                route = self.routes[table]
                if table not in rows:
                    rows[table] = np.empty((len(route.fids), found.shape[1]), dtype=np.float32)
                rows[table][route.order[route.of(number)]] = found
            dense |= pulled.dense
        return Pulled({table: rows[table] for table in self.routes}, dense)


@dataclass(frozen=True, slots=True)
class _PushToAll:
    """A push to every shard, under way."""

    parts: Sequence[Pending[PushReceipt]]

    def result(self) -> PushReceipt:
        receipts = _collected(self.parts)
        return PushReceipt(
            applied=any(receipt.applied for receipt in receipts),
            rows_created=sum(receipt.rows_created for receipt in receipts),
            rows_refused=sum(receipt.rows_refused for receipt in receipts),
        )


class RoutingClient:
    """Pulls from and pushes to every shard as if they were one.

    All shards are asked before any is waited for. Not safe for concurrent use, but what one thread
    has begun another may collect.

    shards: handles by shard number. shard_map: uint16[1024], the owner of every bucket; None: even
    ranges. Raises SpecError where the map names a shard there is no handle for.
    """

    def __init__(self, shards: Sequence[ShardHandle], shard_map: U16 | None = None) -> None:
        self._shards = tuple(shards)
        self._dense_owners: dict[str, int] = {}
        self._map = even_shard_map(len(shards)) if shard_map is None else shard_map.copy()
        if self._map.shape != (BUCKETS,) or self._map.dtype != np.uint16:
            raise SpecError(
                f"the shard map is {self._map.dtype}{list(self._map.shape)}; make it "
                f"uint16[{BUCKETS}]"
            )
        if int(self._map.max()) >= len(self._shards):
            raise SpecError(
                f"the shard map names shard {int(self._map.max())}, there are "
                f"{len(self._shards)} handles; give one for every shard"
            )

    @property
    def shards(self) -> tuple[ShardHandle, ...]:
        """The handles, by shard number."""
        return self._shards

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        """Rows by table, in the order asked: fids uint64[n], unique -> float32[n, width].

        No side effect, so it may be repeated. The arrays belong to the caller. Raises what the
        shards raise: UnknownTableError, ShapeError, or a handle's own errors.
        """
        if len(self._shards) == 1:
            return self._shards[0].pull(fids)
        return dict(self.begin_pull(fids, dense=False).result().rows)

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pending[Pulled]:
        """pull(), and pull_dense() if asked for: one call to every shard that has any of it.

        It may or may not see what pushes leave that were begun before and not collected yet.
        """
        if len(self._shards) == 1:
            return self._shards[0].begin_pull(fids, dense=dense)
        routes = {table: self._route(wanted) for table, wanted in fids.items()}
        parts = []
        for number, shard in enumerate(self._shards):
            part = {
                table: route.fids[route.of(number)]
                for table, route in routes.items()
                # No fids at all: the first shard is asked, to learn the table's width.
                if route.has(number) or (number == 0 and len(route.fids) == 0)
            }
            if part or dense:
                parts.append((number, shard.begin_pull(part, dense=dense)))
        return _PullOfAll(routes, parts)

    def pull_dense(self) -> dict[str, F32]:
        """Every dense variable by name, owned by the caller."""
        if len(self._shards) == 1:
            return self._shards[0].pull_dense()
        return dict(self.begin_pull({}, dense=True).result().dense)

    def push(
        self,
        span: Span,
        *,
        event_ts_us: int,
        rows: Mapping[str, RowGradients],
        dense: Mapping[str, F32],
        ingest_us: int | None = None,
        generation: int = 0,
    ) -> PushReceipt:
        """Send one batch's gradients to their owners, and its position to every shard.

        The arguments are those of ps.messages.Push. Gradients are checked before anybody is sent
        any, so a batch that must be dropped is dropped whole. Where a call fails half-way, repeat
        it: shards that had applied it ignore it. applied is True where any shard applied it. Raises
        ShapeError, NonFiniteGradientError, and what the shards raise.
        """
        return self.begin_push(
            span,
            event_ts_us=event_ts_us,
            rows=rows,
            dense=dense,
            ingest_us=ingest_us,
            generation=generation,
        ).result()

    def begin_push(
        self,
        span: Span,
        *,
        event_ts_us: int,
        rows: Mapping[str, RowGradients],
        dense: Mapping[str, F32],
        ingest_us: int | None = None,
        generation: int = 0,
    ) -> Pending[PushReceipt]:
        """push(), of arrays that stay as they are until it is done.

        Each shard applies pushes in the order begun. Where one is refused, those begun after it,
        before its result was collected, may raise the same: a caller who sends on drops them all.
        """
        if len(self._shards) == 1:
            return self._shards[0].begin_push(
                Push(span, event_ts_us, ingest_us, generation, rows=rows, dense=dense)
            )
        for table, gradients in rows.items():
            _check_rows(table, gradients)
        for name, grad in dense.items():
            check_gradient(f"dense variable {name!r}", grad)
        rows_by_shard = self._split_rows(rows)
        dense_by_shard: list[dict[str, F32]] = [{} for _ in self._shards]
        for name, grad in dense.items():
            dense_by_shard[self._owner(name)][name] = grad
        return _PushToAll(
            [
                shard.begin_push(
                    Push(span, event_ts_us, ingest_us, generation, rows=own_rows, dense=own_dense)
                )
                for shard, own_rows, own_dense in zip(
                    self._shards, rows_by_shard, dense_by_shard, strict=True
                )
            ]
        )

    def fence(self, owners: Mapping[str, int]) -> None:
        """Have every shard refuse pushes of each partition by those who owned it before a generation.

        Raises what the shards raise; it may be repeated.
        """
        for shard in self._shards:
            shard.fence(owners)

    def close(self) -> None:
        """End the connections to the shards; calls under way fail."""
        for shard in self._shards:
            shard.close()

    def positions(self) -> Positions:
        """Per partition, where its worker resumes: the oldest position of any shard."""
        return {partition: cuts[0] for partition, cuts in self.resume_cuts().items()}

    def resume_cuts(self) -> dict[str, tuple[int, ...]]:
        """Per partition, the distinct positions of the shards, ascending.

        A resuming worker starts at the first and ends a batch at every one of them, so that no
        batch straddles a position that some shard has reached. A shard that knows nothing of a
        partition others know counts as 0, the beginning.
        """
        reached = [shard.positions() for shard in self._shards]
        partitions = sorted({partition for positions in reached for partition in positions})
        return {
            partition: tuple(sorted({positions.get(partition, 0) for positions in reached}))
            for partition in partitions
        }

    def _owner(self, name: str) -> int:
        if name not in self._dense_owners:
            self._dense_owners[name] = dense_owner(name, self._map)
        return self._dense_owners[name]

    def _route(self, fids: U64) -> _Route:
        if fids.dtype != np.uint64 or fids.ndim != 1:
            raise ShapeError(f"fids are {fids.dtype}{list(fids.shape)}; give uint64[n]")
        order = np.empty(len(fids), dtype=np.int64)
        grouped = np.empty(len(fids), dtype=np.uint64)
        starts = np.zeros(len(self._shards) + 2, dtype=np.int64)
        group_by_shard(np.ascontiguousarray(fids), self._map, order, grouped, starts)
        return _Route(grouped, order, starts)

    def _split_rows(self, rows: Mapping[str, RowGradients]) -> list[dict[str, RowGradients]]:
        split: list[dict[str, RowGradients]] = [{} for _ in self._shards]
        for table, gradients in rows.items():
            route = self._route(gradients.fids)
            grads = gradients.grads[route.order]
            counts = gradients.counts[route.order]
            for number, part in enumerate(split):
                if route.has(number):
                    at = route.of(number)
                    part[table] = RowGradients(route.fids[at], grads[at], counts[at])
        return split


def _collected(parts: Sequence[Pending[T]]) -> list[T]:
    """All results, in order; where any call failed, the first error, once none is under way."""
    results = []
    first: PsError | None = None
    for part in parts:
        try:
            results.append(part.result())
        except PsError as error:
            first = first or error
    if first is not None:
        raise first
    return results


def _check_rows(table: str, gradients: RowGradients) -> None:
    """What routing relies on; the shards check the rest. Raises ShapeError, NonFiniteGradientError."""
    n = gradients.fids.shape[0]
    if gradients.grads.shape[:1] != (n,) or gradients.counts.shape != (n,):
        raise ShapeError(
            f"table {table!r}: fids {list(gradients.fids.shape)}, grads "
            f"{list(gradients.grads.shape)} and counts {list(gradients.counts.shape)} do not belong "
            "together; give uint64[n], float32[n, width], uint32[n]"
        )
    check_gradient(f"table {table!r}", gradients.grads)
