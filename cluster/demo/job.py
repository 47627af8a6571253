"""The demo's job file, and the plan it comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.job import parse_job, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.plan import Plan

JOB_TEXT = """\
# A made-up click log that never stands still: users and items come and go, tastes drift. Its true
# click probability is known, so what can be learned at best is known too.
job: demo

source:
  format: synthetic
  records_per_s: 1000          # of event time; the demo reads them as fast as it can
  malformed_share: 0.00001     # a few records that cannot be read, to see them quarantined

features:
  # A row at the second sight; it goes when its id has not been seen for half an hour.
  - {name: user, kind: categorical, column: user_id, admission: {after: 2}, ttl: 30m}
  - {name: item, kind: categorical, column: item_id, ttl: 30m}
  - {name: segment, kind: categorical, column: user_segment}
  - {name: device, kind: categorical}
  - {name: category, kind: categorical, column: item_category}
  - {name: position, kind: categorical}
  - {name: tags, kind: multi_valued, column: item_tags, pooling: mean}
  - {name: interests, kind: multi_valued, column: user_interests, pooling: mean}
  - {name: hour, kind: hour_of_day}
  - {name: segment_x_category, kind: cross, of: [segment, category]}
  - {name: age, kind: numeric, column: user_age, mean: 38, scale: 12}
  - {name: price, kind: numeric, column: item_price, transform: log1p, mean: 2, scale: 0.8}

model: {kind: deepfm, dim: 8, hidden: [32, 16]}

tables:
  default:
    optimizer: {kind: adagrad, learning_rate: 0.05}
    initializer: {kind: normal, scale: 0.01}

dense:
  optimizer: {kind: adagrad, learning_rate: 0.05}

train:
  batch_size: 1024
  metrics: {window: 5m, keep_windows: 4}

serve:
  replicas: 2
  listen: 127.0.0.1:0          # any free ports
  sync_interval: 500ms
"""

# Who is asking, and what may be shown: the columns of a Predict request.
CONTEXT_COLUMNS = ("user_id", "user_segment", "device", "user_interests", "user_age")
CANDIDATE_COLUMNS = ("item_id", "item_category", "position", "item_tags", "item_price")


def demo_plan(quarantine: Path) -> Plan:
    """The plan; what cannot be read goes to the quarantine file."""
    plan = resolve(parse_job(JOB_TEXT, file="the demo's job file"))
    return replace(plan, train=replace(plan.train, quarantine=quarantine))
