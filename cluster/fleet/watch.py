"""Watching actors: who is up, who has gone, and that what has gone comes back.

Of every actor one call is pending that only its end answers (stay), so that the end of a process is
known at once, whoever killed it. Ray starts it again; what Ray has given up is made anew.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, ActorUnschedulableError, RayError, RayTaskError

from cluster.fleet.calls import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ray import ObjectRef
    from ray.actor import ActorHandle

    from ps.clock import Clock

logger = logging.getLogger(__name__)

# How long a round waits for news; also how soon a member that is added is looked at.
_ROUND_S = 0.1
# Ray needs over a second to start a process again; until then it answers at once that there is none.
_AGAIN_S = 0.1
# What failed while it was made is likely to fail again.
_ANEW_S = 2.0
_CLOSE_S = 10.0


@dataclass(eq=False)
class Member:
    """One actor, over all its processes. make: finds the actor, or makes it; may be called again.

    handle: the actor, None before there is one. process: of the one that is up, as it says itself;
    None while it is down or starting. fault: why it is not up, as far as that is known; is_broken: Ray
    has given it up, as where it failed while it was made. greeting: what it answered to hello. is_missed: it was up,
    and is not any more. The rest is the watch's own.
    """

    name: str
    make: Callable[[], ActorHandle]
    handle: ActorHandle | None = None
    process: str | None = None
    fault: str | None = None
    is_broken: bool = False
    greeting: Any = None
    is_missed: bool = False
    stay_call: ObjectRef | None = field(default=None, repr=False)
    hello_call: ObjectRef | None = field(default=None, repr=False)
    due_s: float = 0.0


class Watch:
    """The thread that watches members. Everything else may be called from any thread.

    say: told who has gone, and who is back.
    """

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._changed = threading.Condition()
        self._changes = self._seen = 0
        self._members: list[Member] = []
        self._closed = self._ending = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def let_go(self) -> None:
        """From now on, whoever ends has ended: nobody is started again, but by Ray."""
        with self._changed:
            self._ending = True

    def close(self) -> None:
        """Watch no more; what runs goes on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def add(self, members: Sequence[Member]) -> None:
        """Have them run from now on."""
        with self._changed:
            self._members += members

    def remove(self, members: Sequence[Member]) -> None:
        """Look after them no more: what becomes of them is the caller's business."""
        with self._changed:
            self._members = [one for one in self._members if one not in members]

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait until a process has come or gone since the last call; False where none did in time.

        One thread's.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._changes != self._seen or self._closed, timeout_s)
            changed, self._seen = self._changes != self._seen, self._changes
            return changed

    def wait_up(self, members: Sequence[Member], timeout_s: float) -> list[Member]:
        """Wait until all are up; those that are not."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or all(one.process is not None for one in members), timeout_s
            )
            return [one for one in members if one.process is None]

    def wait_down(self, members: Sequence[Member], timeout_s: float) -> bool:
        """Wait until none of them is up; False where one still is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or all(one.process is None for one in members), timeout_s
            )

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                members = list(self._members)
            try:
                self._round(members)
            except Exception:
                # Ray between two states, or the cluster going down: the next round sees it anew.
                logger.exception("watching goes on")
                self._pause()

    def _round(self, members: Sequence[Member]) -> None:
        now_s = self._clock.monotonic_s()
        pending: dict[ObjectRef, Member] = {}
        for member in members:
            if member.stay_call is None and now_s >= member.due_s and not self._ending:
                self._begin(member)
            for ref in (member.stay_call, member.hello_call):
                if ref is not None:
                    pending[ref] = member
        if not pending:
            self._pause()
            return
        ready, _ = ray.wait([*pending], num_returns=1, timeout=_ROUND_S, fetch_local=False)
        for ref in ready:
            self._answered(pending[ref], ref)

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, _ROUND_S)

    def _begin(self, member: Member) -> None:
        """Have the actor there; ask it to stay, then who it is: the two are answered by one process."""
        try:
            member.handle = member.make()
            member.stay_call = member.handle.stay.remote()
            member.hello_call = member.handle.hello.remote()
        except (RayError, ValueError) as error:
            self._gone(member, error, _ANEW_S)

    def _answered(self, member: Member, ref: ObjectRef) -> None:
        try:
            answer = ray.get(ref, timeout=0)
        except RayTaskError as error:
            # It runs, and has failed all the same: another process has to begin anew.
            self._gone(member, error, _ANEW_S)
            self._end_process(member)
            return
        except RayError as error:
            for_good = isinstance(error, ActorDiedError | ActorUnschedulableError)
            member.is_broken = for_good
            self._gone(member, error, _ANEW_S if for_good else _AGAIN_S)
            return
        if ref == member.stay_call:
            self._gone(member, None, _ANEW_S)  # ended in order
            self._end_process(member)
            return
        member.hello_call = None
        with self._changed:
            member.greeting, member.fault, member.is_broken = answer, None, False
            member.process = _process_of(answer)
            self._tell()
        if member.is_missed:
            member.is_missed = False
            self._say(f"{member.name} is up again")

    def _end_process(self, member: Member) -> None:
        """Have Ray start its actor again."""
        if member.handle is not None and not self._ending:
            ray.kill(member.handle, no_restart=False)

    def _gone(self, member: Member, error: Exception | None, again_s: float) -> None:
        member.stay_call = member.hello_call = None
        member.due_s = self._clock.monotonic_s() + again_s
        with self._changed:
            fault = None if error is None else said(error)
            if member.process is None and fault == member.fault:
                return
            has_gone = member.process is not None and not self._ending
            member.process, member.fault = None, fault
            self._tell()
        if has_gone:
            member.is_missed = True
            why = f" ({fault})" if isinstance(error, RayTaskError) else ""
            self._say(f"{member.name} has ended{why}; it is started again")

    def _tell(self) -> None:
        self._changes += 1
        self._changed.notify_all()


def _process_of(greeting: Any) -> str:
    """Of a host's status, a report, or a worker's hello."""
    process: str = getattr(greeting, "identity", greeting).process
    return process
