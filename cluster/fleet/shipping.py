"""A job on its way to other machines: the text of its file, and what it needs to mean the same there."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cluster.job import parse_job, resolve
from cluster.job.document import variables_of
from cluster.job.no_source import NoSource
from cluster.job.resolve_cluster import Spread

if TYPE_CHECKING:
    from cluster.plan import Plan


class Shipped(Protocol):
    """What can be pickled, and gives the same plan on every machine."""

    @property
    def name(self) -> str:
        """Of the job."""
        ...

    def plan(self, *, source: bool) -> Plan:
        """The plan. source: whether the stream will be read here; else the plan's source is empty.

        Raises what resolve() raises.
        """
        ...

    def difference(self, other: Shipped) -> str | None:
        """In words, why this is not the same job as another of that name; None: it is."""
        ...


@dataclass(frozen=True, slots=True)
class JobText:
    """A job file, as whoever started the job had it.

    file, folder: its name, and where its relative paths begin, there and everywhere. environment: the
    variables it speaks of. store: URL instead of the file's. serve: whether replicas are wanted even
    where the cluster section names none.
    """

    name: str
    text: str = field(repr=False)
    file: str
    folder: str
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    spread: Spread = field(default_factory=Spread)
    store: str | None = None
    max_examples: int | None = None
    serve: bool = False

    @classmethod
    def read(
        cls,
        job_file: Path,
        *,
        spread: Spread,
        store: str | None = None,
        max_examples: int | None = None,
        serve: bool = False,
    ) -> JobText:
        """Of a file of this machine. Raises JobFileError for what cannot run on a cluster."""
        from cluster.job import load_job

        job = load_job(job_file)
        text = job_file.read_text(encoding="utf-8")
        if store and "://" not in store:
            store = os.path.normpath(Path.cwd() / Path(store).expanduser())
        shipped = cls(
            name=job.name,
            text=text,
            file=str(job_file),
            folder=str(job.document.folder),
            environment=tuple(
                (name, os.environ[name]) for name in variables_of(text) if name in os.environ
            ),
            spread=spread,
            store=store,
            max_examples=max_examples,
            serve=serve,
        )
        shipped.plan(source=False)
        return shipped

    def plan(self, *, source: bool) -> Plan:
        """See Shipped."""
        job = parse_job(
            self.text,
            file=self.file,
            folder=Path(self.folder),
            environment=dict(self.environment),
        )
        spread = self.spread
        if spread.replicas is None and job.settings.cluster.replicas is None:
            spread = replace(spread, replicas=job.settings.serve.replicas if self.serve else 0)
        plan = resolve(job, source=None if source else NoSource(), store=self.store, spread=spread)
        if self.max_examples is None:
            return plan
        return replace(plan, train=replace(plan.train, max_examples=self.max_examples))

    def difference(self, other: Shipped) -> str | None:
        """See Shipped."""
        if not isinstance(other, JobText):
            return "it is of another kind"
        if self.text != other.text:
            return f"its job file ({other.file}) reads otherwise"
        if replace(self, file="") != replace(other, file=""):
            return "it was started with other options, or other values of environment variables"
        return None
