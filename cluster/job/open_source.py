"""The source section of a job as an open source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from cluster.fleet.ray_data import RayDataParquetSource
from cluster.job.places import place
from cluster.job.sources import (
    ArrowSource,
    AvazuSource,
    CriteoSource,
    CsvSource,
    JsonlSource,
    MovieLensSource,
    MovieTweetingsSource,
    ParquetSource,
    SyntheticSource,
    SyntheticWideSource,
    TsvSource,
)
from worker.sources import avazu, columnar
from worker.sources.criteo import open_criteo
from worker.sources.delimited import DelimitedSource
from worker.sources.delimited_format import DelimitedFormat
from worker.sources.jsonl import JsonLinesSource
from worker.sources.movielens import open_movielens, open_movietweetings
from worker.sources.ordered import OrderedSource
from worker.sources.synthetic import (
    ClickEffects,
    ClickStreamSpec,
    SyntheticClicks,
    WideStreamSpec,
    WideSyntheticClicks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cluster.job.blame import Blame
    from cluster.job.load import Job
    from cluster.job.sources import JsonType
    from worker.events import Source

_ARROW_TYPES: Mapping[JsonType, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "number": pa.float64(),
    "bool": pa.bool_(),
    "strings": pa.list_(pa.string()),
    "ints": pa.list_(pa.int64()),
    "numbers": pa.list_(pa.float64()),
    "bools": pa.list_(pa.bool_()),
}


def open_source(job: Job, columns: Sequence[str], blame: Blame) -> Source:
    """The source a job names. columns: what its features, label and event time read.

    Raises JobFileError, and worker.errors.SourceError where there is nothing to read.
    """
    section = job.settings.source
    order_by = getattr(section, "order_by", None)
    wanted = [*columns, *job.settings.train.metrics.group_by, *filter(None, [order_by])]
    with blame.on("source"):
        source = _opened(job, list(dict.fromkeys(wanted)))
        published = isinstance(section, MovieLensSource | MovieTweetingsSource)
        if order_by is not None and not published:  # these order themselves, before they join
            source = OrderedSource(source, order_by)
        return source


def source_path(job: Job) -> str | None:
    """Where the source's files are: what the job says, relative to the job file; None if made up."""
    path: str | None = getattr(job.settings.source, "path", None)
    return None if path is None else place(job.document.folder, path)


def _opened(job: Job, columns: list[str]) -> Source:
    section = job.settings.source
    path = source_path(job) or ""
    match section:
        case CsvSource() | TsvSource():
            return DelimitedSource(path, _delimited_format(section), select=columns)
        case JsonlSource():
            types = None
            if section.columns is not None:
                types = {name: _ARROW_TYPES[kind] for name, kind in section.columns.items()}
            return JsonLinesSource(path, columns=types, max_record_bytes=section.max_record_bytes)
        case ParquetSource(read_with="ray_data"):
            return RayDataParquetSource(path, select=columns)
        case ParquetSource():
            return columnar.ParquetSource(path, select=columns)
        case ArrowSource():
            return columnar.ArrowSource(path, select=columns)
        case MovieLensSource():
            return open_movielens(path, order_by=section.order_by)
        case MovieTweetingsSource():
            return open_movietweetings(path, order_by=section.order_by)
        case CriteoSource():
            return open_criteo(path)
        case AvazuSource():
            return avazu.AvazuSource(path)
        case SyntheticSource():
            return SyntheticClicks(_click_stream(section))
        case SyntheticWideSource():
            return WideSyntheticClicks(
                WideStreamSpec(
                    records=section.records,
                    seed=section.seed,
                    partitions=section.partitions,
                    records_per_s=section.records_per_s,
                    n_categorical=section.n_categorical,
                    n_numeric=section.n_numeric,
                    max_cardinality=section.max_cardinality,
                )
            )


def _delimited_format(section: CsvSource | TsvSource) -> DelimitedFormat:
    # A delimiter of several characters cannot be combined with quotes, so they are off by default.
    quote = section.quote
    if len(section.delimiter) > 1 and "quote" not in section.model_fields_set:
        quote = None
    return DelimitedFormat(
        delimiter=section.delimiter,
        columns=section.columns,
        header=section.header,
        quote=quote,
        newlines_in_values=section.newlines_in_values,
        typed_header=section.typed_header,
        encoding=section.encoding,
        max_record_bytes=section.max_record_bytes,
    )


def _click_stream(section: SyntheticSource) -> ClickStreamSpec:
    effects = section.effects
    return ClickStreamSpec(
        records=section.records,
        seed=section.seed,
        partitions=section.partitions,
        records_per_s=section.records_per_s,
        users=section.users,
        user_life_s=section.user_life,
        items=section.items,
        item_life_s=section.item_life,
        growth_per_million=section.growth_per_million,
        noise_columns=section.noise_columns,
        malformed_share=section.malformed_share,
        effects=ClickEffects(
            bias=effects.bias,
            user=effects.user,
            item=effects.item,
            drift=effects.drift,
            kind=effects.kind,
            tag=effects.tag,
            position=effects.position,
            hour=effects.hour,
            interaction=effects.interaction,
            number=effects.number,
            drift_period_s=effects.drift_period,
        ),
    )
