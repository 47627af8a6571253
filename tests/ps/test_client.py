"""The routing client: N shards behind it are as one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.buckets import bucket_of, bucket_of_name, dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.errors import (
    NonFiniteGradientError,
    PositionGapError,
    ShapeError,
    SpecError,
    UnknownTableError,
)
from ps.handle import Done
from ps.messages import Pulled, Push, PushReceipt, RowGradients
from ps.stream import Positions, Span
from tests.ps.test_initializers import python_mix64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ps.arrays import F32, U16, U64
    from ps.handle import Pending

T = TypeVar("T")

WIDTHS = {"items": 3, "users": 1}
DENSE = ("bias", "mlp.0", "mlp.1", "scale")


class Later(Generic[T]):
    """A call that is carried out when it is collected, and remembers the order of things."""

    def __init__(self, log: list[str], name: str, call: Callable[[], T]) -> None:
        self._log, self._name, self._call = log, name, call
        log.append(f"begin {name}")

    def result(self) -> T:
        self._log.append(f"collect {self._name}")
        return self._call()


class DictShard:
    """A shard that adds gradients up in dictionaries, and remembers what it was sent."""

    def __init__(self, dense: Sequence[str]) -> None:
        self.rows: dict[tuple[str, int], F32] = {}
        self.counts: dict[tuple[str, int], int] = {}
        self.dense = {name: np.zeros(2, np.float32) for name in dense}
        self.reached: Positions = {}
        self.pushes: list[Push] = []
        self.fails = False
        self.refuses = False
        self.owners: dict[str, int] = {}
        self.closed = False

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        for table in fids:
            if table not in WIDTHS:
                raise UnknownTableError(table, list(WIDTHS))
        return {
            table: np.array(
                [self.rows.get((table, int(fid)), np.zeros(WIDTHS[table])) for fid in wanted],
                np.float32,
            ).reshape(len(wanted), WIDTHS[table])
            for table, wanted in fids.items()
        }

    def pull_dense(self) -> dict[str, F32]:
        return {name: value.copy() for name, value in self.dense.items()}

    def push(self, push: Push) -> PushReceipt:
        if self.fails:
            raise ConnectionError("lost")
        if self.refuses:
            raise PositionGapError("p", 5, push.span.begin, push.span.end)
        if push.span.end <= self.reached.get(push.span.partition, 0):
            return PushReceipt(applied=False)
        self.pushes.append(push)
        self.reached[push.span.partition] = push.span.end
        created = 0
        for table, part in push.rows.items():
            for fid, grad, count in zip(part.fids, part.grads, part.counts, strict=True):
                key = (table, int(fid))
                created += key not in self.rows
                self.rows[key] = self.rows.get(key, np.zeros(WIDTHS[table], np.float32)) + grad
                self.counts[key] = self.counts.get(key, 0) + int(count)
        for name, grad in push.dense.items():
            self.dense[name] += grad
        return PushReceipt(applied=True, rows_created=created, rows_refused=1)

    def positions(self) -> Positions:
        return dict(self.reached)

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pending[Pulled]:
        return Done(Pulled(self.pull(fids), self.pull_dense() if dense else {}))

    def begin_push(self, push: Push) -> Pending[PushReceipt]:
        return Done(self.push(push))

    def fence(self, owners: Mapping[str, int]) -> None:
        self.owners |= owners

    def close(self) -> None:
        self.closed = True


class LateShard(DictShard):
    """The same at the end of a slow line."""

    def __init__(self, dense: Sequence[str], log: list[str]) -> None:
        super().__init__(dense)
        self.log = log

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Later[Pulled]:
        begin = super().begin_pull
        return Later(self.log, "pull", lambda: begin(fids, dense=dense).result())

    def begin_push(self, push: Push) -> Later[PushReceipt]:
        return Later(self.log, "push", lambda: self.push(push))


def make_shards(shards: int, shard_map: U16 | None = None) -> list[DictShard]:
    owners = even_shard_map(shards) if shard_map is None else shard_map
    return [
        DictShard([name for name in DENSE if dense_owner(name, owners) == number])
        for number in range(shards)
    ]


def gradients_for(rng: np.random.Generator, table: str, fids: U64) -> RowGradients:
    fids = np.unique(fids)
    rng.shuffle(fids)
    return RowGradients(
        fids,
        rng.integers(-9, 9, (len(fids), WIDTHS[table])).astype(np.float32),
        rng.integers(1, 9, len(fids)).astype(np.uint32),
    )


@given(
    shards=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30)), min_size=1, max_size=5),
    scrambled=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_number_of_shards_is_as_one(
    shards: int, seed: int, sizes: list[tuple[int, int]], scrambled: bool
) -> None:
    rng = np.random.default_rng(seed)
    shard_map = rng.integers(0, shards, 1024).astype(np.uint16) if scrambled else None
    one = RoutingClient(make_shards(1))
    handles = make_shards(shards, shard_map)
    many = RoutingClient(handles, shard_map)
    for step, (items, users) in enumerate(sizes):
        fids = rng.integers(0, 1000, items).astype(np.uint64)
        rows = {
            "items": gradients_for(rng, "items", fids),
            "users": gradients_for(rng, "users", np.arange(users, dtype=np.uint64)),
        }
        dense = {name: rng.integers(-9, 9, 2).astype(np.float32) for name in DENSE[step % 2 :]}
        for client in (one, many):
            receipt = client.push(
                Span("p", step, step + 1), event_ts_us=step, rows=rows, dense=dense
            )
            assert receipt.applied
        wanted = {table: rng.permutation(np.arange(1200, dtype=np.uint64)) for table in WIDTHS}
        found, expected = many.pull(wanted), one.pull(wanted)
        assert list(found) == list(wanted)
        for table in WIDTHS:
            assert np.array_equal(found[table], expected[table])
        assert many.positions() == one.positions() == {"p": step + 1}
    found_dense, expected_dense = many.pull_dense(), one.pull_dense()
    assert found_dense.keys() == expected_dense.keys() == set(DENSE)
    assert all(np.array_equal(found_dense[name], expected_dense[name]) for name in DENSE)
    counted: dict[tuple[str, int], int] = {}
    for handle in handles:
        assert not counted.keys() & handle.counts.keys()
        counted |= handle.counts
    only = one.shards[0]
    assert isinstance(only, DictShard)
    assert counted == only.counts


def test_every_shard_gets_every_position_even_if_it_owns_none_of_the_batch() -> None:
    handles = make_shards(4)
    client = RoutingClient(handles)
    receipt = client.push(
        Span("p", 0, 10), event_ts_us=5, ingest_us=7, generation=3, rows={}, dense={}
    )
    assert receipt == PushReceipt(applied=True, rows_created=0, rows_refused=4)
    for handle in handles:
        assert handle.pushes == [Push(Span("p", 0, 10), 5, 7, 3)]


def test_a_push_that_broke_off_is_completed_by_its_repetition() -> None:
    rng = np.random.default_rng(1)
    handles = make_shards(3)
    client = RoutingClient(handles)
    rows = {"items": gradients_for(rng, "items", np.arange(50, dtype=np.uint64))}
    dense = {name: np.ones(2, np.float32) for name in DENSE}
    handles[1].fails = True
    with pytest.raises(ConnectionError):
        client.push(Span("p", 0, 1), event_ts_us=0, rows=rows, dense=dense)
    assert client.resume_cuts() == {"p": (0, 1)}
    handles[1].fails = False
    assert client.push(Span("p", 0, 1), event_ts_us=0, rows=rows, dense=dense).applied
    assert np.array_equal(client.pull({"items": rows["items"].fids})["items"], rows["items"].grads)
    assert all((value == 1.0).all() for value in client.pull_dense().values())
    assert not client.push(Span("p", 0, 1), event_ts_us=0, rows=rows, dense=dense).applied


def late_shards(shards: int) -> tuple[list[LateShard], list[str]]:
    log: list[str] = []
    owners = even_shard_map(shards)
    names = [[n for n in DENSE if dense_owner(n, owners) == number] for number in range(shards)]
    return [LateShard(dense, log) for dense in names], log


def test_every_shard_is_asked_before_any_is_waited_for() -> None:
    rng = np.random.default_rng(1)
    handles, log = late_shards(3)
    client = RoutingClient(handles)
    rows = {"items": gradients_for(rng, "items", np.arange(50, dtype=np.uint64))}
    dense = {name: np.ones(2, np.float32) for name in DENSE}
    assert client.push(Span("p", 0, 1), event_ts_us=0, rows=rows, dense=dense).applied
    assert log == ["begin push"] * 3 + ["collect push"] * 3
    log.clear()
    pulled = client.begin_pull({"items": rows["items"].fids}, dense=True).result()
    assert log == ["begin pull"] * 3 + ["collect pull"] * 3
    assert np.array_equal(pulled.rows["items"], rows["items"].grads)
    assert pulled.dense.keys() == set(DENSE)
    assert all((value == 1.0).all() for value in pulled.dense.values())


def test_a_pull_without_dense_variables_asks_owners_of_its_fids_alone() -> None:
    handles, log = late_shards(3)
    client = RoutingClient(handles)
    pulled = client.begin_pull({"items": np.array([5], np.uint64)}, dense=False).result()
    assert log == ["begin pull", "collect pull"]
    assert pulled.rows["items"].shape == (1, 3)
    assert pulled.dense == {}


def test_calls_under_way_are_collected_by_another_thread_in_any_order() -> None:
    rng = np.random.default_rng(1)
    handles, _ = late_shards(3)
    client = RoutingClient(handles)
    pushes = []
    for step in range(5):
        rows = {"items": gradients_for(rng, "items", np.arange(20, dtype=np.uint64))}
        pushes.append(
            client.begin_push(Span("p", step, step + 1), event_ts_us=0, rows=rows, dense={})
        )
    pull = client.begin_pull({"items": np.arange(20, dtype=np.uint64)}, dense=False)
    found: list[Pulled] = []
    receipts: list[PushReceipt] = []

    def collect() -> None:
        receipts.extend(push.result() for push in pushes)
        found.append(pull.result())

    collecting = threading.Thread(target=collect)
    collecting.start()
    collecting.join(30)
    assert all(receipt.applied for receipt in receipts)
    again = client.pull({"items": np.arange(20, dtype=np.uint64)})
    assert np.array_equal(found[0].rows["items"], again["items"])


def test_a_call_that_fails_at_one_shard_is_over_at_all_before_it_says_so() -> None:
    handles, log = late_shards(3)
    client = RoutingClient(handles)
    handles[0].reached = {"p": 0}
    handles[1].refuses = True
    with pytest.raises(PositionGapError):
        client.push(Span("p", 0, 1), event_ts_us=0, rows={}, dense={})
    assert log == ["begin push"] * 3 + ["collect push"] * 3
    assert client.resume_cuts() == {"p": (0, 1)}


def test_fences_and_the_end_reach_every_shard() -> None:
    handles = make_shards(3)
    client = RoutingClient(handles)
    client.fence({"p": 3, "q": 4})
    assert all(handle.owners == {"p": 3, "q": 4} for handle in handles)
    client.close()
    assert all(handle.closed for handle in handles)


def test_a_resuming_worker_starts_at_the_oldest_position_and_cuts_at_all() -> None:
    handles = make_shards(3)
    handles[0].reached = {"a": 30, "b": 7}
    handles[1].reached = {"a": 10, "b": 7}
    handles[2].reached = {"a": 20, "b": 7, "c": 4}
    client = RoutingClient(handles)
    assert client.resume_cuts() == {"a": (10, 20, 30), "b": (7,), "c": (0, 4)}
    assert client.positions() == {"a": 10, "b": 7, "c": 0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e16])
def test_a_batch_with_one_bad_number_reaches_no_shard(value: float) -> None:
    rng = np.random.default_rng(1)
    handles = make_shards(3)
    client = RoutingClient(handles)
    good = gradients_for(rng, "items", np.arange(50, dtype=np.uint64))
    bad = gradients_for(rng, "users", np.arange(50, dtype=np.uint64))
    bad.grads[17, 0] = value
    with pytest.raises(NonFiniteGradientError, match="users"):
        client.push(Span("p", 0, 1), event_ts_us=0, rows={"items": good, "users": bad}, dense={})
    with pytest.raises(NonFiniteGradientError, match="bias"):
        client.push(
            Span("p", 0, 1),
            event_ts_us=0,
            rows={"items": good},
            dense={"bias": np.full(2, value, np.float32)},
        )
    assert not any(handle.pushes for handle in handles)


def test_arrays_that_do_not_belong_together_reach_no_shard() -> None:
    handles = make_shards(2)
    client = RoutingClient(handles)
    fids = np.arange(3, dtype=np.uint64)
    grads, counts = np.zeros((3, 3), np.float32), np.ones(3, np.uint32)
    for rows in (
        RowGradients(fids, grads[:2], counts),
        RowGradients(fids, grads, counts[:2]),
        RowGradients(fids.astype(np.int64), grads, counts),
    ):
        with pytest.raises(ShapeError):
            client.push(Span("p", 0, 1), event_ts_us=0, rows={"items": rows}, dense={})
    assert not any(handle.pushes for handle in handles)


@pytest.mark.parametrize("shards", [1, 3])
def test_errors_of_the_shards_come_through(shards: int) -> None:
    with pytest.raises(UnknownTableError):
        RoutingClient(make_shards(shards)).pull({"nobody": np.arange(9, dtype=np.uint64)})


@pytest.mark.parametrize("shards", [1, 3])
def test_no_fids_have_no_rows_of_the_right_width(shards: int) -> None:
    client = RoutingClient(make_shards(shards))
    assert client.pull({"items": np.empty(0, np.uint64)})["items"].shape == (0, 3)
    assert client.pull({}) == {}


def test_a_bucket_is_the_top_ten_bits_of_the_mix() -> None:
    fids = np.array([0, 1, 77, 2**48 + 5, 2**64 - 1], np.uint64)
    assert bucket_of(fids).tolist() == [python_mix64(int(fid)) >> 54 for fid in fids]
    assert 0 <= bucket_of_name("bias") < 1024


def test_buckets_are_even() -> None:
    for slot in (0, 3, 65_535):
        fids = np.arange(102_400, dtype=np.uint64) | np.uint64(slot << 48)
        counts = np.bincount(bucket_of(fids), minlength=1024)
        assert counts.min() > 50
        assert counts.max() < 160


@given(shards=st.integers(1, 1024))
def test_an_even_map_gives_every_shard_its_share(shards: int) -> None:
    counts = np.bincount(even_shard_map(shards), minlength=shards)
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == 1024
    assert (np.diff(even_shard_map(shards).astype(int)) >= 0).all()


def test_impossible_maps_are_refused() -> None:
    for shards in (0, 1025):
        with pytest.raises(SpecError, match="buckets"):
            even_shard_map(shards)
    with pytest.raises(SpecError, match="handle"):
        RoutingClient(make_shards(2), even_shard_map(3))
    with pytest.raises(SpecError, match="uint16"):
        RoutingClient(make_shards(2), np.zeros(10, np.uint16))
    with pytest.raises(SpecError):
        RoutingClient([])
