"""The store section of a job as a plan: where restore points go, and how long they stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.job.places import place
from cluster.job.settings import StoreSection
from cluster.plan import StorePlan
from ps.admin.wording import format_duration

if TYPE_CHECKING:
    from cluster.job.blame import Blame
    from cluster.job.load import Job

# A compactor with less would read and write a few rows at a time.
_LEAST_MEMORY = 1 << 20


def store_plan(job: Job, blame: Blame, url: str | None = None) -> StorePlan | None:
    """The plan; None where the job has no store.

    url: instead of the job's, a path in it from the working directory. Raises JobFileError.
    """
    section = job.settings.store
    if url is not None:
        if not url:
            blame.refuse(("store", "url"), "is empty; name a folder or a URL, or leave it out")
        section = (section or StoreSection(url=url)).model_copy(update={"url": url})
    if section is None:
        return None
    interval_s = job.settings.serve.sync_interval
    commit_every_s = interval_s if section.commit_every is None else section.commit_every
    if commit_every_s < interval_s or commit_every_s == 0:
        blame.refuse(
            ("store", "commit_every"),
            f"found {format_duration(commit_every_s)}; a restore point is an epoch, and there is one "
            f"every {format_duration(interval_s)}: set it to that or more, or lower "
            "serve.sync_interval",
        )
    _check_keep(section, blame)
    compact = section.compact_after
    if compact.memory < _LEAST_MEMORY:
        blame.refuse(
            ("store", "compact_after", "memory"),
            f"found {compact.memory} bytes; set it to 1MiB or more, 512MiB is usual",
        )
    return StorePlan(
        url=_located(job.document.folder if url is None else Path.cwd(), section.url),
        commit_every_s=commit_every_s,
        keep_points=section.keep.points,
        keep_age_s=section.keep.age,
        keep_bytes=section.keep.bytes,
        compact_after_share=compact.share,
        compact_after_blocks=compact.blocks,
        compact_memory_bytes=compact.memory,
    )


def _located(folder: Path, text: str) -> str:
    """One spelling for one folder, since messages name it."""
    found = place(folder, text)
    return found if found == text else os.path.normpath(found)


def _check_keep(section: StoreSection, blame: Blame) -> None:
    for name in ("points", "age", "bytes"):
        if getattr(section.keep, name) == 0:
            blame.refuse(
                ("store", "keep", name),
                "found 0; the newest restore point stays in any case: set it above 0, or to null for "
                "no limit",
            )
