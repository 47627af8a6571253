"""Which worker reads which partitions: evenly, and as few changes as that allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


def assign(
    partitions: Collection[str], workers: Collection[int], before: Mapping[int, Sequence[str]]
) -> dict[int, tuple[str, ...]]:
    """Every partition to one of the workers, ascending; numbers differ by one at the most.

    before: what each had; no more partitions change hands than evenness asks for. The same arguments
    give the same answer. Without workers nobody has anything.
    """
    if not workers:
        return {}
    known, taken = set(partitions), set[str]()
    kept: dict[int, list[str]] = {}
    for worker in sorted(workers):
        own = sorted((set(before.get(worker, ())) & known) - taken)
        taken.update(own)
        kept[worker] = own
    least, more = divmod(len(known), len(kept))
    # Those that have most keep the places beyond the least.
    ranked = sorted(kept, key=lambda worker: (-len(kept[worker]), worker))
    room = {worker: least + (rank < more) for rank, worker in enumerate(ranked)}
    for worker, own in kept.items():
        del own[room[worker] :]
    given = {partition for own in kept.values() for partition in own}
    homeless = sorted(known - given, reverse=True)
    for worker in sorted(kept):
        while len(kept[worker]) < room[worker]:
            kept[worker].append(homeless.pop())
    return {worker: tuple(sorted(own)) for worker, own in kept.items()}
