"""Learning by example against McMahan et al. 2013, Algorithm 1, written in plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ps.admission import AdmitAfter, AdmitWithProbability
from ps.dense import DenseSpec
from ps.errors import (
    NonFiniteGradientError,
    PsError,
    ShapeError,
    SpecError,
    TableFullError,
    UnknownTableError,
)
from ps.initializers import Initializer
from ps.messages import LogisticExamples
from ps.optimizers import FtrlProximal, Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec
from tests.ps.fids import fids_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.arrays import F32

FTRL = FtrlProximal(alpha=0.3, beta=1.0, l1=0.2, l2=0.1)
INPUTS = 2


def shard_of(**changes: object) -> Shard:
    table = TableSpec("t", 1, FTRL, capacity_rows=5_000, remembered_fids=1_000)
    dense = (DenseSpec("linear", (1 + INPUTS,), FTRL),)
    return Shard(ShardSpec("m", (replace(table, **changes),), dense))  # type: ignore[arg-type]


@dataclass
class Coordinate:
    """One weight of Algorithm 1."""

    z: float = 0.0
    n: float = 0.0

    @property
    def weight(self) -> float:
        if abs(self.z) <= FTRL.l1:
            return 0.0
        curvature = (FTRL.beta + math.sqrt(self.n)) / FTRL.alpha + FTRL.l2
        return -(self.z - math.copysign(FTRL.l1, self.z)) / curvature

    def learn(self, g: float) -> None:
        sigma = (math.sqrt(self.n + g * g) - math.sqrt(self.n)) / FTRL.alpha
        self.z, self.n = self.z + g - sigma * self.weight, self.n + g * g


@dataclass
class Reference:
    """Weights by fid, made as they are met; occurrences below `admit_after` make none."""

    admit_after: int = 1
    rows: dict[int, Coordinate] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    dense: list[Coordinate] = field(default_factory=lambda: [Coordinate() for _ in range(3)])

    def learn(self, fids: list[int], values: list[float], inputs: list[float], label: int) -> float:
        inputs = [1.0, *inputs]
        logit = sum(w.weight * x for w, x in zip(self.dense, inputs, strict=True))
        for fid, value in zip(fids, values, strict=True):
            if fid in self.rows:
                logit += self.rows[fid].weight * value
        p = 1.0 / (1.0 + math.exp(-logit))
        for fid, value in zip(fids, values, strict=True):
            if fid not in self.rows:
                self.seen[fid] = self.seen.get(fid, 0) + 1
                if self.seen[fid] < self.admit_after:
                    continue
                self.rows[fid] = Coordinate()
            self.rows[fid].learn((p - label) * value)
        for coordinate, x in zip(self.dense, inputs, strict=True):
            coordinate.learn((p - label) * x)
        return p


@dataclass
class Stream:
    """Examples of 0 to `longest` fids out of `vocabulary`, repeats within an example included."""

    seed: int
    size: int = 400
    longest: int = 12
    vocabulary: int = 150
    slot: int = 1

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.lengths = rng.integers(0, self.longest + 1, self.size)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int64)
        identities = (self.vocabulary * rng.random(self.offsets[-1]) ** 2).astype(np.uint64)
        self.fids = identities | np.uint64(self.slot << 48)
        self.values: F32 = rng.choice(np.array([1.0, 0.5, 0.25, 1 / 3], np.float32), len(self.fids))
        self.inputs = rng.standard_normal((self.size, INPUTS), dtype=np.float32)
        self.labels = rng.integers(0, 2, self.size).astype(np.float32)

    def examples(
        self, begin: int, end: int, *, values: bool = True, event_ts_us: int = 0
    ) -> LogisticExamples:
        first, last = self.offsets[begin], self.offsets[end]
        return LogisticExamples(
            Span("p", begin, end),
            event_ts_us=event_ts_us,
            ingest_us=0,
            generation=0,
            table="t",
            dense="linear",
            fids=self.fids[first:last],
            offsets=self.offsets[begin : end + 1] - first,
            values=self.values[first:last] if values else None,
            inputs=self.inputs[begin:end],
            labels=self.labels[begin:end],
        )


def learn(shard: Shard, stream: Stream, batch: int, *, values: bool = True) -> F32:
    parts = []
    for begin in range(0, stream.size, batch):
        end = min(begin + batch, stream.size)
        learned = shard.learn_logistic(stream.examples(begin, end, values=values))
        assert learned is not None
        parts.append(learned)
    return np.concatenate(parts)


def check(shard: Shard, stream: Stream, reference: Reference, found: F32, *, values: bool) -> None:
    """Predictions and all weights equal the reference's."""
    for i in range(stream.size):
        own = slice(int(stream.offsets[i]), int(stream.offsets[i + 1]))
        scales = stream.values[own] if values else np.ones_like(stream.values[own])
        p = reference.learn(
            stream.fids[own].tolist(),
            scales.tolist(),
            stream.inputs[i].tolist(),
            int(stream.labels[i]),
        )
        assert found[i] == pytest.approx(p, abs=2e-5), i
    everything = shard.table("t").export()
    weights = dict(zip(everything.fids.tolist(), everything.weights[:, 0].tolist(), strict=True))
    expected = {fid: row.weight for fid, row in reference.rows.items()}
    assert weights.keys() == expected.keys()
    for fid, weight in weights.items():
        assert weight == pytest.approx(expected[fid], abs=2e-4), fid
    dense = shard.pull_dense()["linear"]
    assert dense.tolist() == pytest.approx([c.weight for c in reference.dense], abs=2e-4)


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize(
    "stream",
    [
        Stream(1),
        Stream(2, longest=1),
        Stream(3, longest=3, vocabulary=4),
        Stream(4, size=60, longest=400, vocabulary=3_000),
        Stream(5, size=25, longest=90, vocabulary=100_000),
    ],
    ids=["plain", "one each", "repeats within", "hundreds each", "all new"],
)
def test_it_is_algorithm_1(stream: Stream, values: bool) -> None:
    shard = shard_of()
    found = learn(shard, stream, 64, values=values)
    check(shard, stream, Reference(), found, values=values)


