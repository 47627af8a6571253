"""Job files for the tests of cluster/, and the making of small ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

# JSON is YAML: what a test says as a mapping needs no printer.
_BASE: dict[str, Any] = {
    "job": "small",
    "source": {"format": "synthetic", "records": 2_000},
    "features": [
        {"name": "user", "kind": "categorical", "column": "user_id"},
        {"name": "item", "kind": "categorical", "column": "item_id"},
    ],
    "model": {"kind": "logistic"},
    "train": {"batch_size": 256},
    "serve": {"listen": "127.0.0.1:0", "sync_interval": "50ms"},
}


def job_text(**changes: Any) -> str:
    """The text of a small job whose data is made up; None leaves a key out."""
    merged = {**_BASE, **changes}
    return json.dumps({key: value for key, value in merged.items() if value is not None})


def write_job(folder: Path, **changes: Any) -> Path:
    """A file with that text."""
    file = folder / "job.yaml"
    file.write_text(job_text(**changes), encoding="utf-8")
    return file
