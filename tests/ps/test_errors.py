"""Errors keep their class, message and facts from one process to another."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest

import cluster.errors
import model.errors
import ps.admin.errors
import serving.errors
import worker.errors
from ps.errors import PortableError

# They are found as subclasses, once their modules are there.
_MODULES = (cluster.errors, model.errors, ps.admin.errors, serving.errors, worker.errors)

_FACTS: dict[str, Any] = {
    "str": "text",
    "int": 7,
    "float": 0.5,
    "list[str]": ["one", "two"],
    "Sequence[str]": ["one", "two"],
    "Sequence[NodeFault]": [cluster.errors.NodeFault("one (10.0.0.1)", "is wrong")],
    "Sequence[Problem]": [cluster.errors.Problem("job.yaml", 3, "train", "is wrong")],
    "str | None": "text",
    "int | None": 7,
}


def every_class(base: type[PortableError] = PortableError) -> list[type[PortableError]]:
    found = []
    for one in base.__subclasses__():
        found += [one, *every_class(one)]
    return sorted(set(found), key=lambda one: (one.__module__, one.__name__))


def made_up(kind: type[PortableError]) -> PortableError:
    if kind.__init__ is Exception.__init__:
        return kind("what to do")
    parameters = [*inspect.signature(kind.__init__).parameters.values()][1:]
    if any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in parameters):
        return kind("what to do")
    return kind(*(_FACTS[str(one.annotation)] for one in parameters))


@pytest.mark.parametrize("kind", every_class(), ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_pickling(kind: type[PortableError]) -> None:
    error = made_up(kind)
    found = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(found) is kind
    assert str(found) == str(error)
    assert vars(found) == vars(error)
