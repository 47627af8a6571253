"""Claims: which process may write to a store. The highest generation wins.

A claim is a file put exclusively under the next generation's name. It holds while its lease is fresh
and its process lives; a later one fences it: every commit first looks for one. So no two processes
are told that they may write, and where a process that was thought dead wakes up, what it still writes
bears an older generation and is never taken for the newest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from ps.errors import (
    CorruptFileError,
    FencedError,
    FileMissingError,
    StoreError,
    StoreInUseError,
    StoreUnavailableError,
)
from ps.store.envelope import Kind, open_record, seal_record
from ps.store.fields import Fields
from ps.store.holder import Holder
from ps.store.identity import ensure_identity
from ps.store.lock import StoreLock
from ps.store.names import CLAIMS, claim_name, generation_of

if TYPE_CHECKING:
    from ps.clock import Clock
    from ps.store.location import Location

_MICROSECONDS = 1_000_000
# How often someone else may be faster before giving up: each time one of them has won.
_ATTEMPTS = 16
# A claim is written again once this part of its lease has gone by.
_RENEWALS_PER_LEASE = 4


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """What a claim's file says. locked: the holder has the lock of a local store, too."""

    generation: int
    holder: Holder
    taken_us: int
    renewed_us: int
    lease_us: int
    locked: bool = False
    released: bool = False

    def is_in_force(self, now_us: int, *, lock_is_free: bool = False) -> bool:
        """Whether its holder may still write; lock_is_free: whoever asks has the store's lock."""
        if self.released or now_us >= self.renewed_us + self.lease_us:
            return False
        if lock_is_free and self.locked and self.holder.is_on_this_kernel():
            return False
        return self.holder.is_running() is not False


def take_claim(
    location: Location,
    holder: Holder,
    *,
    clock: Clock,
    lease_s: float,
    takeover: bool = False,
    above: int = 0,
) -> Claim:
    """Become the store's writer:

    1. stop here where the store is of another version; make the folder a store, if it is none yet
    2. take the lock, where the store is local: if that succeeds, whoever held it is gone
    3. read the newest claim; while it is in force, stop here, unless this is a takeover
    4. put a claim of the next generation, exclusively; where someone was faster, go back to 3
    5. read the claims again: ours is the newest, and still ours

    A crash after 4 leaves a claim whose process is dead. lease_s: how long the claim holds without
    being renewed, for those who cannot see whether the process lives. above: a generation this one
    must exceed even if there is no claim of it (Catalog.newest_cursor()).

    Raises StoreInUseError, naming the holder; ForeignFileError, StoreUnavailableError.
    """
    ensure_identity(location, clock.now_us())  # 1
    lock = StoreLock.try_take(location)  # 2
    try:
        for _ in range(_ATTEMPTS):
            newest, record = _newest(location)  # 3
            is_ours = record is not None and record.holder.token == holder.token
            if record is not None and not is_ours and not takeover:
                _refuse_if_in_force(location, record, clock.now_us(), lock_is_free=lock is not None)
            now_us = clock.now_us()
            own = ClaimRecord(
                generation=max(newest, above) + 1,
                holder=holder,
                taken_us=now_us,
                renewed_us=now_us,
                lease_us=int(lease_s * _MICROSECONDS),
                locked=lock is not None,
            )
            if not location.create(claim_name(own.generation), _encode(own)):  # 4
                continue
            claim = Claim(location, own, clock, lock)
            try:
                claim.check()  # 5
            except FencedError as error:
                raise StoreInUseError(location.url, _newest_holder(location)) from error
            return claim
    except BaseException:
        if lock is not None:
            lock.release()
        raise
    if lock is not None:
        lock.release()
    raise StoreUnavailableError(
        f"store {location.url}: {_ATTEMPTS} other processes took it one after the other; find out "
        "what starts them"
    )


def read_claims(location: Location) -> list[ClaimRecord]:
    """Every claim that can be read, oldest first. Raises StoreUnavailableError."""
    found = []
    for generation in _generations(location):
        record = _read(location, generation)
        if record is not None:
            found.append(record)
    return found


def check_claim(location: Location, name: str) -> None:
    """Read one claim's file and verify it; for ps.store.verify.

    Raises CorruptFileError, ForeignFileError, FileMissingError, StoreUnavailableError.
    """
    record = _decode(location.read(name), name)
    if record.generation != generation_of(name):
        raise CorruptFileError(name, f"holds the claim of generation {record.generation}")


def claim_in_force(location: Location, now_us: int) -> ClaimRecord | None:
    """The claim of the process that writes to a store now, as far as can be seen from here.

    Raises StoreUnavailableError.
    """
    _, record = _newest(location)
    return record if record is not None and record.is_in_force(now_us) else None


