"""One call to many processes at once, without waiting longer for any than for all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from ps.errors import PsError, ShardUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping
    from concurrent.futures import Future

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")
R = TypeVar("R")

# Threads are made as they are needed; calls beyond wait for their turn.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Answers(Generic[K, R]):
    """What the calls returned, and the errors of those that did not, by key."""

    results: dict[K, R] = field(default_factory=dict)
    errors: dict[K, PsError] = field(default_factory=dict)

    def raise_first(self) -> None:
        """Raise an error, if there is any."""
        for error in self.errors.values():
            raise error


class Fanout:
    """Makes calls in threads of its own. Safe to use from several threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="coordinate")
        self._changing = threading.Lock()
        self._under_way: set[tuple[str, Hashable]] = set()

    def each(
        self, what: str, of: Mapping[K, T], do: Callable[[K, T], R], deadline_s: float
    ) -> Answers[K, R]:
        """do(key, value) for each, all at once; a call that takes longer than deadline_s goes on by
        itself, and counts as ShardUnavailableError.

        So does a key whose call under the same name is still under way from before: whoever does not
        answer is not asked again and again. What is no PsError is raised.
        """
        answers: Answers[K, R] = Answers()
        futures: dict[K, Future[R]] = {}
        for key, value in of.items():
            if self._begin(what, key):
                future = self._pool.submit(do, key, value)
                future.add_done_callback(lambda _, key=key: self._end(what, key))  # type: ignore[misc]
                futures[key] = future
            else:
                answers.errors[key] = _late(what, key, "has not answered the call before")
        done, _ = wait(futures.values(), deadline_s)
        for key, future in futures.items():
            if future not in done:
                answers.errors[key] = _late(what, key, f"no answer within {deadline_s:g} s")
                continue
            try:
                answers.results[key] = future.result()
            except PsError as error:
                answers.errors[key] = error
        return answers

    def submit(self, do: Callable[[], object]) -> None:
        """Have something done that says itself how it went."""
        self._pool.submit(do)

    def close(self) -> None:
        """Begin nothing more; does not wait for what hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, what: str, key: Hashable) -> bool:
        with self._changing:
            if (what, key) in self._under_way:
                return False
            self._under_way.add((what, key))
            return True

    def _end(self, what: str, key: Hashable) -> None:
        with self._changing:
            self._under_way.discard((what, key))


def _late(what: str, key: Hashable, why: str) -> PsError:
    where = f"shard {key}" if isinstance(key, int) else str(key)
    return ShardUnavailableError(where, f"{what}: {why}")
