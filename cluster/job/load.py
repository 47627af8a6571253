"""Reading a job file: YAML, environment variables, ranges, then every key by itself."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cluster.errors import JobFileError
from cluster.job.document import parse_document, read_document
from cluster.job.explain import explain
from cluster.job.ranges import expand_ranges
from cluster.job.settings import JobSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.job.document import Document


@dataclass(frozen=True, slots=True)
class Job:
    """A job file whose keys are all known and of the right type, and the file itself."""

    settings: JobSettings
    document: Document

    @property
    def name(self) -> str:
        """The job's name."""
        return self.settings.job


def load_job(path: Path | str, environment: Mapping[str, str] | None = None) -> Job:
    """Read a job file. environment: None means that of the process. Raises JobFileError."""
    return _checked(read_document(Path(path), _environment(environment)))


def parse_job(
    text: str,
    *,
    file: str = "job",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Job:
    """A job from the text of a file; folder is what its relative paths start from. As load_job."""
    where = Path.cwd() if folder is None else folder
    return _checked(parse_document(text, file, where, _environment(environment)))


@cache
def job_schema() -> dict[str, Any]:
    """The JSON schema of job files, for editors."""
    return JobSettings.model_json_schema()


def _environment(given: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if given is None else given


def _checked(document: Document) -> Job:
    document = expand_ranges(document)
    try:
        # In JSON, unlike in Python, strictness tells texts from numbers and takes lists for tuples.
        settings = JobSettings.model_validate_json(json.dumps(document.root), strict=True)
    except ValidationError as error:
        raise JobFileError(explain(document, error, job_schema())) from error
    return Job(settings, document)
