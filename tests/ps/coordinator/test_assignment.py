"""Laws of dealing partitions out to workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ps.coordinator.assignment import assign

PARTITIONS = st.sets(st.text("abc", min_size=1, max_size=3), max_size=20)
WORKERS = st.sets(st.integers(0, 8), max_size=6)


@st.composite
def before(draw: st.DrawFn) -> dict[int, tuple[str, ...]]:
    """Anything a worker may have had, in order or not."""
    known = sorted(draw(PARTITIONS))
    owners = draw(st.lists(st.integers(0, 8), min_size=len(known), max_size=len(known)))
    found: dict[int, tuple[str, ...]] = {}
    for partition, owner in zip(known, owners, strict=True):
        found[owner] = (*found.get(owner, ()), partition)
    return found


@given(PARTITIONS, WORKERS, before())
def test_every_partition_has_one_worker(
    partitions: set[str], workers: set[int], had: dict[int, tuple[str, ...]]
) -> None:
    found = assign(partitions, workers, had)
    assert set(found) == workers
    given_out = [partition for own in found.values() for partition in own]
    assert sorted(given_out) == (sorted(partitions) if workers else [])


@given(PARTITIONS, WORKERS, before())
def test_numbers_differ_by_one_at_the_most(
    partitions: set[str], workers: set[int], had: dict[int, tuple[str, ...]]
) -> None:
    numbers = [len(own) for own in assign(partitions, workers, had).values()]
    assert not numbers or max(numbers) - min(numbers) <= 1


@given(PARTITIONS, WORKERS, before())
def test_no_more_partitions_change_hands_than_evenness_asks_for(
    partitions: set[str], workers: set[int], had: dict[int, tuple[str, ...]]
) -> None:
    found = assign(partitions, workers, had)
    if not workers:
        return
    kept = sum(len(set(own) & set(had.get(worker, ()))) for worker, own in found.items())
    least, more = divmod(len(partitions), len(workers))
    numbers = sorted((len(set(had.get(w, ())) & partitions) for w in workers), reverse=True)
    most = sum(min(n, least + (rank < more)) for rank, n in enumerate(numbers))
    assert kept == most


@given(PARTITIONS, WORKERS, before())
def test_dealing_again_changes_nothing(
    partitions: set[str], workers: set[int], had: dict[int, tuple[str, ...]]
) -> None:
    once = assign(partitions, workers, had)
    assert assign(partitions, workers, once) == once
