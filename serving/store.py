"""Where a replica keeps one table's rows: the interface it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ps.arrays import F32, U32, U64


class RowStore(Protocol):
    """Weights by fid, without optimizer state. One writer or several readers at a time.

    The replica sees to the locking and hands over rows in chunks.
    """

    @property
    def width(self) -> int:
        """Floats per row."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def upsert(self, fids: U64, weights: F32, last_seen_s: U32) -> None:
        """Set rows, made where they are new: fids uint64[n], unique; weights float32[n, width].

        last_seen_s: uint32[n], event time, from which a row's time to live counts.
        """
        ...

    def set_clock(self, now_s: int) -> None:
        """Set event time, in seconds, forward or back: rows that are overdue by it read as missing.

        They stay until removed, and are there again where time goes back.
        """
        ...

    def remove(self, fids: U64) -> None:
        """Drop rows: fids uint64[n]. One that has no row is no error."""
        ...

    def read(self, fids: U64) -> tuple[F32, int]:
        """Rows for fids uint64[n], and how many had none: (float32[n, width], count).

        A missing fid, or one whose row is overdue, reads as in training: as its initial value, a function of (seed, fid), or as
        zeros where its slot has admission on. The array belongs to the caller.
        """
        ...


class StoreFactory(Protocol):
    """Makes an empty store for a table, called whenever a shard's part starts over."""

    def __call__(self) -> RowStore:
        """A store with no rows."""
        ...
