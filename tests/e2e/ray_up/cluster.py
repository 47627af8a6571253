"""A cluster to bring up: the wheel, machines with its libraries, and the config that a user edits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.e2e.ray_up.machines import Command, Machine, Said, make_key

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "cluster/config.local.yaml"
_INSTALL = Path(__file__).parent / "install.sh"
_INSTALL_S = 300.0
_PACKAGES = ("ps", "model", "worker", "serving", "cluster")
_RAY = (sys.executable, "-m", "ray.scripts.scripts")
# What every machine knows, and whoever calls `ray`. Nothing is fetched: the libraries are there.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_UP_enable_autoscaler_v2": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "NO_COLOR": "1",
    "PIP_NO_INDEX": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "OPENBLAS_NUM_THREADS": "1",
}


def missing_here() -> str | None:
    """Install what is needed. Why it cannot be, if it cannot."""
    done = subprocess.run(
        [_INSTALL], capture_output=True, text=True, timeout=_INSTALL_S, check=False
    )
    if done.returncode == 0:
        return None
    return f"ssh, sshd, rsync and ip cannot be installed here: {done.stderr.strip()}"


def build_wheel(folder: Path) -> Path:
    """The wheel that `make wheel` builds, from a copy: builds leave things where they are done."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    dist = folder / "dist"
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", dist, source],
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel] = dist.iterdir()
    return wheel


class Cluster:
    """Machines, an operator at the first of them, and a config made of the one that users edit."""

    def __init__(self, folder: Path, wheel: Path, addresses: Sequence[str]) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = folder / "key"
        make_key(self._key)
        self._operator = folder / "operator"
        (self._operator / ".ray").mkdir(parents=True)
        (self._operator / ".ray/auth_token").write_text("0123456789abcdef" * 4)
        self.jobs = folder / "jobs"
        self.jobs.mkdir()
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(self._edited(wheel, addresses)))
        self.machines: list[Machine] = []
        try:
            for number, address in enumerate(addresses):
                machine = Machine(
                    folder / f"machine-{number}",
                    f"machine-{number}",
                    address=address,
                    key=self._key,
                    environment=_ENVIRONMENT,
                )
                self.machines.append(machine)
                install_libraries(machine.home / "trilith/venv")
        except BaseException:
            self.close()
            raise

    def ray(self, command: str, *arguments: object, deadline_s: float) -> Said:
        """`ray COMMAND CONFIG ARGUMENTS`, as the operator calls it, to its end."""
        return self.begin_ray(command, *arguments).end(deadline_s)

    def begin_ray(self, command: str, *arguments: object) -> Command:
        """The same, without waiting."""
        return self.machines[0].begin(
            *_RAY, command, self.config, *arguments, environment={"HOME": str(self._operator)}
        )

    def close(self) -> None:
        """End all machines, and with them all that runs on them."""
        for machine in self.machines:
            machine.close()

    def _edited(self, wheel: Path, addresses: Sequence[str]) -> dict[str, Any]:
        """What a reader of the template changes, and nothing else."""
        config: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text())
        config["cluster_name"] = f"trilith-{self.folder.parent.name}-{self.folder.name}"
        config["provider"] |= {"head_ip": addresses[0], "worker_ips": list(addresses[1:])}
        config["auth"] |= {"ssh_user": "root", "ssh_private_key": str(self._key)}
        mounts = config["file_mounts"]
        mounts["~/trilith/wheel"] = str(wheel.parent)
        mounts["~/trilith/jobs"] = str(self.jobs)
        return config


def lend_compiled_kernels(venv: Path) -> None:
    """Give an installed Trilith what this checkout has compiled: each machine takes a minute otherwise.

    The sources are the same; numba looks at their time stamps, and where they stand does not matter.
    """
    [site] = (venv / "lib").glob("python*/site-packages")
    for package in _PACKAGES:
        for compiled in (ROOT / package).rglob("__pycache__/*.nb[ci]"):
            to = site / compiled.relative_to(ROOT)
            to.parent.mkdir(exist_ok=True)
            shutil.copy(compiled, to)
        for source in (ROOT / package).rglob("kernels/*.py"):
            installed = site / source.relative_to(ROOT)
            if installed.exists() and installed.read_bytes() == source.read_bytes():
                stamp = source.stat()
                os.utime(installed, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def install_libraries(venv: Path) -> None:
    """A virtual environment that finds the libraries of this one, and `ray`; Trilith is not in it."""
    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    here, there = Path(sys.executable).parent, venv / "bin"
    [site] = (venv / "lib").glob("python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    _, _, rest = (here / "ray").read_text().partition("\n")
    (there / "ray").write_text(f"#!{there / 'python'}\n{rest}")
    (there / "ray").chmod(0o755)
