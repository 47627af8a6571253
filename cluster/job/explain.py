"""Pydantic's errors as problems of a job file: the key, what was found, and what is allowed."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from cluster.errors import Problem
    from cluster.job.document import Document, KeyPath

_LONGEST_FOUND = 60
# Errors that say which member of a union was tried, which the file knows nothing of.
_NOT_THERE = "missing"
_UNKNOWN_KEY = "extra_forbidden"
_NO_TAG = "union_tag_not_found"
_WRONG_TAG = "union_tag_invalid"
_SAID_IN_FULL = "said_in_full"


def explain(document: Document, error: ValidationError, schema: Mapping[str, Any]) -> list[Problem]:
    """One problem for each error, in the order of the file. schema: JSON schema of the whole job.

    What is wrong with a list only because of its items is not said again of the list, nor what is
    wrong with an entry again of every feature it stands for.
    """
    errors = error.errors()
    found: dict[tuple[object, ...], Problem] = {}
    for each in errors:
        if each["type"] == "too_short" and any(_is_within(each, other) for other in errors):
            continue
        problem = _explained(document, each, _Schema(schema))
        said = (problem.line, problem.key.rpartition(".")[2], problem.message)
        found.setdefault(said, problem)
    return sorted(found.values(), key=lambda problem: problem.line or 0)


def _is_within(outer: ErrorDetails, inner: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _explained(document: Document, error: ErrorDetails, schema: _Schema) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    path = _path_in(document, error["loc"], keep_last=kind in (_NOT_THERE, _UNKNOWN_KEY))
    found = found_text(error["input"])
    if kind == _NOT_THERE:
        return document.problem(path, _with_note("is missing", schema.note(document, path)))
    if kind == _UNKNOWN_KEY:
        known = schema.keys(document, path[:-1])
        return document.problem(
            path, f"unknown key{did_you_mean(str(path[-1]), known)}; " + _allowed(known)
        )
    if kind in (_NO_TAG, _WRONG_TAG):
        key = str(context["discriminator"]).strip("'")
        tags = schema.tags(document, path)
        if kind == _NO_TAG:
            return document.problem((*path, key), f"is missing; {_allowed(tags)}")
        tag = str(context["tag"])
        return document.problem(
            (*path, key), f"found {found_text(tag)}{did_you_mean(tag, tags)}; {_allowed(tags)}"
        )
    if kind == _SAID_IN_FULL:
        to_blame = context.get("key")
        return document.problem(path if to_blame is None else (*path, to_blame), error["msg"])
    return document.problem(path, f"found {found}; {_plainly(error['msg'])}")


_WORDING = (
    ("Input should", "it should"),
    ("String should", "it should"),
    ("Tuple should", "it should"),
    ("a valid string", "text; put it in quotes"),
    ("a valid integer", "a whole number"),
    ("a valid number", "a number"),
    ("a valid boolean", "true or false"),
    ("a valid array", "a list"),
    ("an object", "a mapping of keys to values"),
    (" after validation, not 0", ""),
)


def _plainly(message: str) -> str:
    """A message of pydantic's in the words of people who write YAML."""
    for theirs, ours in _WORDING:
        message = message.replace(theirs, ours)
    return message


def found_text(value: object) -> str:
    """A value as it might stand in the file, cut short."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question with the nearest known word, or nothing where none is near."""
    nearest = difflib.get_close_matches(word, [*known], 1)
    return f", did you mean {nearest[0]}?" if nearest else ""


def _allowed(words: Iterable[str]) -> str:
    return f"allowed: {', '.join(words)}"


def _with_note(message: str, note: str) -> str:
    return f"{message}; {note}" if note else message


def _path_in(document: Document, location: tuple[int | str, ...], *, keep_last: bool) -> KeyPath:
    """The part of pydantic's location that is in the file: without the names of union members."""
    path: KeyPath = ()
    for place, key in enumerate(location):
        here = document.at(path)
        known = key in here if isinstance(here, dict) else isinstance(here, list)
        if known or (keep_last and place == len(location) - 1):
            path = (*path, key)
    return path


class _Schema:
    """The JSON schema of the job file, looked up by places in a document."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._whole = schema

    def keys(self, document: Document, path: KeyPath) -> list[str]:
        """The keys a mapping at this place may have."""
        for option in self._options(self._at(document, path)):
            if "properties" in option:
                return [*option["properties"]]
        return []

    def tags(self, document: Document, path: KeyPath) -> list[str]:
        """The names of the members of the union at this place."""
        mapping = self._at(document, path, choose=False).get("discriminator", {}).get("mapping", {})
        return [*mapping]

    def note(self, document: Document, path: KeyPath) -> str:
        """What to put at a place where nothing is: its description, or its possible values."""
        schema = self._at(document, path, choose=False)
        for option in self._options(schema):
            if "enum" in option:
                return _allowed(map(str, option["enum"]))
            if "discriminator" in option:
                key = option["discriminator"]["propertyName"]
                return f"a mapping with {key}: {' | '.join(option['discriminator']['mapping'])}"
            if "description" in option:
                return str(option["description"]).partition("\n")[0].rstrip(".")
        kinds = [option["type"] for option in self._options(schema) if "type" in option]
        return f"give it as {' or '.join(kinds)}" if kinds else ""

    def _at(self, document: Document, path: KeyPath, *, choose: bool = True) -> dict[str, Any]:
        schema: dict[str, Any] = dict(self._whole)
        for end, key in enumerate(path):
            schema = self._below(self._chosen(schema, document.at(path[:end])), key)
        return self._chosen(schema, document.at(path)) if choose else self._resolved(schema)

    def _below(self, schema: dict[str, Any], key: str | int) -> dict[str, Any]:
        for option in self._options(schema):
            if isinstance(key, str):
                below = option.get("properties", {}).get(key) or option.get("additionalProperties")
            else:
                below = option.get("items")
            if isinstance(below, dict):
                return below
        return {}

    def _chosen(self, schema: dict[str, Any], value: Any) -> dict[str, Any]:
        """Of a union, the member that the value's tag names."""
        schema = self._resolved(schema)
        discriminator = schema.get("discriminator")
        if discriminator is None or not isinstance(value, dict):
            return schema
        tag = value.get(discriminator["propertyName"])
        reference = discriminator["mapping"].get(tag) if isinstance(tag, str) else None
        return self._resolved({"$ref": reference}) if reference else schema

    def _options(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        schema = self._resolved(schema)
        return [schema, *(self._resolved(option) for option in schema.get("anyOf", ()))]

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        target: dict[str, Any] = self._whole["$defs"][reference.rpartition("/")[2]]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
