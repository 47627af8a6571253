"""The servers that a client may ask, which may change while it runs."""

from __future__ import annotations

import logging
import threading
from itertools import count
from typing import TYPE_CHECKING

from serving.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from serving.upstream import Upstream

logger = logging.getLogger(__name__)


class Roster:
    """Servers in turn, the good ones first. May be used from any number of threads.

    targets: host:port, one or more; or what gives them, which is asked again every refresh_s and
    whenever refresh() wants it, in a thread of the roster's own. reach: makes the channel to one.
    Raises ConfigError where there are none and nothing that could give them.
    """

    def __init__(
        self,
        targets: str | Sequence[str] | Callable[[], Sequence[str]],
        reach: Callable[[str], Upstream],
        refresh_s: float,
    ) -> None:
        self._reach = reach
        self._refresh_s = refresh_s
        self._turn = count()
        self._changed = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._closed = False
        self._servers: tuple[Upstream, ...] = ()
        self._source: Callable[[], Sequence[str]] | None = None
        self.fault: str | None = None
        if callable(targets):
            self._source = targets
            threading.Thread(target=self._run, name="predict-targets", daemon=True).start()
            return
        fixed = (targets,) if isinstance(targets, str) else tuple(targets)
        if not fixed:
            raise ConfigError("no targets; give the host:port of at least one server")
        self._install(fixed)

    @property
    def is_fixed(self) -> bool:
        """Whether there will never be other servers."""
        return self._source is None

    def in_turn(self) -> Iterator[Upstream]:
        """Every server once: first those that are good, another one at each call, then the others."""
        servers, turn = self._servers, next(self._turn)
        good = [server for server in servers if server.is_good()]
        yield from _rotated(good, turn)
        if len(good) < len(servers):
            yield from _rotated([server for server in servers if server not in good], turn)

    def __len__(self) -> int:
        return len(self._servers)

    def refresh(self, timeout_s: float) -> None:
        """Ask for the servers now, and wait for the answer so long."""
        if self._source is None:
            return
        with self._changed:
            # An answer that was on its way already may be too old.
            wanted = self._asked + 1
            self._asked = wanted
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= wanted or self._closed, timeout_s)

    def close(self) -> None:
        """End all connections; calls under way fail."""
        with self._changed:
            self._closed = True
            servers, self._servers = self._servers, ()
            self._changed.notify_all()
        for server in servers:
            server.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                asked = self._asked
            self._ask()
            with self._changed:
                self._answered = asked
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._closed or self._asked > self._answered, self._refresh_s
                )

    def _ask(self) -> None:
        assert self._source is not None  # noqa: S101  # else there is no thread
        try:
            targets = tuple(self._source())
        except Exception as error:  # noqa: BLE001  # it is another's code; the servers known stay
            if self.fault is None:
                logger.warning("the servers cannot be asked for, for now: %s", error)
            self.fault = f"{type(error).__name__}: {error}"
            return
        self.fault = None
        # Nobody at all is more likely a job that restarts than one that is served no more.
        if targets:
            self._install(targets)

    def _install(self, targets: Sequence[str]) -> None:
        with self._changed:
            if self._closed:
                return
            known = {server.target: server for server in self._servers}
            if set(known) == set(targets):
                return
            wanted = tuple(dict.fromkeys(targets))
            self._servers = tuple(known.get(t) or self._reach(t) for t in wanted)
        for target, server in known.items():
            if target not in wanted:
                server.retire()


def _rotated(servers: Sequence[Upstream], turn: int) -> Iterator[Upstream]:
    for i in range(len(servers)):
        yield servers[(turn + i) % len(servers)]
