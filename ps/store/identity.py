"""What a folder is: a store, of which version of the layout, made when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.errors import CorruptFileError, FileMissingError, ForeignFileError
from ps.store.envelope import Kind, open_record, seal_record
from ps.store.fields import Fields
from ps.store.names import IDENTITY

if TYPE_CHECKING:
    from ps.store.location import Location

# Of the folders and names (ps.store.names), and of what commits mean.
LAYOUT_VERSION = 1


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """layout_version: of names and meaning. created_us: when the first writer came."""

    layout_version: int
    created_us: int


def read_identity(location: Location) -> StoreIdentity | None:
    """The store's identity; None where nothing is a store yet.

    Raises ForeignFileError where this program must not touch it, CorruptFileError where it is
    damaged, StoreUnavailableError.
    """
    try:
        payload = open_record(Kind.IDENTITY, location.read(IDENTITY), IDENTITY)
    except FileMissingError:
        return None
    fields = Fields(IDENTITY, payload, "identity", 2)
    identity = StoreIdentity(fields.integer(), fields.time_us())
    if identity.layout_version != LAYOUT_VERSION:
        raise ForeignFileError(IDENTITY, identity.layout_version, LAYOUT_VERSION)
    return identity


def ensure_identity(location: Location, now_us: int) -> None:
    """Make a folder a store, or its damaged identity whole again; what is whole stays.

    Raises ForeignFileError, StoreUnavailableError.
    """
    try:
        if read_identity(location) is not None:
            return
    except CorruptFileError:
        # It says nothing that cannot be said again.
        pass
    location.write(IDENTITY, [seal_record(Kind.IDENTITY, [LAYOUT_VERSION, now_us])])
