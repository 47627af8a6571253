"""The source section of a job file: where events come from, one shape for each format."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from cluster.job.section import Duration, Section

JsonType = Literal["string", "int", "number", "bool", "strings", "ints", "numbers", "bools"]

_Text = Annotated[str, Field(min_length=1)]
_Path = Annotated[
    str, Field(min_length=1, description="file, folder or glob; relative to the job file, or a URL")
]
_OrderBy = Annotated[
    str | None,
    Field(description="column to sort each partition by, held in memory; null: as it is stored"),
]


class _Files(Section):
    """What sources of files have in common. Every file is a partition of the stream."""

    path: _Path
    order_by: _OrderBy = None


class _Delimited(_Files):
    columns: Annotated[
        tuple[_Text, ...] | None, Field(min_length=1, description="names; null: from the header")
    ] = None
    header: bool = True
    quote: str | None = '"'
    newlines_in_values: bool = False
    typed_header: Annotated[bool, Field(description="cut name:type down to name")] = False
    encoding: _Text = "utf-8"
    max_record_bytes: PositiveInt = 1 << 20


class CsvSource(_Delimited):
    """Comma-separated text, or with any other delimiter; plain, gzip or zstd."""

    format: Literal["csv"]
    delimiter: _Text = ","


class TsvSource(_Delimited):
    """Tab-separated text; plain, gzip or zstd."""

    format: Literal["tsv"]
    delimiter: _Text = "\t"


class JsonlSource(_Files):
    """One JSON object a line; plain, gzip or zstd. Nested members are columns "outer.inner"."""

    format: Literal["jsonl"]
    columns: Annotated[
        dict[str, JsonType] | None, Field(description="types; null: from the first records")
    ] = None
    max_record_bytes: PositiveInt = 1 << 20


class ParquetSource(_Files):
    """Parquet files."""

    format: Literal["parquet"]
    read_with: Annotated[
        Literal["pyarrow", "ray_data"],
        Field(description="ray_data: decoded by other nodes of a cluster (trilith[data])"),
    ] = "pyarrow"


class ArrowSource(_Files):
    """Arrow IPC or Feather files."""

    format: Literal["arrow"]


class MovieLensSource(Section):
    """MovieLens as published, 1M (ratings.dat) or 100K (*.inter), with users.dat and movies.dat."""

    format: Literal["movielens"]
    path: _Path
    order_by: _OrderBy = "timestamp"


class MovieTweetingsSource(Section):
    """MovieTweetings as published: ratings.dat, with movies.dat where it lies beside."""

    format: Literal["movietweetings"]
    path: _Path
    order_by: _OrderBy = "timestamp"


class CriteoSource(_Files):
    """The Criteo display advertising logs as published: label, I1 to I13, C1 to C26."""

    format: Literal["criteo"]


class AvazuSource(_Files):
    """The Avazu click log as published, with event_ts_us made of its hour."""

    format: Literal["avazu"]


class SyntheticEffects(Section):
    """What moves the logit of a synthetic click, as standard deviations or slopes."""

    bias: float = -2.3
    user: NonNegativeFloat = 0.25
    item: NonNegativeFloat = 0.6
    drift: NonNegativeFloat = 0.15
    kind: NonNegativeFloat = 0.35
    tag: NonNegativeFloat = 0.4
    position: NonNegativeFloat = 0.25
    hour: NonNegativeFloat = 0.25
    interaction: NonNegativeFloat = 0.08
    number: NonNegativeFloat = 0.2
    drift_period: Duration = 7_200.0


class SyntheticSource(Section):
    """Made-up clicks whose true probability is known: ids come and go, tastes drift."""

    format: Literal["synthetic"]
    records: Annotated[PositiveInt | None, Field(description="null: without end")] = None
    seed: int = 1
    partitions: PositiveInt = 1
    records_per_s: Annotated[PositiveFloat, Field(description="of event time")] = 1_000.0
    users: PositiveInt = 5_000
    user_life: Duration = 6_000.0
    items: PositiveInt = 1_500
    item_life: Duration = 3_000.0
    growth_per_million: float = 0.02
    noise_columns: Annotated[int, Field(ge=0)] = 0
    malformed_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    effects: SyntheticEffects = SyntheticEffects()


class SyntheticWideSource(Section):
    """Made-up clicks of many fields, for throughput: C1.. ids and I1.. numbers."""

    format: Literal["synthetic-wide"]
    records: Annotated[PositiveInt | None, Field(description="null: without end")] = None
    seed: int = 1
    partitions: PositiveInt = 1
    records_per_s: Annotated[PositiveFloat, Field(description="of event time")] = 1_000.0
    n_categorical: Annotated[int, Field(ge=0)] = 26
    n_numeric: Annotated[int, Field(ge=0)] = 13
    max_cardinality: Annotated[int, Field(ge=10)] = 1_000_000


SourceSection = Annotated[
    CsvSource
    | TsvSource
    | JsonlSource
    | ParquetSource
    | ArrowSource
    | MovieLensSource
    | MovieTweetingsSource
    | CriteoSource
    | AvazuSource
    | SyntheticSource
    | SyntheticWideSource,
    Discriminator("format"),
]
