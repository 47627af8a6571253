"""The tree of errors of the cluster layer: job files and runs; each says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import PortableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ClusterError(PortableError):
    """Anything the cluster layer refuses or fails to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a job file. key: its path, dotted; line: counted from 1."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        """FILE:LINE: KEY: MESSAGE, as compilers write it."""
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class JobFileError(ClusterError):
    """A job file that cannot be read, or cannot work; one line for each problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class RunError(ClusterError):
    """A run that did not get to its end; the message says what to look at."""


class UnsavedError(RunError):
    """A run whose store does not have all that was learned; the stream, where it still can, has it."""


class ClusterUnreachableError(ClusterError):
    """No Ray cluster answers at an address, or not in time."""

    def __init__(self, address: str, why: str) -> None:
        self.address = address
        self.why = why
        super().__init__(f"no Ray cluster answers at {address}: {why}")


@dataclass(frozen=True, slots=True)
class NodeFault:
    """What is wrong with one machine of a cluster. node: its name and address."""

    node: str
    message: str

    def __str__(self) -> str:
        """NODE: MESSAGE."""
        return f"{self.node}: {self.message}"


class UnfitNodesError(ClusterError):
    """Machines that cannot take part, each with its reason; nothing was started."""

    def __init__(self, faults: Sequence[NodeFault]) -> None:
        self.faults = tuple(faults)
        listed = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__(f"the cluster cannot run this job; nothing was started:\n{listed}")


class ClusterTooSmallError(ClusterError):
    """No room for the processes of a job; nothing of it is left running.

    wanted: what found no room, free: what each machine has, one line each.
    """

    def __init__(self, waited_s: float, wanted: Sequence[str], free: Sequence[str]) -> None:
        self.waited_s = waited_s
        self.wanted = tuple(wanted)
        self.free = tuple(free)
        lines = [f"  wanted: {line}" for line in self.wanted]
        lines += [f"  free:   {line}" for line in self.free]
        listed = "\n".join(lines)
        super().__init__(
            f"the cluster has no room for the job, after {waited_s:g} s:\n{listed}\n"
            "add machines, lower cluster.resources or the numbers of shards, standbys, workers and "
            "replicas, set cluster.standby_apart and cluster.replicas_apart to preferred, or allow an "
            "autoscaler more time (cluster.start_timeout)"
        )


class ProcessStartError(RunError):
    """A process of a job did not come up; nothing of the job is left running."""

    def __init__(self, process: str, why: str) -> None:
        self.process = process
        self.why = why
        super().__init__(f"{process} did not come up: {why}")


class JobRunningError(ClusterError):
    """A job of that name runs on the cluster already, and is not the same."""

    def __init__(self, job: str, difference: str) -> None:
        self.job = job
        self.difference = difference
        super().__init__(
            f"a job {job} runs on this cluster already, and {difference}; end it first (trilith stop "
            "JOB.yaml --cluster ADDRESS), or give this one another name"
        )


class JobNotRunningError(ClusterError):
    """No job of that name runs on the cluster."""

    def __init__(self, job: str) -> None:
        self.job = job
        super().__init__(f"no job {job} runs on this cluster")
