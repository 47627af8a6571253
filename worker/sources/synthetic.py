"""A synthetic click log whose true click probability is known, reproducible from any offset."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ps.stream import Span
from worker.arrow import arrow_array, list_array, where
from worker.errors import SourceError, SourceSpecError
from worker.events import EventChunk, Rejected
from worker.kernels.clicks import ID_STRIDE, MAX_LISTED, make_clicks, make_wide_clicks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ps.arrays import F64, Bool
    from worker.arrow import ArrowArray

# 2023-11-14T22:13:20Z: any fixed instant will do.
_START_US = 1_700_000_000_000_000
_INTEGER_COLUMNS = (
    "event_ts_us",
    "user_id",
    "item_id",
    "user_segment",
    "device",
    "item_category",
    "position",
)


@dataclass(frozen=True, slots=True)
class ClickEffects:
    """What moves the logit, as standard deviations or slopes.

    user, item: each id's own effect. drift: amplitude of the slow sine every item's effect follows,
    each at its own phase, with period drift_period_s. kind: of user segment, device and item
    category. tag: of the mean over an item's tags. position: per step up the page. hour: amplitude
    over the day. interaction: user segment x item category, and an interest met. number: of age and
    log price.
    """

    bias: float = -2.3
    user: float = 0.25
    item: float = 0.6
    drift: float = 0.15
    kind: float = 0.35
    tag: float = 0.4
    position: float = 0.25
    hour: float = 0.25
    interaction: float = 0.08
    number: float = 0.2
    drift_period_s: float = 7_200.0


@dataclass(frozen=True, slots=True)
class ClickStreamSpec:
    """A click log that never stands still.

    records: how many there are, None for an endless stream. records_per_s: of event time.
    Popularity is Zipf over slots; an id holds a slot for *_life_s, then fades out over a quarter of
    a life while its successor fades in, so ids appear and vanish all the time. growth_per_million:
    by which share of its beginning the number of slots grows over a million records.
    noise_columns: integers without meaning. malformed_share: of records that come out rejected.
    """

    records: int | None = None
    seed: int = 1
    partitions: int = 1
    start_us: int = _START_US
    records_per_s: float = 1_000.0
    users: int = 5_000
    user_exponent: float = 1.0
    user_life_s: float = 6_000.0
    items: int = 1_500
    item_exponent: float = 1.05
    item_life_s: float = 3_000.0
    growth_per_million: float = 0.02
    segments: int = 8
    devices: int = 4
    categories: int = 20
    tags: int = 100
    noise_columns: int = 0
    malformed_share: float = 0.0
    effects: ClickEffects = field(default_factory=ClickEffects)

    def __post_init__(self) -> None:
        counts = ("partitions", "users", "items", "segments", "devices", "categories", "tags")
        for name in counts:
            if not 1 <= getattr(self, name) < ID_STRIDE:
                raise SourceSpecError(f"{name} must be from 1 to {ID_STRIDE - 1}")
        for name in ("records_per_s", "user_life_s", "item_life_s"):
            if not getattr(self, name) > 0:
                raise SourceSpecError(f"{name} must be above 0")
        _check_stream(self.records, self.malformed_share)


@dataclass(frozen=True, slots=True)
class WideStreamSpec:
    """A click log of many fields, for throughput: n_categorical ids and n_numeric whole numbers.

    Columns C1.., of cardinalities growing geometrically from 10 to max_cardinality, with Zipf-like
    frequencies; I1.., long-tailed. logit_deviation: how far the truth is spread.
    """

    records: int | None = None
    seed: int = 1
    partitions: int = 1
    start_us: int = _START_US
    records_per_s: float = 1_000.0
    n_categorical: int = 26
    n_numeric: int = 13
    max_cardinality: int = 1_000_000
    exponent: float = 1.05
    bias: float = -2.3
    logit_deviation: float = 1.2
    malformed_share: float = 0.0

    def __post_init__(self) -> None:
        if self.partitions < 1 or self.n_categorical < 0 or self.n_numeric < 0:
            raise SourceSpecError("partitions must be 1 or more, field counts 0 or more")
        if self.n_categorical + self.n_numeric == 0:
            raise SourceSpecError("give at least one field: n_categorical or n_numeric")
        if self.max_cardinality < 10:
            raise SourceSpecError("max_cardinality must be 10 or more")
        _check_stream(self.records, self.malformed_share)


class SyntheticClicks:
    """A Source of clicks per ClickStreamSpec.

    Columns: event_ts_us, user_id, item_id, user_segment, device, item_category, position (int64);
    item_tags, user_interests (list of int64, one to three each); user_age, item_price (float32);
    noise_0.. (int64); click (int8); true_probability (float64), which no model may see.

    Record k of partition p is record k * partitions + p of the whole, whatever was read before: its
    draws depend on the seed and on that number alone.
    """

    def __init__(self, spec: ClickStreamSpec | None = None, *, chunk_rows: int = 8_192) -> None:
        self.spec = spec or ClickStreamSpec()
        self._chunk_rows = chunk_rows

    def partitions(self) -> Sequence[str]:
        """synthetic-0, synthetic-1, ..."""
        return _partition_names(self.spec.partitions)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks from offset begin; see worker.events.Source."""
        number = _partition_number(partition, self.spec.partitions)
        total = _share(self.spec.records, self.spec.partitions, number)
        for at, until in _cuts(partition, begin, total, self._chunk_rows):
            yield self._chunk(partition, number, at, until)

    def _chunk(self, partition: str, number: int, begin: int, end: int) -> EventChunk:
        spec = self.spec
        n = end - begin
        integers = np.empty((len(_INTEGER_COLUMNS), n), np.int64)
        reals = np.empty((2, n), np.float32)
        tags, interests = np.empty((2, MAX_LISTED * n), np.int64)
        tag_offsets, interest_offsets = np.empty((2, n + 1), np.int32)
        noise = np.empty((spec.noise_columns, n), np.int64)
        clicks = np.empty(n, np.int8)
        truth = np.empty(n, np.float64)
        malformed = np.empty(n, np.bool_)
        users = (spec.users, spec.user_exponent, spec.user_life_s)
        items = (spec.items, spec.item_exponent, spec.item_life_s)
        make_clicks(
            np.uint64(spec.seed),
            begin * spec.partitions + number,
            spec.partitions,
            spec.start_us,
            1e6 / spec.records_per_s,
            np.array([*users, *items, spec.growth_per_million * 1e-6], np.float64),
            np.array(astuple(spec.effects), np.float64),
            np.array([spec.segments, spec.devices, spec.categories, spec.tags]),
            spec.malformed_share,
            integers,
            reals,
            tags,
            tag_offsets,
            interests,
            interest_offsets,
            noise,
            clicks,
            truth,
            malformed,
        )
        columns: dict[str, ArrowArray] = {
            name: arrow_array(values)
            for name, values in zip(_INTEGER_COLUMNS, integers, strict=True)
        }
        columns["item_tags"] = list_array(tag_offsets, tags[: tag_offsets[-1]])
        columns["user_interests"] = list_array(interest_offsets, interests[: interest_offsets[-1]])
        columns["user_age"] = arrow_array(reals[0])
        columns["item_price"] = arrow_array(reals[1])
        columns |= {f"noise_{k}": arrow_array(values) for k, values in enumerate(noise)}
        return _event_chunk(partition, begin, columns, clicks, truth, malformed)


