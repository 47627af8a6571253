"""A look at the first records of a source with a job's eyes: can they be learned from?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.batching import batches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.plan import Plan

_RECORDS = 1_000


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What became of the first records of the first partition. reasons: of those that are no good."""

    partitions: int
    records: int
    usable: int
    positives: int
    reasons: Mapping[str, int] = field(default_factory=dict)


def sample(plan: Plan) -> SampleFacts:
    """Read and assemble up to a thousand records.

    Raises worker.errors.SourceError, and model.errors.FeatureError where columns do not fit.
    """
    names = plan.source.partitions()
    for chunk in batches(plan.source, names[0], 0, _RECORDS, stop=_RECORDS):
        made = plan.examples.assemble(chunk.columns, chunk.offsets, chunk.span)
        reasons = Counter(rejected.reason for rejected in chunk.rejected)
        reasons.update(bad.reason for bad in made.bad_rows)
        labels = made.batch.labels
        return SampleFacts(
            partitions=len(names),
            records=chunk.span.end - chunk.span.begin,
            usable=made.batch.size,
            positives=0 if labels is None else int(labels.sum()),
            reasons=dict(reasons.most_common()),
        )
    return SampleFacts(len(names), 0, 0, 0)
