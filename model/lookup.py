"""Which rows a batch needs: per table the unique fids, and where each occurrence finds its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model.batch import Lookup
from model.kernels.unique import unique_fids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.batch import Batch
    from ps.arrays import I32, I64, U32, U64


class LookupBuilder:
    """Builds the lookups of batches of one layout, reusing its scratch memory; one thread's own.

    tables: table -> names of the features in it (FeatureLayout.tables).
    """

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        self._tables = {table: tuple(names) for table, names in tables.items()}
        self._reserve(1)

    def build(self, batch: Batch) -> dict[str, Lookup]:
        """A Lookup for every table, in arrays of its own.

        Unique fids are numbered by first occurrence, feature by feature and example by example: the
        same batch gives the same order.
        """
        return {
            table: self._build(names, [batch.columns[name].fids for name in names])
            for table, names in self._tables.items()
        }

    def _build(self, names: tuple[str, ...], columns: list[U64]) -> Lookup:
        fids = columns[0] if len(columns) == 1 else np.concatenate(columns)
        if len(fids) > len(self._unique):
            self._reserve(len(fids))
        inverse: I64 = np.empty(len(fids), np.int64)
        hash_table = self._hash_table[: _power_of_two(2 * len(fids))]
        u = unique_fids(fids, hash_table, self._unique, self._counts, inverse)
        by_name: dict[str, I64] = {}
        begin = 0
        for name, column in zip(names, columns, strict=True):
            by_name[name] = inverse[begin : begin + len(column)]
            begin += len(column)
        return Lookup(self._unique[:u].copy(), self._counts[:u].copy(), by_name)

    def _reserve(self, occurrences: int) -> None:
        self._hash_table: I32 = np.empty(_power_of_two(2 * occurrences), np.int32)
        self._unique: U64 = np.empty(occurrences, np.uint64)
        self._counts: U32 = np.empty(occurrences, np.uint32)


def build_lookups(tables: Mapping[str, Sequence[str]], batch: Batch) -> dict[str, Lookup]:
    """The lookups of a single batch; a LookupBuilder is cheaper for many."""
    return LookupBuilder(tables).build(batch)


def _power_of_two(n: int) -> int:
    """The least power of two that is at least n, and at least 2."""
    return 1 << max(n - 1, 1).bit_length()
