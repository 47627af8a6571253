"""Errors of ps across gRPC: a status code and the facts one way, the same error the other way.

A refusal carries in its trailing metadata the error's class (trilith-error) and, as a JSON object,
its whole message and its attributes (trilith-facts-bin). Only errors of ps.errors are made of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc

import ps.errors
from ps.errors import (
    CorruptBlockError,
    CorruptFileError,
    JobBusyError,
    NoRestorePointError,
    PsError,
    ShapeError,
    SpecError,
    StoreUnavailableError,
    UnknownTableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

KIND_KEY = "trilith-error"
FACTS_KEY = "trilith-facts-bin"

# What a refusal means to a program that knows status codes only; the first that fits.
_CODES: tuple[tuple[type[PsError], grpc.StatusCode], ...] = (
    (UnknownTableError, grpc.StatusCode.NOT_FOUND),
    (NoRestorePointError, grpc.StatusCode.NOT_FOUND),
    (SpecError, grpc.StatusCode.INVALID_ARGUMENT),
    (ShapeError, grpc.StatusCode.INVALID_ARGUMENT),
    (JobBusyError, grpc.StatusCode.ABORTED),
    (CorruptFileError, grpc.StatusCode.DATA_LOSS),
    (CorruptBlockError, grpc.StatusCode.DATA_LOSS),
    (StoreUnavailableError, grpc.StatusCode.UNAVAILABLE),
    (PsError, grpc.StatusCode.FAILED_PRECONDITION),
)

KINDS: Mapping[str, type[PsError]] = {
    name: kind
    for name, kind in vars(ps.errors).items()
    if isinstance(kind, type) and issubclass(kind, PsError)
}

# All headers of an answer share 8 KiB.
_LONGEST_MESSAGE = 1_000
_LONGEST_FACTS = 4_000


def code_of(error: PsError) -> grpc.StatusCode:
    """The status code of an error of ps."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def shortened(message: str) -> str:
    """A message that fits into a header."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[:_LONGEST_MESSAGE]}..."


def metadata_of(error: PsError) -> tuple[tuple[str, str | bytes], ...]:
    """What the client needs to raise the same error; facts that do not fit are left out."""
    kind, facts = facts_of(error)
    if len(facts) > _LONGEST_FACTS:
        return ((KIND_KEY, kind),)
    return ((KIND_KEY, kind), (FACTS_KEY, facts))


def facts_of(error: PsError) -> tuple[str, bytes]:
    """The name of an error's class, and its message and attributes as a JSON object."""
    kind = next(kind for kind in type(error).__mro__ if KINDS.get(kind.__name__) is kind)
    return kind.__name__, json.dumps(
        {"message": str(error), "facts": vars(error)}, default=str
    ).encode()


def error_of(kind: str, message: str, facts: bytes | None) -> PsError:
    """The error a refusal stands for. Without its facts, the nearest one that needs none."""
    found = KINDS.get(kind, PsError)
    if facts is not None:
        try:
            sent = json.loads(facts)
            # It was made once already, by the job: only what came of it is carried over.
            error = found.__new__(found, str(sent["message"]))
            vars(error).update(sent["facts"])
        except (LookupError, TypeError, ValueError):
            pass  # of another version: its message still says what is wrong
        else:
            return error
    nearest: type[PsError] = next(base for base in found.__mro__ if _is_plain(base))
    return nearest(message)


def _is_plain(kind: type) -> bool:
    """Whether an error takes its message and nothing else."""
    return not any("__init__" in vars(base) for base in kind.__mro__ if issubclass(base, PsError))
