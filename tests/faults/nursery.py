"""Imported by the process that trainees are forked from: all they need is there when they begin."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cluster.job import load_job, resolve
from tests.faults.jobs import write_job, write_stream
from tests.faults.trainee import prepare

with tempfile.TemporaryDirectory(prefix="trilith-nursery-") as _folder:
    _stream = write_stream(Path(_folder), seed=0, records=64, partitions=1)
    for _model in ("counting", "fm"):
        _job = write_job(Path(_folder), _stream, model=_model, shards=2, store=None)
        prepare(resolve(load_job(_job)))
