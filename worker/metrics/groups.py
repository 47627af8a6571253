"""Metrics per value of a slot or column, for the most frequent values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from worker.errors import MetricsError
from worker.metrics.sums import ScoreSums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ps.arrays import F64, I64, Bool
    from worker.arrow import ArrowArray
    from worker.metrics.summary import MetricSummary

    # One value an example: an Arrow column, or numbers or strings.
    GroupKeys = ArrowArray | npt.NDArray[Any] | Sequence[str | int]

OTHER = "(other)"
NONE = "(none)"


class GroupedSums:
    """Sums for up to capacity values of one column, the rest under OTHER; a null counts as NONE.

    Twice as many values are followed as are reported. When there is no room for the new values of a
    batch, the rarer half goes over to OTHER, and the most frequent of the new ones move in: so a
    value that becomes frequent late is found, and what it had before remains under OTHER. All sums
    together are always those of all examples.
    """

    def __init__(self, capacity: int, n_bins: int) -> None:
        self.capacity = capacity
        self._rows: dict[str, int] = {}  # row 0 is OTHER
        self._sums = ScoreSums(2 * capacity + 1, n_bins)

    def update(self, names: list[str], codes: I64, logits: F64, labels: Bool) -> None:
        """Count examples: names[codes[i]] is example i's value; codes int64[n], the rest as in add."""
        counts = np.bincount(codes, minlength=len(names))
        present = np.flatnonzero(counts)
        rows = np.zeros(len(names), np.int64)
        rows[present] = self._rows_of([names[i] for i in present], counts[present])
        self._sums.add(logits, labels, rows[codes])

    def summaries(self) -> dict[str, MetricSummary]:
        """By value, the most frequent first; OTHER last, where there is any."""
        shown = self._by_count()[: self.capacity]
        rest = np.array([self._rows[name] for name in self._by_count()[self.capacity :]], np.int64)
        other = ScoreSums(1, self._sums.n_bins)
        rest = np.append(rest, 0)
        other.add_rows(self._sums, rest, np.zeros_like(rest))
        found = {name: self._sums.summary(self._rows[name]) for name in shown}
        if other.examples[0]:
            found[OTHER] = other.summary()
        return found

    def merge(self, other: GroupedSums) -> None:
        """Add another's sums."""
        names = other._by_count()
        counts = np.array([other._sums.examples[other._rows[name]] for name in names], np.int64)
        into = self._rows_of(names, counts)
        rows = np.array([other._rows[name] for name in names], np.int64)
        self._sums.add_rows(other._sums, np.append(rows, 0), np.append(into, 0))

    def to_dict(self) -> dict[str, Any]:
        """Names and packed counts from which load restores everything."""
        # Rows are given out one after another, so that the names are in the order of their rows.
        return {"values": [*self._rows], "sums": self._sums.to_dict(len(self._rows) + 1)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what to_dict gave into this empty object. Raises MetricsError."""
        values = [str(name) for name in state["values"]]
        if len(values) > 2 * self.capacity:
            raise MetricsError("more groups than this capacity allows; use the same settings")
        self._sums.load(state["sums"])
        self._rows = {name: row for row, name in enumerate(values, start=1)}

    def _rows_of(self, names: list[str], counts: I64) -> I64:
        """The row for each value, int64[len(names)]; 0 for those there is no room for."""
        new = [i for i, name in enumerate(names) if name not in self._rows]
        if len(self._rows) + len(new) > 2 * self.capacity:
            self._retire()
            new = [i for i, name in enumerate(names) if name not in self._rows]
        new.sort(key=lambda i: (-int(counts[i]), names[i]))
        for i in new[: 2 * self.capacity - len(self._rows)]:
            self._rows[names[i]] = len(self._rows) + 1
        return np.array([self._rows.get(name, 0) for name in names], np.int64)

    def _retire(self) -> None:
        kept, gone = self._by_count()[: self.capacity], self._by_count()[self.capacity :]
        rows = np.array([self._rows[name] for name in gone], np.int64)
        self._sums.add_rows(self._sums, rows, np.zeros_like(rows))
        self._sums.move_rows(np.array([0, *(self._rows[name] for name in kept)], np.int64))
        self._rows = {name: row for row, name in enumerate(kept, start=1)}

    def _by_count(self) -> list[str]:
        return sorted(self._rows, key=lambda name: (-self._sums.examples[self._rows[name]], name))


def encode(keys: GroupKeys) -> tuple[list[str], I64]:
    """The distinct values as text, and which of them each example has: int64[n].

    Raises MetricsError for a column with several values an example.
    """
    if isinstance(keys, pa.Array):
        if pa.types.is_nested(keys.type):
            raise MetricsError(
                f"cannot group by a column of {keys.type}: one value an example only"
            )
        if isinstance(keys, pa.DictionaryArray):
            keys = keys.cast(keys.type.value_type)
        encoded: Any = keys.dictionary_encode()
        names = [str(value) for value in encoded.dictionary.to_pylist()]
        codes = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        return [*names, NONE], codes.astype(np.int64)
    values, inverse = np.unique(np.asarray(keys), return_inverse=True)
    return [str(value) for value in values], inverse.astype(np.int64)
