"""A snapshot's file: a name for a restore point, with the commit itself in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError
from ps.store.commit_codec import commit_fields, read_commit
from ps.store.envelope import Kind, open_record, seal_record
from ps.store.fields import Fields
from ps.store.names import snapshot_of

if TYPE_CHECKING:
    from ps.store.commit import Commit


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A restore point that retention leaves alone. created_us: when it was given its name."""

    name: str
    created_us: int
    commit: Commit


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot's bytes."""
    fields = [snapshot.name, snapshot.created_us, commit_fields(snapshot.commit)]
    return seal_record(Kind.SNAPSHOT, fields)


def decode_snapshot(data: bytes, name: str) -> Snapshot:
    """The snapshot in `data`, read from the file of that name.

    Raises CorruptFileError where it is damaged or another's, ForeignFileError.
    """
    fields = Fields(name, open_record(Kind.SNAPSHOT, data, name), "snapshot", 3)
    found = fields.text()
    if found != snapshot_of(name):
        raise CorruptFileError(name, f"holds snapshot {found!r}")
    return Snapshot(found, fields.time_us(), read_commit(fields.take(), name))
