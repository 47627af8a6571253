"""Opening a location: what a path or URL stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ps.errors import SpecError
from ps.store.local import LocalLocation
from ps.store.location import DEADLINE_S

if TYPE_CHECKING:
    from ps.store.location import Location

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_location(url: str, *, deadline_s: float = DEADLINE_S) -> Location:
    """The location a path or an fsspec URL stands for; nothing is read or made yet.

    Raises SpecError for what is no such thing, or needs a library that is not installed;
    StoreUnavailableError where a client that connects at once cannot.
    """
    scheme = _SCHEME.match(url)
    if "::" in url:
        raise SpecError(f"store {url!r} is a chain of URLs; give it the URL of one folder")
    if scheme is None or scheme[1] in {"file", "local"}:
        return LocalLocation(url if scheme is None else url[scheme.end() :])
    # fsspec and its clients take their time, and a folder needs none of them.
    from ps.store.remote import RemoteLocation

    return RemoteLocation(url, deadline_s=deadline_s)