def test_with_admission_a_fid_counts_from_its_nth_occurrence() -> None:
    stream = Stream(6, size=300, longest=6, vocabulary=60)
    shard = shard_of(slots=(SlotPolicy(1, admission=AdmitAfter(3)),))
    found = learn(shard, stream, 50)
    check(shard, stream, Reference(admit_after=3), found, values=True)
    stats = shard.table("t").stats()
    assert stats.occurrences_refused > 0
    assert stats.rows_admitted == stats.rows


def test_a_row_made_by_one_example_is_seen_by_the_next() -> None:
    """Within one group of a lookup that had found nothing."""
    shard = shard_of()
    stream = Stream(7, size=5, longest=1)
    examples = replace(
        stream.examples(0, 5),
        fids=fids_of([9] * 5, slot=1),
        offsets=np.arange(6),
        values=None,
        inputs=np.zeros((5, INPUTS), np.float32),
        labels=np.ones(5, np.float32),
    )
    found = shard.learn_logistic(examples)
    assert found is not None
    assert found[0] == 0.5
    assert (np.diff(found) > 0).all()
    assert len(shard.table("t")) == 1


@pytest.mark.parametrize("admission", [None, AdmitAfter(2)])
def test_how_the_stream_is_cut_makes_no_difference(admission: AdmitAfter | None) -> None:
    slots = () if admission is None else (SlotPolicy(1, admission=admission),)
    stream = Stream(8)
    shards = [shard_of(slots=slots) for _ in range(4)]
    found = [learn(s, stream, batch) for s, batch in zip(shards, (1, 7, 128, 400), strict=True)]
    assert all(part.tobytes() == found[0].tobytes() for part in found)
    assert len({shard.digest() for shard in shards}) == 1


def test_a_batch_sent_twice_is_learned_once() -> None:
    shard, stream = shard_of(), Stream(9)
    learn(shard, stream, 100)
    before = shard.digest()
    assert shard.learn_logistic(stream.examples(100, 200)) is None
    assert shard.digest() == before


def test_poisson_admission_draws_the_same_again() -> None:
    slots = (SlotPolicy(1, admission=AdmitWithProbability(0.3)),)
    shards = [shard_of(slots=slots) for _ in range(2)]
    found = [learn(shard, Stream(10), 50) for shard in shards]
    assert found[0].tobytes() == found[1].tobytes()
    assert 0 < len(shards[0].table("t")) < 150
    assert shards[0].digest() == shards[1].digest()


