"""Machines of a test's own: namespaces with a network, processes and an SSH server to themselves.

`ray stop`, which `ray up` and `ray down` run, ends all of Ray on a machine. So a machine has its own
processes, its own loopback, ports and shared memory, and ends with the process that holds it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNSHARE = (
    "unshare",
    "--net",
    "--pid",
    "--mount",
    "--uts",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
_READY_S = 20.0
# Ray asks for a terminal on the other side, and what sees one paints.
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
# What is there of the machine around: files and programs, for reading; not what Ray writes.
_BEGIN = """
set -e
hostname {name}
ip link set lo up
mkdir -p /tmp/ray
mount -t tmpfs tmpfs /tmp/ray
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
/usr/sbin/sshd -D -e -f {folder}/sshd_config 2>{folder}/sshd.log &
until (exec 3<>/dev/tcp/{address}/22) 2>/dev/null; do kill -0 $!; sleep 0.02; done
echo ready
wait $!
"""
_SSHD = """
ListenAddress {address}
Port 22
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
MaxStartups 100
MaxSessions 100
SetEnv {environment}
"""


class CannotIsolateError(Exception):
    """This machine lets nobody have namespaces."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to."""

    code: int
    output: str


class Command:
    """A command under way on a machine."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def end(self, deadline_s: float) -> Said:
        """Wait for its end, and kill it where that does not come in time."""
        try:
            output, _ = self._process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            output, _ = self._process.communicate()
            output += f"\n[not done after {deadline_s} s]"
        return Said(self._process.returncode, _COLOURS.sub("", output))


class Machine:
    """One, from construction to close().

    folder: what is its own on disk; home: where who logs in is at home. address: where its SSH server
    listens, on port 22. key: the private key that lets one in as root.
    """

    def __init__(
        self, folder: Path, name: str, *, address: str, key: Path, environment: Mapping[str, str]
    ) -> None:
        self.folder, self.name, self.address = folder, name, address
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.environment = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment, "HOME": str(self.home),
        }  # fmt: skip
        make_key(folder / "host_key")
        shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
        settings = " ".join(f'"{name}={value}"' for name, value in self.environment.items())
        (folder / "sshd_config").write_text(
            _SSHD.format(address=address, folder=folder, environment=settings)
        )
        begin = _BEGIN.format(name=name, folder=folder, address=address)
        with (folder / "begin.log").open("wb") as log:
            self._holder = subprocess.Popen(
                [*_UNSHARE, "bash", "-c", begin], stdout=subprocess.PIPE, stderr=log, text=True
            )
        watchdog = threading.Timer(_READY_S, self._holder.kill)
        watchdog.start()
        assert self._holder.stdout is not None
        ready = self._holder.stdout.readline()
        watchdog.cancel()
        if ready != "ready\n":
            self.close()
            raise CannotIsolateError((folder / "begin.log").read_text().strip())

    def run(
        self, *command: object, deadline_s: float, environment: Mapping[str, str] | None = None
    ) -> Said:
        """Run a command on it and wait for its end; the output of both kinds, in one."""
        return self.begin(*command, environment=environment).end(deadline_s)

    def begin(self, *command: object, environment: Mapping[str, str] | None = None) -> Command:
        """Start a command on it. What the machine is closed with, it ends with."""
        process = subprocess.Popen(
            [*self._inside(), *map(str, command)],
            env={**self.environment, **(environment or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Command(process)

    def processes(self) -> list[str]:
        """The command lines of what runs on it, the SSH server's and its holder's left out."""
        found = self.run("ps", "-eo", "args=", deadline_s=20.0).output.splitlines()
        own = ("/usr/sbin/sshd", "sshd:", "bash -c", "ps -eo", "ssh: ")
        return [line for line in found if line.strip() and not line.startswith(own)]

    def close(self) -> None:
        """End everything on it."""
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()

    def _inside(self) -> list[str]:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        first = children.read_text().split()[0]
        return ["nsenter", "--target", first, "--net", "--pid", "--mount", "--uts", "--"]


def make_key(file: Path) -> None:
    """A key pair for SSH: file, and file.pub."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True, timeout=20
    )
