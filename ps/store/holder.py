"""Who holds a claim: one process, told apart from every other, before and after it."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Of /proc/PID/stat, counted after the name of the program, which may hold spaces and parentheses.
_STATE, _START_TICKS = 0, 19


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that writes to a store, or did.

    who: what people call it (the job). boot, namespace: of the kernel it runs under and the process
    numbers it is counted in; empty where the system does not say. started: clock ticks from boot to
    its start: with pid, never the same twice. token: drawn anew by every holder, to know one's own
    claim by. admin: where its admin service listens, if it does.
    """

    who: str
    host: str
    pid: int
    boot: str
    namespace: str
    started: int
    token: str
    admin: str | None = None

    @staticmethod
    def of_this_process(who: str, admin: str | None = None) -> Holder:
        """This process, with a token of its own at every call."""
        boot, namespace = _kernel()
        return Holder(
            who=who,
            host=socket.gethostname(),
            pid=os.getpid(),
            boot=boot,
            namespace=namespace,
            started=_start_ticks(os.getpid()) or 0,
            token=secrets.token_hex(8),
            admin=admin,
        )

    def is_on_this_kernel(self) -> bool:
        """Whether it ran since this machine was started, be it in another container."""
        return bool(self.boot) and self.boot == _kernel()[0]

    def is_running(self) -> bool | None:
        """Whether the process lives; None where that cannot be seen from here."""
        if not self.boot or not self.namespace or (self.boot, self.namespace) != _kernel():
            return None
        return _start_ticks(self.pid) == self.started

    def __str__(self) -> str:
        admin = f", admin service at {self.admin}" if self.admin else ""
        return f"{self.who} (process {self.pid} on {self.host}{admin})"


def _kernel() -> tuple[str, str]:
    """(boot, namespace of process numbers); empty where there is no /proc."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return boot, str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return "", ""


def _start_ticks(pid: int) -> int | None:
    """When a living process was started; None where there is none of that number."""
    try:
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # A process that has ended and has not been collected yet holds nothing any more.
    return None if fields[_STATE] in {b"Z", b"X"} else int(fields[_START_TICKS])
