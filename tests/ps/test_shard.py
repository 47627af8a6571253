"""The shard: once or not at all, whole or not at all, in order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor, DenseDelta
from ps.blocklog import BlockLog
from ps.dense import DenseSpec
from ps.errors import (
    BlockGapError,
    ForeignBlockError,
    NonFiniteGradientError,
    PositionGapError,
    PsError,
    ShapeError,
    SpecError,
    StaleGenerationError,
    TableFullError,
    UnknownTableError,
)
from ps.messages import Push, RowGradients
from ps.optimizers import Sgd
from ps.shard import Shard, ShardSpec
from ps.stream import Span
from ps.table import SlotPolicy, TableSpec
from tests.ps.fids import fids_of, gradients
from tests.ps.shards import SPEC, make, make_push

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.block import Block


def started() -> Shard:
    shard = make()
    shard.push(make_push(1, 10, 20))
    shard.push(make_push(1, 20, 30))
    return shard


def test_a_push_sent_twice_is_applied_once() -> None:
    shard = started()
    before = shard.digest()
    for begin, end in ((20, 30), (10, 20), (12, 15), (10, 30), (0, 5)):
        assert not shard.push(make_push(1, begin, end)).applied
    assert shard.digest() == before
    assert shard.positions() == {"p": 30}
    stats = shard.stats()
    assert (stats.pushes_applied, stats.pushes_repeated) == (2, 5)


@pytest.mark.parametrize(("begin", "end"), [(25, 35), (0, 31), (31, 40), (40, 40)])
def test_a_push_that_straddles_or_leaves_a_gap_is_refused(begin: int, end: int) -> None:
    shard = started()
    before = shard.digest()
    with pytest.raises(PositionGapError) as caught:
        shard.push(make_push(1, begin, end))
    assert (caught.value.expected, caught.value.begin, caught.value.end) == (30, begin, end)
    assert shard.digest() == before


def test_a_push_of_no_positions_cannot_be_applied_twice() -> None:
    shard = started()
    before = shard.digest()
    for _ in range(2):
        assert not shard.push(make_push(1, 30, 30)).applied
    assert shard.digest() == before


def test_partitions_have_positions_of_their_own() -> None:
    shard = started()
    assert shard.push(make_push(1, 500, 510, partition="q")).applied
    assert not shard.push(make_push(1, 500, 510, partition="q")).applied
    assert shard.positions() == {"p": 30, "q": 510}


def test_who_owned_a_partition_before_is_fenced_off() -> None:
    shard = started()
    assert shard.push(make_push(1, 30, 40, generation=2)).applied
    for begin, end, generation in ((40, 50, 1), (40, 50, 0), (30, 40, 1)):
        with pytest.raises(StaleGenerationError) as caught:
            shard.push(make_push(1, begin, end, generation=generation))
        assert (caught.value.current, caught.value.sent) == (2, generation)
    assert shard.push(make_push(1, 0, 5, partition="q", generation=1)).applied
    assert shard.push(make_push(1, 40, 50, generation=2)).applied


def test_a_repeat_by_the_new_owner_fences_off_the_old() -> None:
    """A worker that resumes starts with what the shard has; the old one must not get in between."""
    shard = started()
    assert not shard.push(make_push(1, 20, 30, generation=1)).applied
    with pytest.raises(StaleGenerationError):
        shard.push(make_push(1, 30, 40, generation=0))


def spoilt(what: str) -> Push:
    good = make_push(1, 30, 40)
    linear, factors = good.rows["linear"], good.rows["factors"]
    grads = factors.grads.copy()
    if what in ("nan", "inf", "-inf", "1e16"):
        grads[-1, -1] = float(what)
    many = RowGradients(
        np.arange(1_000, 1_501, dtype=np.uint64),
        np.ones((501, 6), np.float32),
        np.ones(501, np.uint32),
    )
    rows = {
        "table": {**good.rows, "nowhere": linear},
        "full": {**good.rows, "factors": many},
        "width": {**good.rows, "factors": replace(factors, grads=grads[:, :5])},
        "dtype": {**good.rows, "factors": replace(factors, grads=grads.astype(np.float64))},
        "counts": {**good.rows, "factors": replace(factors, counts=factors.counts[:-1])},
    }.get(what, {"linear": linear, "factors": replace(factors, grads=grads)})
    nan = np.full(4, np.nan, np.float32)
    dense = {
        "dense name": {**good.dense, "nobody": nan},
        "dense shape": {**good.dense, "b": np.zeros(5, np.float32)},
        "dense nan": {**good.dense, "b": nan},
    }.get(what, good.dense)
    return replace(good, rows=rows, dense=dense)


ERRORS: dict[str, type[PsError]] = {
    "table": UnknownTableError,
    "full": TableFullError,
    "width": ShapeError,
    "dtype": ShapeError,
    "counts": ShapeError,
    "nan": NonFiniteGradientError,
    "inf": NonFiniteGradientError,
    "-inf": NonFiniteGradientError,
    "1e16": NonFiniteGradientError,
    "dense name": ShapeError,
    "dense shape": ShapeError,
    "dense nan": NonFiniteGradientError,
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_push_that_raises_has_changed_nothing(what: str) -> None:
    shard, untouched = started(), started()
    with pytest.raises(ERRORS[what]):
        shard.push(spoilt(what))
    assert shard.digest() == untouched.digest()
    assert shard.positions() == {"p": 30}
    assert_same_block(shard.seal(1), untouched.seal(1))
    assert shard.push(make_push(1, 30, 40)).applied


def assert_same_block(left: Block, right: Block) -> None:
    for name in left.tables:
        for field in ("fids", "last_seen_s", "weights", "state", "removed"):
            found, expected = (getattr(b.tables[name], field) for b in (left, right))
            assert found.tobytes() == expected.tobytes()
    assert left.dense.keys() == right.dense.keys()
    assert (left.epoch, left.positions) == (right.epoch, right.positions)
    assert (left.event_ts_us, left.ingest_us) == (right.event_ts_us, right.ingest_us)


def test_an_epoch_says_what_it_holds() -> None:
    shard = started()
    first = shard.seal(sealed_us=77)
    assert (first.model, first.shard, first.epoch, first.base) == ("m", 0, 1, False)
    assert (first.sealed_us, first.ingest_us, first.event_ts_us) == (77, 15, 20_000_000)
    assert first.positions == {"p": 30}
    assert list(first.dense) == ["w", "b"]
    second = shard.seal(sealed_us=78)
    assert (second.epoch, second.ingest_us, second.dense) == (2, None, {})
    assert all(change.fids.size == 0 for change in second.tables.values())
    shard.push(make_push(1, 30, 40))
    base = shard.export(sealed_us=79)
    assert (base.epoch, base.base, base.positions) == (2, True, {"p": 40})
    third = shard.seal(sealed_us=80)
    assert (third.epoch, third.positions, third.ingest_us) == (3, {"p": 40}, 35)


def test_expiry_reaches_a_reader() -> None:
    """Monolith never tells its readers who has left."""
    shard, reader = make(), make()
    shard.push(make_push(1, 0, 1))
    reader.apply(shard.seal(0))
    before = len(reader.table("factors"))
    late = Push(Span("p", 1, 2), event_ts_us=100_000_000)
    shard.push(late)
    block = shard.seal(0)
    assert block.tables["factors"].removed.size > 0
    reader.apply(block)
    assert len(reader.table("factors")) == len(shard.table("factors")) < before
    assert reader.digest() == shard.digest()


def test_a_clock_beyond_what_a_row_can_hold_stops_there() -> None:
    shard = make()
    shard.push(make_push(1, 0, 1))
    rows = len(shard.table("factors"))
    late = replace(make_push(1, 1, 2), event_ts_us=(1 << 62))
    shard.push(late)
    seen = shard.table("factors").export().last_seen_s
    assert set(seen.tolist()) <= {0, (1 << 32) - 1}
    later = replace(make_push(1, 2, 3), event_ts_us=(1 << 62) + (1 << 61))
    shard.push(later)
    assert len(shard.table("factors")) >= rows // 4  # those just seen are not taken for old


def test_a_block_applied_twice_changes_nothing() -> None:
    shard, reader = started(), make()
    first = shard.seal(0)
    assert reader.apply(first)
    shard.push(make_push(1, 30, 40))
    assert reader.apply(shard.seal(0))
    before = reader.digest()
    assert not reader.apply(first)
    assert reader.digest() == before == shard.digest()


def test_a_gap_between_blocks_is_noticed() -> None:
    shard, reader = started(), make()
    blocks = [shard.seal(0) for _ in range(4)]
    with pytest.raises(BlockGapError):
        reader.apply(blocks[1])
    reader.apply(blocks[0])
    before = reader.digest()
    with pytest.raises(BlockGapError) as caught:
        reader.apply(blocks[2])
    assert (caught.value.expected, caught.value.found) == (2, 3)
    assert reader.digest() == before
    assert reader.apply(blocks[1])


def other_state(block: Block) -> Block:
    wrong = DenseDelta(np.zeros((3, 2), np.float32), np.zeros(1, np.float32))
    return replace(block, dense={**block.dense, "w": wrong})


def other_width(block: Block) -> Block:
    change = replace(
        block.tables["linear"], weights=np.zeros((len(block.tables["linear"].fids), 2), np.float32)
    )
    return replace(block, tables={"factors": block.tables["factors"], "linear": change})


FOREIGN: dict[str, tuple[Callable[[Block], Block], type[PsError]]] = {
    "model": (lambda block: replace(block, model="other"), ForeignBlockError),
    "shard": (lambda block: replace(block, shard=3), ForeignBlockError),
    "an older generation": (lambda block: replace(block, generation=0), ForeignBlockError),
    "a newer generation": (lambda block: replace(block, generation=2), ForeignBlockError),
    "a newer generation, rewound": (
        lambda block: replace(block, generation=2, epoch=1),
        ForeignBlockError,
    ),
    "a base over rows": (lambda block: replace(block, base=True), SpecError),
    "table": (
        lambda block: replace(block, tables={**block.tables, "x": block.tables["linear"]}),
        UnknownTableError,
    ),
    "dense": (
        lambda block: replace(block, dense={"x": DenseDelta(np.ones(1, np.float32), np.ones(0, np.float32))}),
        ShapeError,
    ),
    "dense state": (other_state, ShapeError),
    "width": (other_width, ShapeError),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_a_block_that_does_not_fit_is_refused_whole(what: str) -> None:
    spoil, error = FOREIGN[what]
    shard, reader = make(generation=1), make(generation=1)
    shard.push(make_push(1, 0, 1, generation=1))
    reader.apply(shard.seal(0))
    before = reader.digest()
    shard.push(make_push(1, 1, 2, generation=1))
    block = shard.seal(0)
    with pytest.raises(error):
        reader.apply(spoil(block))
    assert reader.digest() == before
    assert reader.apply(block)
    assert reader.digest() == shard.digest()


def test_the_digest_is_of_content_not_of_layout() -> None:
    """The same rows, made in another order, in other places, after other rows had been there."""
    spec = ShardSpec("m", (TableSpec("t", 1, Sgd(1.0), capacity_rows=4_000),))
    left, right = Shard(spec), Shard(spec)
    fids = np.arange(2_000, dtype=np.uint64)
    left.push(Push(Span("p", 0, 10), 7, rows={"t": gradients(fids)}))
    right.table("t").push(gradients(fids_of(range(5_000, 6_500))), now_s=0)
    right.table("t").remove(fids_of(range(5_000, 6_500)))
    shuffled = np.random.default_rng(1).permutation(fids)
    right.push(Push(Span("p", 0, 10), 7, rows={"t": gradients(shuffled)}))
    assert left.table("t").export().fids.tolist() != right.table("t").export().fids.tolist()
    assert left.digest() == right.digest()


CHANGES: dict[str, Callable[[Shard], object]] = {
    "a weight": lambda s: s.table("linear").push(gradients(fids_of([1]), 1e-3), now_s=0),
    "a row more": lambda s: s.table("linear").push(gradients(fids_of([4_000]), 0.0), now_s=0),
    "a row less": lambda s: s.table("linear").remove(s.table("linear").export().fids[:1].copy()),
    "a time": lambda s: s.table("factors").push(
        gradients(s.table("factors").export().fids[:1].copy(), 0.0, 6), now_s=999
    ),
    "a position": lambda s: s.push(Push(Span("p", 30, 31), event_ts_us=0)),
    "a partition": lambda s: s.push(Push(Span("q", 0, 0), event_ts_us=0)),
    "the clock": lambda s: s.push(Push(Span("p", 30, 31), event_ts_us=20_000_001)),
    "a dense variable": lambda s: s.push(
        Push(Span("p", 30, 31), event_ts_us=0, dense={"b": np.full(4, 1e-3, np.float32)})
    ),
}


def test_the_digest_changes_with_any_content() -> None:
    digests = {started().digest()}
    for change in CHANGES.values():
        shard = started()
        change(shard)
        digests.add(shard.digest())
    assert len(digests) == 1 + len(CHANGES)


def test_the_digest_sees_what_admission_has_counted() -> None:
    from ps.admission import AdmitAfter

    table = TableSpec(
        "t",
        1,
        Sgd(1.0),
        slots=(SlotPolicy(1, admission=AdmitAfter(9)),),
        capacity_rows=100,
        remembered_fids=1_000,
    )
    left, right = (Shard(ShardSpec("m", (table,))) for _ in range(2))
    for shard, fid in ((left, 1), (right, 2)):
        shard.push(Push(Span("p", 0, 1), 0, rows={"t": gradients(fids_of([fid], slot=1))}))
    assert left.digest() != right.digest()


def test_two_tables_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError):
        ShardSpec("m", (SPEC.tables[0], SPEC.tables[0]))
    with pytest.raises(SpecError):
        Shard(replace(SPEC, dense=(DenseSpec("w", (1,), Sgd(1.0)),) * 2))


@given(seed=st.integers(0, 1 << 32), jumps=st.lists(st.integers(1, 5), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_epochs_may_be_left_out_without_a_gap(seed: int, jumps: list[int]) -> None:
    """Shards seal under common numbers; one that missed some says where its block goes on."""
    jumping, plain, reader, log = make(), make(), make(), BlockLog()
    epoch = 0
    for step, jump in enumerate(jumps):
        before, epoch = jumping.cursor, epoch + jump
        for shard in (jumping, plain):
            shard.push(make_push(seed, step, step + 1))
        block, expected = jumping.seal(5, epoch), plain.seal(5)
        assert (block.cursor, block.follows) == (Cursor(epoch, 0), before)
        assert (block.after is None) == (jump == 1)
        log.append(block)
        assert_same_block(replace(block, epoch=expected.epoch), expected)
    for block in log.read(0, 0):
        assert reader.apply(block)
    assert reader.digest() == jumping.digest() == plain.digest()


def test_the_first_epoch_of_a_promoted_shard_may_jump() -> None:
    shard = started()
    at = shard.seal(0).cursor
    shard.promote(3, epoch=4)
    block = shard.seal(0, 9)
    assert (block.cursor, block.follows) == (Cursor(9, 3), at)
    assert shard.seal(0).follows == block.cursor


def test_an_epoch_is_numbered_upwards_only() -> None:
    shard = started()
    shard.seal(0, 7)
    before = shard.digest()
    for wrong in (7, 6, 0):
        with pytest.raises(SpecError, match="cannot be sealed after"):
            shard.begin_seal(0, wrong)
    assert not shard.is_sealing
    assert (shard.cursor, shard.digest()) == (Cursor(7, 0), before)


@given(
    fences=st.lists(
        st.dictionaries(st.sampled_from(["p", "q"]), st.integers(0, 5), max_size=2), max_size=6
    ),
    sent=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_a_fence_keeps_out_every_earlier_owner(fences: list[dict[str, int]], sent: int) -> None:
    """Whatever the order of the fences; and so it does at whoever takes over."""
    shard, heir = make(), make()
    for owners in fences:
        shard.fence(owners)
    heir.apply(shard.seal(0))
    for partition in ("p", "q"):
        current = max((owners.get(partition, 0) for owners in fences), default=0)
        for one in (shard, heir):
            push = make_push(1, 0, 1, partition=partition, generation=sent)
            if sent < current:
                with pytest.raises(StaleGenerationError) as caught:
                    one.push(push)
                assert (caught.value.current, caught.value.sent) == (current, sent)
            else:
                assert one.push(push).applied
    assert shard.digest() == heir.digest()


def test_a_fence_moves_no_position() -> None:
    shard = started()
    before = (shard.digest(), shard.positions())
    shard.fence({"p": 4, "q": 2})
    assert (shard.digest(), shard.positions()) == before
    with pytest.raises(StaleGenerationError):
        shard.push(make_push(1, 20, 30, generation=3))
    assert not shard.push(make_push(1, 20, 30, generation=4)).applied
