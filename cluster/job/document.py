"""A YAML file as plain data that still knows on which line everything stands.

Scalars follow YAML 1.2: `off` and `no` are text, `1e-3` is a number, `12:30` is no sexagesimal.
Keys given twice are refused. ${NAME} and ${NAME:-default} are replaced by environment variables,
before a scalar is taken for a number or a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from cluster.errors import JobFileError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Where something stands in the data: keys and list positions from the root.
KeyPath = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_INTEGER = re.compile(r"[-+]?[0-9](_?[0-9])*")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping read from a file, and the line of each of its keys and items.

    file: the name to use in messages. folder: what relative paths in it are relative to.
    """

    file: str
    folder: Path
    root: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int | None:
        """The line of a key, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def at(self, path: KeyPath) -> Any:
        """What stands there; None where nothing does."""
        found: Any = self.root
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def dotted(self, path: KeyPath) -> str:
        """A path as people read it: items of a list go by their name where they have one."""
        text = ""
        for end, key in enumerate(path, start=1):
            if isinstance(key, str):
                text += f".{key}" if text else key
                continue
            item = self.at(path[:end])
            name = item.get("name") if isinstance(item, dict) else None
            text += f"[{name if isinstance(name, str) else key}]"
        return text

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Something wrong at a place of this document."""
        return Problem(self.file, self.line(path), self.dotted(path), message)


def read_document(file: Path, environment: Mapping[str, str]) -> Document:
    """Read a file. Raises JobFileError where it cannot be read or is not a YAML mapping."""
    name = str(file)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise JobFileError(
            [Problem(name, None, "", f"cannot be read: {error.strerror}")]
        ) from error
    except UnicodeDecodeError as error:
        raise JobFileError([Problem(name, None, "", f"is not UTF-8 text: {error}")]) from error
    return parse_document(text, name, file.resolve().parent, environment)


def parse_document(text: str, file: str, folder: Path, environment: Mapping[str, str]) -> Document:
    """The document that a text holds. Raises JobFileError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise JobFileError([Problem(file, line, "", f"is not YAML: {what}")]) from error
    except yaml.YAMLError as error:
        raise JobFileError([Problem(file, None, "", f"is not YAML: {error}")]) from error
    if node is None:
        raise JobFileError([Problem(file, None, "", "is empty; a job begins with job: NAME")])
    if not isinstance(node, yaml.MappingNode):
        raise JobFileError([Problem(file, 1, "", "is not a mapping of keys to values")])
    reader = _Reader(file, environment)
    root: dict[str, Any] = reader.value(node, ())
    return Document(file, folder, root, reader.lines)


def variables_of(text: str) -> list[str]:
    """The environment variables that a text speaks of, each once."""
    return list(dict.fromkeys(match[1] for match in _VARIABLE.finditer(text)))


class _Reader:
    """The reading of one file, from nodes to values."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._file = file
        self._environment = environment
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if any(node is outer for outer in self._open):
            self._refuse(node, path, "refers to itself")
        self._open.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
        finally:
            self._open.pop()
        return self._refuse(node, path, f"is of a kind a job file has no use for ({node.tag})")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not isinstance(key, str):
                self._refuse(key_node, path, "has a key that is no plain name")
            here = (*path, key)
            if key in found:
                self._refuse(key_node, here, "is given twice; keep one of them")
            self.lines[here] = key_node.start_mark.line + 1
            found[key] = self.value(value_node, here)
        return found

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> str | int | float | bool | None:
        text = _VARIABLE.sub(lambda match: self._variable(match, node, path), node.value)
        if node.style is not None:  # quoted, or a block of text
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _REAL.fullmatch(text):
            return float(text)
        return text

    def _variable(self, match: re.Match[str], node: yaml.Node, path: KeyPath) -> str:
        name, default = match[1], match[2]
        # As in a shell, :- stands in for an empty variable too.
        found = self._environment.get(name) or default
        if found is None:
            self._refuse(
                node,
                path,
                f"the environment variable {name} is not set; set it, or write "
                f"${{{name}:-DEFAULT}}",
            )
        return found

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> NoReturn:
        key = ".".join(map(str, path))
        raise JobFileError([Problem(self._file, node.start_mark.line + 1, key, message)])