def test_evicted_in_the_middle_of_an_example_is_not_written_through() -> None:
    """A new fid takes the row of another fid of the same example; that one must not learn in it.

    With SGD of rate 1 and an example that is predicted at 1/2, every fid that has learned once
    weighs 1/2, whichever of them are left.
    """
    table = TableSpec("t", 1, Sgd(1.0), capacity_rows=4, on_full="evict")
    shard = Shard(ShardSpec("m", (table,), (DenseSpec("linear", (1,), Sgd(1e-9)),)))

    def show(step: int, fids: list[int], label: float) -> None:
        shard.learn_logistic(
            LogisticExamples(
                Span("p", step, step + 1),
                step * 1_000_000,
                0,
                0,
                "t",
                "linear",
                fids_of(fids),
                np.array([0, len(fids)]),
                None,
                np.empty((1, 0), np.float32),
                np.array([label], np.float32),
            )
        )

    for step, fid in enumerate((1, 2, 3, 4)):
        show(step, [fid], 1.0)
    assert shard.table("t").pull(fids_of([1, 2, 3, 4]))[:, 0].tolist() == [0.5] * 4
    # 100 evicts 1, the longest unseen, before 1 is read: it comes back, as new, in the place of 2.
    show(4, [100, 1], 1.0)
    table_now = shard.table("t")
    assert len(table_now) == 4
    for fid in (100, 1):
        row = table_now.inspect(fid)
        assert row is not None
        assert row.weights[0] == 0.5
        assert row.last_seen_s == 4
    assert table_now.contains(fids_of([2, 3, 4])).tolist() == [False, True, True]


def test_eviction_in_mid_run_leaves_a_sound_table() -> None:
    stream = Stream(11, size=500, longest=20, vocabulary=2_000)
    shard = shard_of(capacity_rows=100, on_full="evict")
    found = learn(shard, stream, 37)
    assert np.isfinite(found).all()
    everything = shard.table("t").export()
    assert len(everything.fids) == len(set(everything.fids.tolist())) == 100
    assert shard.table("t").contains(everything.fids.copy()).all()
    stats = shard.table("t").stats()
    assert stats.rows_admitted - stats.rows_evicted == 100


