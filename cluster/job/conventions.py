"""Label and event time, as a job says, or as everybody knows of a published data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.event_time import EventTimeSpec, OffsetClock
from model.labels import LabelSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.job.blame import Blame
    from cluster.job.load import Job

# By format of the source. What is a rating worth? That only the job can say.
_LABELS: Mapping[str, str] = {
    "criteo": "label",
    "avazu": "click",
    "synthetic": "click",
    "synthetic-wide": "click",
}
_EVENT_TIMES: Mapping[str, tuple[str, str]] = {
    "movielens": ("timestamp", "s"),
    "movietweetings": ("timestamp", "s"),
    "avazu": ("event_ts_us", "us"),
    "synthetic": ("event_ts_us", "us"),
    "synthetic-wide": ("event_ts_us", "us"),
}


def label_of(job: Job, blame: Blame) -> LabelSpec:
    """The label. Raises JobFileError where nobody says which column it is."""
    section = job.settings.label
    if section is not None:
        return LabelSpec(section.column, section.positive_if)
    column = _LABELS.get(job.settings.source.format)
    if column is None:
        blame.refuse(
            ("label",),
            "is missing; say which column holds 0 and 1 (label: {column: clicked}), or a number and "
            'a rule (label: {column: rating, positive_if: ">= 4"})',
        )
    return LabelSpec(column)


def event_time_of(job: Job, blame: Blame) -> EventTimeSpec | OffsetClock:
    """The event time; without one, the order of the records. Raises JobFileError."""
    section = job.settings.event_time
    if section is None:
        known = _EVENT_TIMES.get(job.settings.source.format)
        return OffsetClock() if known is None else EventTimeSpec(*known)
    path = ("event_time",)
    if section.unit is not None and section.format is not None:
        blame.refuse((*path, "format"), "is given beside unit; a time is written one way, keep one")
    if (section.column is None) == (section.records_per_s is None):
        blame.refuse(
            path,
            "give either column, or records_per_s to let the order of the records pass for time",
        )
    if section.records_per_s is not None:
        if section.unit is not None or section.format is not None:
            blame.refuse(path, "unit and format are of a column; leave them out, or give column")
        return OffsetClock(step_us=max(1, round(1e6 / section.records_per_s)))
    with blame.on(*path):
        return EventTimeSpec(section.column or "", section.format or section.unit or "s")


def has_clock(job: Job) -> bool:
    """Whether time means anything in this job: a column, or a rate of records somebody chose."""
    return job.settings.event_time is not None or job.settings.source.format in _EVENT_TIMES


def has_calendar(job: Job) -> bool:
    """Whether events have a real time of day."""
    section = job.settings.event_time
    return has_clock(job) and (section is None or section.column is not None)
