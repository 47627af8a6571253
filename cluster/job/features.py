"""The features section of a job file: how raw columns become slots and dense inputs."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, PositiveFloat

from cluster.job.section import Duration, Name, Section

_Column = Annotated[str | None, Field(min_length=1, description="null: the feature's own name")]
_Pooling = Literal["sum", "mean"]


class Admission(Section):
    """Who gets a row: a fid seen `after` times, or at each occurrence with this probability."""

    after: Annotated[int | None, Field(ge=1, le=65_535)] = None
    probability: Annotated[float | None, Field(gt=0, le=1)] = None


class _FidFeature(Section):
    """What features with rows of their own have in common.

    slot: by default its place in the list, from 1. Features may share a slot; then they share ttl,
    admission and learning_rate as well, said in one of them.
    """

    name: Name
    slot: Annotated[int | None, Field(ge=0, le=65_535)] = None
    table: Name = "default"
    ttl: Annotated[
        Duration | None, Field(description="event time after which an unseen fid loses its row")
    ] = None
    admission: Admission | None = None
    learning_rate: Annotated[
        PositiveFloat | None, Field(description="instead of the table's (alpha of ftrl)")
    ] = None


class CategoricalFeature(_FidFeature):
    """One id an example, of an integer, a text or a boolean."""

    kind: Literal["categorical"]
    column: _Column = None


class MultiValuedFeature(_FidFeature):
    """Any number of ids an example, of a list, or of a text split at a separator."""

    kind: Literal["multi_valued"]
    column: _Column = None
    separator: Annotated[str | None, Field(min_length=1)] = None
    pooling: _Pooling = "sum"


class BucketisedFeature(_FidFeature):
    """One id an example: the bucket that a number falls into. Give boundaries or buckets."""

    kind: Literal["bucketised"]
    column: _Column = None
    boundaries: Annotated[tuple[float, ...] | None, Field(min_length=1)] = None
    buckets: Literal["log2", "criteo"] | None = None


class CrossFeature(_FidFeature):
    """One id for a combination of other features' ids."""

    kind: Literal["cross"]
    of: Annotated[tuple[Name, ...], Field(min_length=2)]
    pooling: _Pooling = "sum"


class HourOfDayFeature(_FidFeature):
    """The hour of the event time, 0 to 23."""

    kind: Literal["hour_of_day"]
    utc_offset_hours: Annotated[float, Field(gt=-24, lt=24)] = 0.0


class DayOfWeekFeature(_FidFeature):
    """The day of the event time, Monday to Sunday."""

    kind: Literal["day_of_week"]
    utc_offset_hours: Annotated[float, Field(gt=-24, lt=24)] = 0.0


class NumericFeature(Section):
    """A dense input: (transform(x) - mean) / scale. missing: stands for a missing x; null rejects."""

    name: Name
    kind: Literal["numeric"]
    column: _Column = None
    transform: Literal["none", "log1p", "signed_log1p", "sqrt"] = "none"
    mean: float = 0.0
    scale: PositiveFloat = 1.0
    missing: float | None = None


FidFeatureSection = (
    CategoricalFeature
    | MultiValuedFeature
    | BucketisedFeature
    | CrossFeature
    | HourOfDayFeature
    | DayOfWeekFeature
)
FeatureSection = Annotated[FidFeatureSection | NumericFeature, Discriminator("kind")]
