"""Restoring and resharding: what comes back is what was saved, bit for bit, and learns on the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.buckets import bucket_of, even_shard_map
from ps.dense import DenseSpec
from ps.errors import CorruptFileError, FileMissingError, SpecError, UnknownTableError
from ps.optimizers import AdaGrad
from ps.shard import Shard
from ps.store import sections
from ps.store.base_writer import write_base
from ps.store.block_file import read_block, write_block
from ps.store.commit import ShardChain
from ps.store.compactor import compact
from ps.store.names import base_name, block_name
from ps.store.ownership import bucket_ranges, by_owner
from ps.store.reshard import reshard_bases
from ps.store.restore import changed_fids, restore_shards
from ps.table import TableSpec
from tests.ps.store.folder import folder
from tests.ps.store.models import Job, dense_of, held, pulled, push, rebased, specs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.store.commit import Commit
    from ps.store.location import Location

PLENTY = 1 << 30


def compacted(location: Location, commit: Commit, memory_bytes: int = PLENTY) -> Commit:
    for chain in commit.shards:
        compact(location, chain, memory_bytes=memory_bytes)
    chains = (ShardChain(c.shard, c.cursor, (), c.positions) for c in commit.shards)
    return replace(commit, shards=tuple(chains))


def assert_same_model(left: Sequence[Shard], right: Sequence[Shard]) -> None:
    assert held(left) == held(right)
    assert dense_of(left) == dense_of(right)
    assert pulled(left) == pulled(right)


@given(
    shards=st.sampled_from([1, 2, 4]),
    epochs=st.lists(st.integers(0, 6), min_size=1, max_size=5),
    compact_after=st.sets(st.integers(0, 4)),
    section_bytes=st.sampled_from([500, 1 << 20]),
)
@settings(max_examples=25, deadline=None)
def test_a_restored_shard_is_the_shard_that_sealed(
    shards: int, epochs: list[int], compact_after: set[int], section_bytes: int
) -> None:
    _, location = folder()
    job = Job(location, shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "SECTION_BYTES", section_bytes)
        for number, steps in enumerate(epochs):
            job.learn(steps)
            job.seal()
            if number in compact_after:
                job.chains = list(compacted(location, job.commit()).shards)
    restored = restore_shards(location, job.commit(), job_specs := specs(shards))
    assert [shard.digest() for shard in restored] == [shard.digest() for shard in job.shards]
    assert [shard.cursor for shard in restored] == [shard.cursor for shard in job.shards]
    for new, old in zip(restored, job.shards, strict=True):
        assert new.table("factors").tally() == old.table("factors").tally()
        assert new.spec in job_specs
        new.promote(2)
    for step in range(job.step, job.step + 4):
        push(job.shards, step)
        push(restored, step)
    assert [shard.digest() for shard in restored] == [shard.digest() for shard in job.shards]


@given(
    steps=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    counts=st.just([3, 1, 5]) | st.lists(st.integers(1, 6), min_size=1, max_size=3),
    at_rest=st.booleans(),
    compact_at=st.integers(0, 3),
    memory_bytes=st.sampled_from([3000, PLENTY]),
    section_bytes=st.sampled_from([500, 1 << 20]),
)
@settings(max_examples=25, deadline=None)
def test_resharding_keeps_every_row_bit_for_bit(
    steps: list[int],
    counts: list[int],
    at_rest: bool,
    compact_at: int,
    memory_bytes: int,
    section_bytes: int,
) -> None:
    _, location = folder()
    job = Job(location, 4)
    for number, more in enumerate(steps):
        job.learn(more)
        job.seal()
        if number == compact_at:
            job.chains = list(compacted(location, job.commit()).shards)
    commit = job.commit()
    tally = [shard.table("factors").tally().rows_admitted for shard in job.shards]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "SECTION_BYTES", section_bytes)
        for n, count in enumerate(counts):
            at = Cursor(1000 * (n + 1), 10 + n)
            if at_rest:
                made, _ = reshard_bases(location, commit, count, at, memory_bytes=memory_bytes)
                commit = rebased(commit, made)
                shards = restore_shards(location, commit, specs(count))
            else:
                shards = restore_shards(location, commit, specs(count))
                stood = [chain.cursor for chain in commit.shards]
                if count != len(commit.shards):
                    stood = [commit.at] * count
                assert [shard.cursor for shard in shards] == stood
                for shard in shards:
                    shard.promote(at.generation, epoch=at.epoch)
                    write_base(location, shard.export(0))
                chains = (ShardChain(i, at, (), commit.positions) for i in range(count))
                commit = rebased(commit, tuple(chains))
            assert_same_model(shards, job.shards)
            assert [s.positions() for s in shards] == [job.shards[0].positions()] * count
            admitted = [shard.table("factors").tally().rows_admitted for shard in shards]
            assert sum(admitted) == sum(tally)
    for shard in shards:
        shard.promote(99)
    for step in range(job.step, job.step + 4):
        push(job.shards, step)
        push(shards, step)
    assert_same_model(shards, job.shards)


def test_some_of_the_new_shards_can_be_restored_alone() -> None:
    files, location = folder()
    job = Job(location, 4)
    job.learn(5)
    job.seal()
    job.chains = list(compacted(location, job.commit()).shards)
    whole = restore_shards(location, job.commit(), specs(8))
    files.reads.clear()
    part = restore_shards(location, job.commit(), specs(8)[2:3], shards=8)
    assert part[0].digest() == whole[2].digest()
    # Of the other shards' bases only heads and footers.
    read = [files.reads[base_name(i, job.chains[i].cursor)] for i in range(4)]
    size = [len(files.files[base_name(i, job.chains[i].cursor)]) for i in range(4)]
    assert read[1] >= size[1]
    assert (
        job.shards[2].digest()
        == restore_shards(location, job.commit(), specs(4)[2:3], shards=4)[0].digest()
    )


def test_nothing_ever_sealed_restores_to_new_shards() -> None:
    _, location = folder()
    job = Job(location, 2)
    for count in (2, 3):
        restored = restore_shards(location, job.commit(), specs(count))
        assert [shard.digest() for shard in restored] == [
            Shard(spec).digest() for spec in specs(count)
        ]
    with pytest.raises(SpecError, match="nothing"):
        reshard_bases(location, job.commit(), 3, Cursor(9, 9), memory_bytes=PLENTY)


def test_shards_at_different_positions_are_not_mixed() -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(2)
    job.seal()
    commit = replace(job.commit(), aligned=False)
    with pytest.raises(SpecError, match="aligned snapshot"):
        restore_shards(location, commit, specs(3))
    with pytest.raises(SpecError, match="aligned snapshot"):
        reshard_bases(location, commit, 3, Cursor(9, 9), memory_bytes=PLENTY)
    restored = restore_shards(location, commit, specs(2))
    assert_same_model(restored, job.shards)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("with_base", [False, True])
def test_what_is_new_or_reset_starts_afresh_and_the_rest_is_kept(
    count: int, with_base: bool
) -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(9)
    job.seal()
    commit = compacted(location, job.commit()) if with_base else job.commit()
    wanted = []
    for spec in specs(count, "another fingerprint"):
        factors, linear, _ = spec.tables
        tables = (replace(factors, width=4), linear, TableSpec("new", 3, AdaGrad()))
        dense = tuple(replace(d, shape=(7,)) if d.name == "layer.1" else d for d in spec.dense)
        wanted.append(
            replace(
                spec, tables=tables, dense=(*dense, DenseSpec(f"new.{spec.shard}", (2,), AdaGrad()))
            )
        )
    with pytest.raises(UnknownTableError):
        restore_shards(location, commit, wanted, reset={"factors", "layer.1"})
    reset = {"factors", "layer.1", "unused"}
    restored = restore_shards(location, commit, wanted, reset=reset)
    fresh = [Shard(spec) for spec in wanted]
    rows = [shard.export(0).tables for shard in restored]
    assert all(tables["factors"].fids.size == tables["new"].fids.size == 0 for tables in rows)
    kept_fids = [tables["linear"].fids for tables in rows]
    assert sorted(np.concatenate(kept_fids).tolist()) == sorted(held(job.shards)["linear"])
    kept, begun, before = dense_of(restored), dense_of(fresh), dense_of(job.shards)
    assert kept["layer.1"] == begun["layer.1"]
    assert all(kept[f"new.{i}"] == begun[f"new.{i}"] for i in range(count))
    assert all(kept[f"layer.{i}"] == before[f"layer.{i}"] for i in (0, 2, 3, 4, 5))


def test_damage_is_named_and_noted_and_not_read_again() -> None:
    files, location = folder()
    job = Job(location, 2)
    for _ in range(3):
        job.learn(2)
        job.seal()
        if not job.chains[0].base:
            job.chains = list(compacted(location, job.commit()).shards)
    commit = job.commit()
    names = [base_name(1, job.chains[1].base or Cursor(0, 0))]
    names += [block_name(0, at) for at in job.chains[0].blocks]
    for count in (2, 3):
        for name in names:
            damaged: set[str] = set()
            whole = files.files[name]
            files.files[name] = whole[:70] + bytes([whole[70] ^ 1]) + whole[71:]
            with pytest.raises(CorruptFileError, match=name):
                restore_shards(location, commit, specs(count), damaged=damaged)
            assert name in damaged
            files.files[name] = whole
            with pytest.raises(CorruptFileError, match="before"):
                restore_shards(location, commit, specs(count), damaged=set(damaged))
        restore_shards(location, commit, specs(count))
        gone = files.files.pop(names[1])
        damaged = set()
        with pytest.raises(FileMissingError):
            restore_shards(location, commit, specs(count), damaged=damaged)
        assert damaged == {names[1]}
        files.files[names[1]] = gone


def test_progress_ends_at_all_that_was_read() -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(3)
    job.seal()
    job.chains = list(compacted(location, job.commit()).shards)
    job.learn(3)
    job.seal()
    for count in (2, 3):
        seen: list[tuple[int, int]] = []

        def note(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))

        restore_shards(location, job.commit(), specs(count), on_progress=note)
        assert seen == sorted(seen)
        assert len({total for _, total in seen}) == 1
        assert seen[-1][1] * 0.5 < seen[-1][0] <= seen[-1][1]


def test_the_fids_of_blocks_are_those_they_touched_or_removed() -> None:
    _, location = folder()
    job = Job(location, 2)
    expected: dict[str, set[int]] = {}
    for _ in range(4):
        job.learn(8)
        for shard in job.shards:
            shard.expire(now_s=job.step, budget_rows=10_000)
        job.seal()
    for chain in job.chains:
        for at in chain.blocks[1:]:
            for name, rows in read_block(location, chain.shard, at).tables.items():
                expected.setdefault(name, set()).update(rows.fids.tolist(), rows.removed.tolist())
    found = changed_fids(location, ((c.shard, at) for c in job.chains for at in c.blocks[1:]))
    assert {name: fids.tolist() for name, fids in found.items()} == {
        name: sorted(fids) for name, fids in expected.items()
    }
    for count in (1, 3):
        parts = by_owner(found, count)
        for number, part in enumerate(parts):
            for name, fids in part.items():
                first, end = bucket_ranges(count)[number]
                buckets = bucket_of(fids)
                assert np.isin(fids, found[name]).all()
                assert ((buckets >= first) & (buckets < end)).all()
        assert sum(part["linear"].size for part in parts) == found["linear"].size


def test_the_ranges_of_shards_are_their_maps() -> None:
    for shards in (1, 2, 3, 5, 7, 1000, 1024):
        owners = even_shard_map(shards)
        for number, (first, end) in enumerate(bucket_ranges(shards)):
            assert (owners[first:end] == number).all()
        assert sum(end - first for first, end in bucket_ranges(shards)) == 1024


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("at_rest", [False, True])
@pytest.mark.parametrize("with_base", [False, True])
def test_a_slot_that_is_reset_loses_its_rows_and_no_other_does(
    count: int, at_rest: bool, with_base: bool
) -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(20)
    job.seal()
    if with_base:
        job.chains = list(compacted(location, job.commit()).shards)
        job.learn(4)
        job.seal()
    commit, reset = job.commit(), {"factors.1", "layer.1"}
    if at_rest:
        at = Cursor(90, 9)
        made, _ = reshard_bases(location, commit, count, at, memory_bytes=PLENTY, leave_out=reset)
        restored = restore_shards(location, rebased(commit, made), specs(count))
    else:
        restored = restore_shards(location, commit, specs(count), reset=reset)
    expected = held(job.shards)
    assert any(fid >> 48 for fid in expected["factors"])
    expected["factors"] = {f: row for f, row in expected["factors"].items() if not f >> 48}
    assert held(restored) == expected
    fresh = dense_of(Shard(spec) for spec in specs(count))
    assert dense_of(restored)["layer.1"] == fresh["layer.1"]


@pytest.mark.parametrize("count", [2, 3])
def test_a_block_of_another_model_under_the_right_name_is_found(count: int) -> None:
    _, location = folder()
    job = Job(location, 2)
    job.learn(2)
    job.seal()
    for shard, chain in enumerate(job.chains):
        write_block(location, replace(read_block(location, shard, chain.cursor), model="other"))
    # All of one kind among themselves: the commit knows better.
    with pytest.raises(CorruptFileError, match="model other"):
        restore_shards(location, job.commit(), specs(count))
    restored = restore_shards(location, replace(job.commit(), model="other"), specs(count))
    assert_same_model(restored, job.shards)