def is_of_the_same_job(location: Location, holder: Holder) -> bool:
    """Whether the newest claim is of a process that is called what this one is.

    Such a process may be on a node that is gone, where nobody can see that it is. Whoever knows that
    it has taken that process's place need not wait for its lease. Raises StoreUnavailableError.
    """
    _, record = _newest(location)
    return record is not None and record.holder.who == holder.who


class Claim:
    """The right to write to a store, until someone else takes it. One thread's own.

    generation: what this writer's blocks and commits bear.
    """

    def __init__(
        self, location: Location, record: ClaimRecord, clock: Clock, lock: StoreLock | None
    ) -> None:
        self._location = location
        self._record = record
        self._clock = clock
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def generation(self) -> int:
        """The generation of this claim."""
        return self._record.generation

    def check(self) -> None:
        """Make sure that nobody has taken over.

        Raises FencedError, StoreError where the claim has been deleted, StoreUnavailableError.
        """
        own = self.generation
        newest = max(_generations(self._location), default=0)
        if newest > own:
            raise FencedError(self._location.url, own, newest)
        name = claim_name(own)
        try:
            found = _decode(self._location.read(name), name)
        except CorruptFileError:
            # Nobody's: it is whole again with the next renewal.
            return
        except FileMissingError as error:
            raise StoreError(
                f"{self._location.full_name(name)}, which says that this process may write, has "
                "been deleted; start again once the store is in order"
            ) from error
        if found.holder.token != self._record.holder.token:
            raise FencedError(self._location.url, own, found.generation)

    def renew(self, admin: str | None = None) -> None:
        """Keep the claim fresh, and say where the admin service listens, if that is new.

        Call it with every commit, and more often than the lease is long; writes only where a part of
        the lease has gone by. Raises what check() does.
        """
        now_us = self._clock.now_us()
        holder = self._record.holder
        if admin is not None and admin != holder.admin:
            holder = replace(holder, admin=admin)
        elif now_us - self._record.renewed_us < self._record.lease_us // _RENEWALS_PER_LEASE:
            return
        self._write(replace(self._record, holder=holder, renewed_us=now_us))

    def release(self) -> None:
        """Give the store up, for the next to take at once; again, or once fenced: no effect.

        Raises StoreUnavailableError; then the claim ends with its lease or its process.
        """
        try:
            if not self._record.released:
                self._write(replace(self._record, released=True))
        except FencedError:
            return
        finally:
            if self._lock is not None:
                self._lock.release()

    def _write(self, record: ClaimRecord) -> None:
        self.check()
        self._location.write(claim_name(record.generation), [_encode(record)])
        self._record = record


def _generations(location: Location) -> list[int]:
    """The generations of all claims, damaged ones too, ascending."""
    found = (generation_of(info.name) for info in location.list(CLAIMS))
    return sorted(generation for generation in found if generation is not None)


def _newest(location: Location) -> tuple[int, ClaimRecord | None]:
    """The highest generation (0: none) and its claim; None where that is damaged: it holds nothing,
    but whoever wrote it is fenced by the next.
    """
    generation = max(_generations(location), default=0)
    return generation, _read(location, generation) if generation else None


def _newest_holder(location: Location) -> str:
    generation, record = _newest(location)
    return str(record.holder) if record else f"whoever took generation {generation}"


def _read(location: Location, generation: int) -> ClaimRecord | None:
    name = claim_name(generation)
    try:
        record = _decode(location.read(name), name)
    except (CorruptFileError, FileMissingError):
        return None
    return record if record.generation == generation else None


def _refuse_if_in_force(
    location: Location, record: ClaimRecord, now_us: int, *, lock_is_free: bool
) -> None:
    if record.is_in_force(now_us, lock_is_free=lock_is_free):
        raise StoreInUseError(location.url, str(record.holder))


def _encode(record: ClaimRecord) -> bytes:
    holder = record.holder
    return seal_record(
        Kind.CLAIM,
        [
            record.generation,
            [
                holder.who,
                holder.host,
                holder.pid,
                holder.boot,
                holder.namespace,
                holder.started,
                holder.token,
                holder.admin,
            ],
            record.taken_us,
            record.renewed_us,
            record.lease_us,
            record.locked,
            record.released,
        ],
    )


def _decode(data: bytes, name: str) -> ClaimRecord:
    fields = Fields(name, open_record(Kind.CLAIM, data, name), "claim", 7)
    generation = fields.integer()
    who = fields.inner("holder", 8)
    return ClaimRecord(
        generation=generation,
        holder=Holder(
            who=who.text(),
            host=who.text(),
            pid=who.integer(),
            boot=who.text(),
            namespace=who.text(),
            started=who.integer(),
            token=who.text(),
            admin=who.optional_text(),
        ),
        taken_us=fields.time_us(),
        renewed_us=fields.time_us(),
        lease_us=fields.integer(),
        locked=fields.flag(),
        released=fields.flag(),
    )