class WideSyntheticClicks:
    """A Source of clicks per WideStreamSpec.

    Columns: event_ts_us (int64), C1.. (int64), I1.. (float32), click (int8), true_probability
    (float64), which no model may see. Positions as in SyntheticClicks.
    """

    def __init__(self, spec: WideStreamSpec | None = None, *, chunk_rows: int = 8_192) -> None:
        self.spec = spec or WideStreamSpec()
        self._chunk_rows = chunk_rows

    def partitions(self) -> Sequence[str]:
        """synthetic-0, synthetic-1, ..."""
        return _partition_names(self.spec.partitions)

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        """Chunks from offset begin; see worker.events.Source."""
        number = _partition_number(partition, self.spec.partitions)
        total = _share(self.spec.records, self.spec.partitions, number)
        for at, until in _cuts(partition, begin, total, self._chunk_rows):
            yield self._chunk(partition, number, at, until)

    def _chunk(self, partition: str, number: int, begin: int, end: int) -> EventChunk:
        spec = self.spec
        n = end - begin
        indices = np.arange(begin, end) * spec.partitions + number
        categories = np.empty((spec.n_categorical, n), np.int64)
        numbers = np.empty((spec.n_numeric, n), np.float32)
        clicks = np.empty(n, np.int8)
        truth = np.empty(n, np.float64)
        malformed = np.empty(n, np.bool_)
        make_wide_clicks(
            np.uint64(spec.seed),
            begin * spec.partitions + number,
            spec.partitions,
            np.floor(np.geomspace(10, spec.max_cardinality, spec.n_categorical)),
            spec.exponent,
            spec.bias,
            spec.logit_deviation,
            spec.malformed_share,
            categories,
            numbers,
            clicks,
            truth,
            malformed,
        )
        times = spec.start_us + (indices * (1e6 / spec.records_per_s)).astype(np.int64)
        columns: dict[str, ArrowArray] = {"event_ts_us": arrow_array(times)}
        columns |= {f"C{k + 1}": arrow_array(values) for k, values in enumerate(categories)}
        columns |= {f"I{k + 1}": arrow_array(values) for k, values in enumerate(numbers)}
        return _event_chunk(partition, begin, columns, clicks, truth, malformed)


