"""Many features from one entry: "C{1..26}" in a feature's name stands for C1 to C26."""

from __future__ import annotations

import re
from typing import Any

from cluster.errors import JobFileError
from cluster.job.document import Document, KeyPath

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_FEATURES = "features"
_MOST = 10_000


def expand_ranges(document: Document) -> Document:
    """The document with every feature whose name has a range replaced by those it stands for.

    The range is replaced in all texts of the entry. Raises JobFileError for a range that runs
    backwards or is absurdly long, and for two different ranges in one entry.
    """
    entries = document.root.get(_FEATURES)
    if not isinstance(entries, list):
        return document
    features: list[Any] = []
    lines = {path: line for path, line in document.lines.items() if path[:1] != (_FEATURES,)}
    lines[(_FEATURES,)] = document.line((_FEATURES,)) or 1
    for place, entry in enumerate(entries):
        old: KeyPath = (_FEATURES, place)
        for expanded in _expanded(document, old, entry):
            new: KeyPath = (_FEATURES, len(features))
            lines |= {
                (*new, *path[2:]): line for path, line in document.lines.items() if path[:2] == old
            }
            features.append(expanded)
    root = {**document.root, _FEATURES: features}
    return Document(document.file, document.folder, root, lines)


def _expanded(document: Document, path: KeyPath, entry: Any) -> list[Any]:
    name = entry.get("name") if isinstance(entry, dict) else None
    found = _RANGE.search(name) if isinstance(name, str) else None
    if found is None:
        return [entry]
    first, last = int(found[1]), int(found[2])
    if not first <= last < first + _MOST:
        message = f"found the range {found[0]}; it must run upwards, over at most {_MOST:,} numbers"
        raise JobFileError([document.problem((*path, "name"), message)])
    for key, value in entry.items():
        others = set(_RANGE.findall(str(value))) - {found.groups()}
        if others:
            message = f"found another range than {found[0]} of the name; use the same one"
            raise JobFileError([document.problem((*path, key), message)])
    return [_replaced(entry, found[0], str(number)) for number in range(first, last + 1)]


def _replaced(value: Any, sign: str, number: str) -> Any:
    if isinstance(value, str):
        return value.replace(sign, number)
    if isinstance(value, list):
        return [_replaced(item, sign, number) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item, sign, number) for key, item in value.items()}
    return value
