"""Epochs and restore points: all leaders seal and save, the coordinator commits what they saved."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.errors import (
    BlockGapError,
    NotLeadingError,
    PsError,
    ShardUnavailableError,
    StaleTermError,
    StoreError,
)
from ps.store.writer import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from ps.block import Block
    from ps.coordinator.job import Job
    from ps.coordinator.leaders import Led
    from ps.host.port import SavedBlock
    from ps.store.commit import Commit, Skips

_SEAL_S = 10.0
# Writing what was learned in one interval; a slow store takes its time.
_SAVE_S = 120.0
# How long a restore point waits for workers to report what they counted of it.
_COUNTED_S = 2.0


@dataclass(slots=True)
class _Saved:
    """What the leaders have written, by shard, and who had it written."""

    at: int
    led: dict[int, Led]
    blocks: dict[int, SavedBlock] = field(default_factory=dict)

    def heads(self) -> dict[int, Block]:
        return {shard: saved.head for shard, saved in self.blocks.items() if not saved.quiet}


class Commits:
    """Seals and commits, now and then or when asked to. Safe to use from several threads.

    suspect: told of a shard whose leader did not do as asked. restore: of one that must be restored
    from the store, as what it learned since cannot be linked to it.
    """

    def __init__(
        self, job: Job, suspect: Callable[[int], None], restore: Callable[[int], None]
    ) -> None:
        self._job = job
        self._suspect = suspect
        self._restore = restore
        self._committing = threading.RLock()
        self._rows: dict[int, Mapping[str, int]] = {}
        self._last_errors: dict[int, str] = {}

    def alone(self) -> AbstractContextManager[bool]:
        """Nobody else makes a restore point meanwhile; the caller may."""
        return self._committing

    def seal(self, deadline_s: float = _SEAL_S) -> int:
        """End the epoch of every shard that is led, under one number above any before; the number.

        Shards that do not answer in time are left out. Pushes go on meanwhile.
        """
        return self._seal("seal", deadline_s).at

    def commit(self, *, whole: bool = False) -> Commit | None:
        """Make a restore point of what was learned since the last:

        1. seal an epoch everywhere
        2. have every leader write what it sealed since the store's cursor, all at once
        3. wait a little for the workers to report what they counted of it
        4. commit, which the store's claim must allow

        A shard that has no leader, or whose leader does not answer, stays where the store has it. None
        where nothing happened in any shard. whole: raise where a shard cannot take part.

        A crash before 4 leaves files that nobody names. Raises FencedError, StaleTermError,
        StoreError, and (whole) ShardUnavailableError and what hosts raise.
        """
        with self._committing:
            saved = self._saved(whole=whole)
            heads = saved.heads()
            if not heads:
                return None
            self._wait_counted(heads)  # 3
            return self._commit(saved, self._job.members.merged(), self._job.ownership.skips)  # 4

    def commit_all(self, *, worker: bytes | None = None, skips: Skips | None = None) -> Commit:
        """Make a restore point of all shards, whether anything happened or not: see commit().

        worker: what was known of the stream, instead of what is reported; skips: what is left out,
        instead of what was.
        """
        with self._committing:
            saved, job = self._saved(whole=True), self._job
            if worker is None:
                self._wait_counted(saved.heads())
                worker = job.members.merged()
            return self._commit(saved, worker, job.ownership.skips if skips is None else skips)

    def commit_chains(self) -> Commit:
        """Make a restore point of where the store has the shards, by the chains there are now."""
        with self._committing:
            job = self._job
            saved = _Saved(job.numbering.next(), {})
            return self._commit(saved, job.members.merged(), job.ownership.skips)

    def _saved(self, *, whole: bool) -> _Saved:
        saved = self._seal("seal for the store", _SEAL_S, whole=whole)  # 1
        self._save(saved, whole=whole)  # 2
        return saved

    def _commit(self, saved: _Saved, worker: bytes | None, skips: Skips) -> Commit:
        n_bytes = sum(one.n_bytes for one in saved.blocks.values())
        rows = _summed([self._rows[shard] for shard in sorted(self._rows)])
        written = Written(saved.heads(), n_bytes, saved.at, worker, skips, rows)
        return self._job.keeping.commit(written)

    def forget_rows(self) -> None:
        """Other shards take the place of those there were."""
        self._rows.clear()

    def _seal(self, what: str, deadline_s: float, *, whole: bool = False) -> _Saved:
        job = self._job
        number, now_us = job.numbering.next(), job.clock.now_us()
        led = job.leaders.all()
        if whole and len(led) < job.shards:
            raise ShardUnavailableError("a shard", "it is being replaced")
        answers = job.fanout.each(
            what, led, lambda _, one: one.seat.port.seal(job.term, number, now_us), deadline_s
        )
        for cursor in answers.results.values():
            job.numbering.note(cursor.epoch)
        self._look_at(answers.errors)
        if whole:
            answers.raise_first()
        return _Saved(number, {shard: led[shard] for shard in answers.results})

    def _save(self, saved: _Saved, *, whole: bool) -> None:
        job = self._job
        after = {chain.shard: chain.cursor for chain in job.keeping.chains}
        answers = job.fanout.each(
            "save",
            saved.led,
            lambda shard, one: one.seat.port.save(job.term, after[shard]),
            _SAVE_S,
        )
        self._look_at(answers.errors)
        if whole:
            answers.raise_first()
        for shard, block in answers.results.items():
            # Whoever has been replaced meanwhile may have learned what its successor has not.
            if job.leaders.of(shard) is saved.led[shard]:
                saved.blocks[shard] = block
                self._rows[shard] = block.rows
            elif whole:
                raise ShardUnavailableError(f"shard {shard}", "it is being replaced")

    def _look_at(self, errors: Mapping[int, PsError]) -> None:
        """Have done about errors of leaders what can be. Raises StaleTermError."""
        for shard, error in errors.items():
            match error:
                case StaleTermError():
                    raise error
                case BlockGapError():
                    self._job.say(f"shard {shard} is restored from the store: {error}")
                    self._restore(shard)
                case ShardUnavailableError() | NotLeadingError():
                    self._suspect(shard)
                case StoreError():
                    self._job.keeping.note_failure(str(error))
                    self._tell(shard, error)
                case _:
                    self._tell(shard, error)

    def _tell(self, shard: int, error: PsError) -> None:
        if self._last_errors.get(shard) != str(error):
            self._last_errors[shard] = str(error)
            self._job.say(f"shard {shard} was not saved: {error}")

    def _wait_counted(self, heads: Mapping[int, Block]) -> None:
        job = self._job
        live, owned = job.ownership.live(), job.ownership.owned()
        stood = {chain.shard: chain.positions for chain in job.keeping.chains}
        awaited: dict[str, int] = {}
        for shard, head in heads.items():
            for partition, at in head.positions.items():
                # What has not moved, nobody may ever say anything of.
                has_moved = at > stood[shard].get(partition, 0)
                if has_moved and owned.get(partition) in live:
                    awaited[partition] = max(at, awaited.get(partition, at))
        job.members.wait_counted(awaited, _COUNTED_S)


def _summed(parts: list[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for table, rows in part.items():
            total[table] = total.get(table, 0) + rows
    return total