def _check_stream(records: int | None, malformed_share: float) -> None:
    if records is not None and records < 1:
        raise SourceSpecError("records must be 1 or more, or null for an endless stream")
    if not 0.0 <= malformed_share < 1.0:
        raise SourceSpecError("malformed_share must be from 0 up to, but not, 1")


def _partition_names(n: int) -> list[str]:
    return [f"synthetic-{i}" for i in range(n)]


def _partition_number(partition: str, n: int) -> int:
    names = _partition_names(n)
    if partition not in names:
        raise SourceError(
            partition, 0, f"no such partition; there are {n}, the last is {names[-1]}"
        )
    return names.index(partition)


def _share(records: int | None, partitions: int, number: int) -> int | None:
    """How many of the records, dealt out in turn, fall to partition number."""
    return None if records is None else len(range(number, records, partitions))


def _cuts(
    partition: str, begin: int, total: int | None, chunk_rows: int
) -> Iterator[tuple[int, int]]:
    if total is not None and begin > total:
        raise SourceError(partition, begin, f"the stream was configured with only {total} records")
    at = begin
    while total is None or at < total:
        until = at + chunk_rows if total is None else min(at + chunk_rows, total)
        yield at, until
        at = until


def _event_chunk(
    partition: str,
    begin: int,
    columns: dict[str, ArrowArray],
    clicks: npt.NDArray[np.int8],
    truth: F64,
    malformed: Bool,
) -> EventChunk:
    columns["click"] = arrow_array(clicks)
    columns["true_probability"] = arrow_array(truth)
    batch = pa.RecordBatch.from_pydict(columns)
    offsets = np.arange(begin, begin + len(clicks))
    rejected: list[Rejected] = []
    if malformed.any():
        rejected = [
            Rejected(partition, int(offset), "malformed on purpose", "")
            for offset in offsets[malformed]
        ]
        batch = where(batch, ~malformed)
        offsets = offsets[~malformed]
    return EventChunk(Span(partition, begin, begin + len(clicks)), offsets, batch, rejected)
