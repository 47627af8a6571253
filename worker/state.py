"""What a worker knows of the stream besides the parameters, as bytes, so that it can go on exactly.

A byte for the format's version, eight for the length, and a zlib stream of msgpack: plain numbers,
texts and bytes, nothing that could run. The bytes are as good as the store they come from; what is
checked here is that they cannot take more memory than they may, and are what they claim to be.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

import msgpack

from worker.errors import WorkerStateError
from worker.event_time_guard import GuardState
from worker.quarantine import QuarantineState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.stream import Positions

_VERSION = 1
_HEADER = struct.Struct("<BQ")
# A hundred columns of groups take half of it.
_MOST_BYTES = 64 << 20
# Level 6 makes it 2 to 6 % smaller in twice the time and more.
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class WorkerState:
    """As of the last batch learned. Safe to encode in another thread while learning goes on.

    positions: by partition, up to where examples have been counted. examples: learned from, repeats
    not counted. positions_skipped: those that somebody ruled out. metrics: what
    ProgressiveMetrics.to_dict gave. guard: None where there is none.
    """

    metrics: Mapping[str, Any]
    guard: GuardState | None = None
    quarantine: QuarantineState = field(default_factory=QuarantineState)
    positions: Positions = field(default_factory=dict)
    examples: int = 0
    batches_dropped: int = 0
    positions_skipped: int = 0

    def encode(self) -> bytes:
        """The bytes that decode() reads. Raises WorkerStateError where they are too many."""
        plain = msgpack.packb(
            {
                "metrics": self.metrics,
                "guard": None if self.guard is None else self.guard._asdict(),
                "quarantine": asdict(self.quarantine),
                "positions": self.positions,
                "examples": self.examples,
                "batches_dropped": self.batches_dropped,
                "positions_skipped": self.positions_skipped,
            }
        )
        if len(plain) > _MOST_BYTES:
            raise WorkerStateError(
                f"the worker's state takes {len(plain):,} bytes, {_MOST_BYTES:,} are allowed; lower "
                "group_capacity or keep_windows of train.metrics, or group by fewer columns"
            )
        return _HEADER.pack(_VERSION, len(plain)) + zlib.compress(plain, _LEVEL)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that encode() wrote. Raises WorkerStateError for anything else."""
        try:
            found = msgpack.unpackb(_inflated(data))
            return cls(
                metrics=dict(found["metrics"]),
                guard=_guard(found["guard"]),
                quarantine=_quarantine(found["quarantine"]),
                positions=_counts(found["positions"]),
                examples=int(found["examples"]),
                batches_dropped=int(found["batches_dropped"]),
                positions_skipped=int(found["positions_skipped"]),
            )
        except (ValueError, TypeError, KeyError, OverflowError, zlib.error, struct.error) as error:
            raise WorkerStateError(f"not the state of a worker: {error!r}") from error


def _inflated(data: bytes) -> bytes:
    version, length = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise WorkerStateError(
            f"the state of a worker in format {version}, this program reads {_VERSION}; run the "
            "version that wrote it"
        )
    if length > _MOST_BYTES:
        raise ValueError(f"{length} bytes are announced, {_MOST_BYTES} are allowed")
    stream = zlib.decompressobj()
    plain = stream.decompress(data[_HEADER.size :], length + 1)
    if len(plain) != length or not stream.eof or stream.unused_data:
        raise ValueError("its length is not the one announced")
    return plain


def _guard(found: Mapping[str, Any] | None) -> GuardState | None:
    if found is None:
        return None
    clock_us = found["clock_us"]
    rest = (int(found[name]) for name in GuardState._fields[1:])
    return GuardState(None if clock_us is None else int(clock_us), *rest)


def _quarantine(found: Mapping[str, Any]) -> QuarantineState:
    return QuarantineState(
        records=int(found["records"]),
        dropped_batches=int(found["dropped_batches"]),
        dropped_positions=int(found["dropped_positions"]),
        reasons=_counts(found["reasons"]),
        counted_upto=_counts(found["counted_upto"]),
        dropped_upto=_counts(found["dropped_upto"]),
    )


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(count) for name, count in dict(found).items()}
