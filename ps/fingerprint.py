"""Which code a process runs: processes of one job must all run the same."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import xxhash

# Everything that takes part in a job; what is generated or measured beside it is not.
PACKAGES = ("ps", "model", "worker", "serving", "cluster")
_ROOT = Path(__file__).resolve().parents[1]


@cache
def code_fingerprint() -> str:
    """Version, Python and a hash of the sources, as of the first call: `0.1.0 py3.11 6f0e…`.

    Two processes with one fingerprint run the same lines of this project under the same Python x.y.
    """
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return f"{_version()} {python} {sources_hash(_ROOT)}"


def sources_hash(root: Path) -> str:
    """16 hex digits over the names and bytes of every .py file of the packages under a folder."""
    digest = xxhash.xxh3_64()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            source = path.read_bytes()
            # The length, so that no name and no bytes can pass for other ones.
            digest.update(f"{path.relative_to(root).as_posix()}\0{len(source)}\0".encode())
            digest.update(source)
    return digest.hexdigest()


def describe(fingerprint: str) -> str:
    """A fingerprint in words, for people who compare two: version, Python, and which sources."""
    found, python, sources = fingerprint.split(" ")
    return f"trilith {found} on Python {python.removeprefix('py')}, sources {sources}"


def _version() -> str:
    try:
        return version("trilith")
    except PackageNotFoundError:  # from a checkout that was never installed
        return "unknown"