def test_a_new_fid_that_comes_often_fits_a_nearly_full_table() -> None:
    shard, stream = shard_of(capacity_rows=1), Stream(12, size=50, longest=5, vocabulary=1)
    learn(shard, stream, 50)
    assert len(shard.table("t")) == 1
    with pytest.raises(TableFullError):
        shard_of(capacity_rows=1).learn_logistic(Stream(12, size=50).examples(0, 50))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slots": (SlotPolicy(1, admission=AdmitAfter(3)),)},
        {"slots": (SlotPolicy(1, admission=AdmitWithProbability(0.4)),)},
        {"slots": (SlotPolicy(1, learning_rate=0.05),)},
        {"slots": (SlotPolicy(1, ttl_s=2),)},
        {"capacity_rows": 60, "on_full": "evict"},
        {"optimizer": Sgd(0.1)},
    ],
    ids=["plain", "counted", "drawn", "own rate", "expiring", "evicting", "sgd"],
)
def test_where_fids_differ_the_faster_path_gives_the_same_bytes(changes: dict[str, object]) -> None:
    """Examples of up to forty fids, none of them twice in one."""
    stream = Stream(16, longest=40, vocabulary=700)
    for i in range(stream.size):
        own = slice(int(stream.offsets[i]), int(stream.offsets[i + 1]))
        # Further apart than the vocabulary is wide, where one comes twice.
        stream.fids[own] += np.uint64(1_000) * np.arange(own.stop - own.start, dtype=np.uint64) % 7
        _, first = np.unique(stream.fids[own], return_index=True)
        again = np.setdiff1d(np.arange(own.stop - own.start), first)
        stream.fids[own][again] = fids_of(range(10_000, 10_000 + len(again)), slot=1)
    shards = [shard_of(**changes) for _ in range(2)]
    found = []
    for shard, distinct in zip(shards, (False, True), strict=True):
        parts = []
        for begin in range(0, stream.size, 64):
            end = min(begin + 64, stream.size)
            examples = stream.examples(
                begin, end, values=False, event_ts_us=(begin // 64) * 1_000_000
            )
            learned = shard.learn_logistic(replace(examples, distinct=distinct))
            assert learned is not None
            parts.append(learned)
        found.append(np.concatenate(parts))
    assert found[0].tobytes() == found[1].tobytes()
    assert shards[0].digest() == shards[1].digest()
    assert len(shards[0].table("t")) > 0


WRONG: dict[str, tuple[Callable[[LogisticExamples], LogisticExamples], type[PsError]]] = {
    "table": (lambda e: replace(e, table="x"), UnknownTableError),
    "dense": (lambda e: replace(e, dense="x"), ShapeError),
    "fids": (lambda e: replace(e, fids=e.fids[:-1]), ShapeError),
    "fids' type": (lambda e: replace(e, fids=e.fids.astype(np.int64)), ShapeError),
    "offsets": (lambda e: replace(e, offsets=e.offsets[:-1]), ShapeError),
    "falling offsets": (
        lambda e: replace(e, offsets=np.concatenate([[0, 9, 3], e.offsets[3:]])),
        ShapeError,
    ),
    "offsets' type": (lambda e: replace(e, offsets=e.offsets.astype(np.int32)), ShapeError),
    "values": (lambda e: replace(e, values=np.ones(3, np.float32)), ShapeError),
    "labels": (lambda e: replace(e, labels=e.labels[:-1]), ShapeError),
    "labels' type": (lambda e: replace(e, labels=e.labels.astype(np.float64)), ShapeError),
    "inputs": (lambda e: replace(e, inputs=e.inputs[:, :1]), ShapeError),
    "inputs' number": (lambda e: replace(e, inputs=e.inputs[:-1]), ShapeError),
    "NaN input": (lambda e: replace(e, inputs=e.inputs * np.nan), NonFiniteGradientError),
    "large input": (lambda e: replace(e, inputs=e.inputs * 1e17), NonFiniteGradientError),
    "NaN label": (lambda e: replace(e, labels=e.labels * np.nan), NonFiniteGradientError),
    "NaN value": (
        lambda e: replace(e, values=np.full(len(e.fids), np.nan, np.float32)),
        NonFiniteGradientError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_examples_that_cannot_be_learned_from_change_nothing(what: str) -> None:
    spoil, error = WRONG[what]
    shard, stream = shard_of(), Stream(13)
    shard.learn_logistic(stream.examples(0, 100))
    before = shard.digest()
    with pytest.raises(error):
        shard.learn_logistic(spoil(stream.examples(100, 200)))
    assert shard.digest() == before
    assert shard.learn_logistic(stream.examples(100, 200)) is not None


def test_arrays_need_not_be_contiguous() -> None:
    plain, other, stream = shard_of(), shard_of(), Stream(14)
    examples = stream.examples(0, 400)
    assert examples.values is not None
    strided = replace(
        examples,
        fids=np.repeat(examples.fids, 2)[::2],
        offsets=np.repeat(examples.offsets, 2)[::2],
        values=np.repeat(examples.values, 2)[::2],
        inputs=np.asfortranarray(examples.inputs),
        labels=np.repeat(examples.labels, 2)[::2],
    )
    found, expected = other.learn_logistic(strided), plain.learn_logistic(examples)
    assert found is not None
    assert expected is not None
    assert found.tobytes() == expected.tobytes()
    assert other.digest() == plain.digest()


def test_a_prediction_that_is_not_a_number_teaches_nothing() -> None:
    """Infinite logits of both signs: reachable only with absurd rates, and still no NaN is kept."""
    sgd = Sgd(1e6)
    dense = (DenseSpec("linear", (1 + INPUTS,), sgd),)
    shard = Shard(ShardSpec("m", (TableSpec("t", 1, sgd, capacity_rows=10),), dense))
    large = np.array([[1e15, -1e15], [1e15, 1e15], [1e15, 1e15]], np.float32)

    def show(begin: int, inputs: F32, label: float) -> F32 | None:
        n = len(inputs)
        return shard.learn_logistic(
            LogisticExamples(
                Span("p", begin, begin + n), 0, 0, 0, "t", "linear",
                fids_of([1] * n), np.arange(n + 1), None, inputs, np.full(n, label, np.float32),
            )
        )  # fmt: skip

    words = shard._dense.lend("linear")[1]
    words[:] = [0, 3e38, -3e38]
    found = show(0, large[1:], 0.0)
    assert found is not None
    assert np.isnan(found).all()
    assert np.isfinite(shard.pull_dense()["linear"]).all()
    assert not shard.table("t").pull(fids_of([1])).any()
    assert shard.positions() == {"p": 2}
    reader = Shard(shard.spec)
    reader.apply(shard.seal(0))
    assert reader.digest() == shard.digest()


def test_only_rows_of_one_weight_from_zero_will_do() -> None:
    for changes in ({"width": 2}, {"initializer": Initializer("normal", 0.1)}):
        with pytest.raises(SpecError):
            shard_of(**changes).learn_logistic(Stream(1).examples(0, 10))


def test_no_examples_are_a_batch_too() -> None:
    shard = shard_of()
    stream = Stream(15)
    nothing = replace(stream.examples(0, 0), span=Span("p", 0, 10))
    found = shard.learn_logistic(nothing)
    assert found is not None
    assert found.size == 0
    assert shard.positions() == {"p": 10}
