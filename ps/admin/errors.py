"""What can go wrong between an operator and a job, beside what the job itself refuses."""

from __future__ import annotations

from ps.errors import PsError


class AdminError(PsError):
    """A call to a job's admin service that brought no answer. target: host:port of the job."""

    def __init__(self, target: str, reason: str) -> None:
        self.target = target
        self.reason = reason
        super().__init__(f"{target}: {reason}")


class AdminUnreachableError(AdminError):
    """No job answers there: see that it runs, and that host, port and TLS are right."""


class AdminRefusedError(AdminError):
    """The job does not accept the token, or asks for one."""


class AdminTimeoutError(AdminError):
    """No answer within the deadline. What had begun goes on in the job: look at its status."""


class AdminFaultError(AdminError):
    """The job failed at what it was asked; its log has the details under the id in the message."""


class AdminStartError(PsError):
    """The admin service could not take its address or its certificate; nothing is listening."""
