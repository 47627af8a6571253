"""Where the things a job file names are: files beside it, or URLs."""

from __future__ import annotations

from pathlib import Path


def place(folder: Path, text: str) -> str:
    """A URL as it is; anything else as a path that starts from the folder."""
    if "://" in text or text.startswith("memory:"):
        return text
    return str(folder / Path(text).expanduser())


def address(text: str) -> tuple[str, int]:
    """The host and the port of "host:port"."""
    host, _, port = text.rpartition(":")
    return host, int(port)
