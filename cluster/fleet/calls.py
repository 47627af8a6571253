"""Calls to actors: each with a deadline, and Ray's errors as ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from ps.errors import PortableError, ShardUnavailableError

if TYPE_CHECKING:
    from ray.actor import ActorHandle


def call(
    where: str, handle: ActorHandle | None, method: str, deadline_s: float, *args: Any, **named: Any
) -> Any:
    """Call a method of an actor and wait for what it returns. where: its name, for messages.

    Raises ShardUnavailableError where there is no answer in time, or no process; an error that the
    method itself raised as the one it was.
    """
    if handle is None:
        raise ShardUnavailableError(where, "its process has not been started yet")
    try:
        return ray.get(getattr(handle, method).remote(*args, **named), timeout=deadline_s)
    except GetTimeoutError as error:
        raise ShardUnavailableError(where, f"no answer to {method} in {deadline_s:g} s") from error
    except RayTaskError as error:
        raise raised(error) from error
    except RayError as error:
        raise ShardUnavailableError(where, said(error)) from error


def raised(error: RayTaskError) -> BaseException:
    """What was raised in the other process."""
    cause: BaseException | None = error.cause
    if isinstance(cause, RayTaskError):
        return raised(cause)
    return error if cause is None else cause


def said(error: BaseException) -> str:
    """What Ray says on one line: of its pages, the part that says why."""
    if isinstance(error, RayTaskError):
        cause = raised(error)
        if isinstance(cause, PortableError):
            return str(cause)
        return f"{type(cause).__name__}: {cause}".strip().splitlines()[-1]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
