"""The features of a job as the specification that training and serving share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.job.conventions import has_calendar
from cluster.job.explain import did_you_mean
from cluster.job.features import (
    BucketisedFeature,
    CategoricalFeature,
    CrossFeature,
    DayOfWeekFeature,
    HourOfDayFeature,
    MultiValuedFeature,
    NumericFeature,
)
from model.features import (
    Bucketised,
    Categorical,
    Cross,
    DayOfWeek,
    FeatureSpec,
    HourOfDay,
    MultiValued,
    Numeric,
)

if TYPE_CHECKING:
    from cluster.job.blame import Blame
    from cluster.job.features import FidFeatureSection
    from cluster.job.load import Job
    from model.features import Feature, FidFeature


def feature_spec(job: Job, blame: Blame) -> FeatureSpec:
    """The features in the order of the file. Raises JobFileError."""
    sections = job.settings.features
    names = [section.name for section in sections]
    features: list[Feature] = []
    for place, section in enumerate(sections):
        path = ("features", place)
        if section.name in names[:place]:
            blame.refuse(
                (*path, "name"), f"found {section.name} twice; give every feature a name of its own"
            )
        if isinstance(section, CrossFeature):
            for unknown in (name for name in section.of if name not in names):
                blame.refuse(
                    (*path, "of"),
                    f"found {unknown}, which is no feature{did_you_mean(unknown, names)}; allowed: "
                    f"{', '.join(name for name in names if name != section.name)}",
                )
        if isinstance(section, HourOfDayFeature | DayOfWeekFeature) and not has_calendar(job):
            blame.refuse(
                (*path, "kind"),
                f"found {section.kind}, and events have no time of day; add event_time: "
                "{column: ..., unit: s}, or leave the feature out",
            )
        with blame.on(*path):
            features.append(_feature(section, place))
    with blame.on("features"):
        return FeatureSpec(tuple(features))


def slot_of(section: FidFeatureSection, place: int) -> int:
    """The slot of the feature at a place of the list, from 0."""
    return place + 1 if section.slot is None else section.slot


def _feature(section: FidFeatureSection | NumericFeature, place: int) -> Feature:
    if isinstance(section, NumericFeature):
        return Numeric(
            name=section.name,
            column=section.column or section.name,
            transform=section.transform,
            mean=section.mean,
            scale=section.scale,
            missing=section.missing,
        )
    return _fid_feature(section, slot_of(section, place))


def _fid_feature(section: FidFeatureSection, slot: int) -> FidFeature:
    name, table = section.name, section.table
    match section:
        case CategoricalFeature():
            return Categorical(name, section.column or name, slot, table)
        case MultiValuedFeature():
            return MultiValued(
                name, section.column or name, slot, section.separator, section.pooling, table
            )
        case BucketisedFeature():
            return Bucketised(
                name, section.column or name, slot, section.boundaries, section.buckets, table
            )
        case CrossFeature():
            return Cross(name, section.of, slot, section.pooling, table)
        case HourOfDayFeature():
            return HourOfDay(name, slot, section.utc_offset_hours, table)
        case DayOfWeekFeature():
            return DayOfWeek(name, slot, section.utc_offset_hours, table)
