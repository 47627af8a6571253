"""The tree of errors of the parameter server; each carries its facts and says what to do."""

from __future__ import annotations

from typing import Any


class PortableError(Exception):
    """An error that can be pickled with its facts, whatever its __init__ takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Class, message and facts, set again without going through __init__."""
        return _revived, (type(self), self.args), self.__dict__


def _revived(kind: type[PortableError], args: tuple[object, ...]) -> PortableError:
    return kind.__new__(kind, *args)


class PsError(PortableError):
    """Anything the parameter server refuses or fails to do."""


class SpecError(PsError):
    """A specification that cannot work; the message says what to change."""


class UnknownTableError(PsError):
    """A pull or push named a table this shard does not have."""

    def __init__(self, table: str, known: list[str]) -> None:
        self.table = table
        self.known = known
        super().__init__(f"no table {table!r} here; this shard has {', '.join(known) or 'none'}")


class ShapeError(PsError):
    """An array of the wrong shape or dtype; nothing was applied."""


class NonFiniteGradientError(PsError):
    """A push carried a NaN, an infinity or an absurdly large number; nothing was applied."""

    def __init__(self, where: str, limit: float) -> None:
        self.where = where
        self.limit = limit
        super().__init__(
            f"gradient for {where} is not finite or exceeds {limit:g}; the push was dropped whole. "
            "Lower the learning rate or look for bad input in this span."
        )


class TableFullError(PsError):
    """A table reached capacity_rows and may not evict; nothing was applied."""

    def __init__(self, table: str, capacity_rows: int) -> None:
        self.table = table
        self.capacity_rows = capacity_rows
        super().__init__(
            f"table {table!r} is full at {capacity_rows:,} rows; raise capacity_rows, set "
            "on_full: evict, or shorten ttl_s of its slots"
        )


class PositionGapError(PsError):
    """A push begins inside or beyond what the shard expects next; nothing was applied."""

    def __init__(self, partition: str, expected: int, begin: int, end: int) -> None:
        self.partition = partition
        self.expected = expected
        self.begin = begin
        self.end = end
        super().__init__(
            f"push [{begin}, {end}) of partition {partition!r} does not fit: this shard has applied "
            f"up to {expected}; cut batches at the positions the shards report"
        )


class StaleGenerationError(PsError):
    """A push from a worker that no longer owns its partition; nothing was applied."""

    def __init__(self, partition: str, current: int, sent: int) -> None:
        self.partition = partition
        self.current = current
        self.sent = sent
        super().__init__(
            f"partition {partition!r} is owned at generation {current}, the push is of {sent}; "
            "this worker has been replaced and must stop"
        )


class BlockError(PsError):
    """A block that cannot be applied or read."""


class BlockGapError(BlockError):
    """A block that does not follow the reader's cursor: read a base block, then go on."""

    def __init__(self, shard: int, expected: int, found: int) -> None:
        self.shard = shard
        self.expected = expected
        self.found = found
        super().__init__(
            f"shard {shard}: expected epoch {expected}, found {found}; start again from a base block"
        )


class ForeignBlockError(BlockError):
    """A block of another model, shard or generation."""


class CorruptBlockError(BlockError):
    """Bytes that are not a whole, unaltered block."""


class StoreError(PsError):
    """A block store that cannot be read or written."""


class StoreUnavailableError(StoreError):
    """The store did not do what was asked, or not in time; nothing half-written will be read."""


class StoreInUseError(StoreError):
    """Another process writes to the store."""

    def __init__(self, url: str, holder: str) -> None:
        self.url = url
        self.holder = holder
        super().__init__(
            f"store {url} is being written by {holder}; stop that process, or give this job a store "
            "of its own"
        )


class FencedError(StoreError):
    """A writer of a later generation has taken over: this one must stop."""

    def __init__(self, url: str, own: int, newest: int) -> None:
        self.url = url
        self.own = own
        self.newest = newest
        super().__init__(
            f"store {url} has been taken over at generation {newest}, this process writes at "
            f"{own}; it has been replaced and must stop"
        )


class FileMissingError(StoreError):
    """A file of a store that is not there."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        super().__init__(f"{url}/{name} is missing")


class ForeignFileError(StoreError):
    """A whole file of a store, of a version of its format that this program does not read."""

    def __init__(self, name: str, found: int, known: int) -> None:
        self.name = name
        super().__init__(
            f"{name} is of format version {found}, this program reads version {known}; read it with "
            "the release that wrote it"
        )


class CorruptFileError(StoreError):
    """A file of a store that is not whole: cut short, altered, or another file under its name."""

    def __init__(self, name: str, fault: str) -> None:
        self.name = name
        self.fault = fault
        super().__init__(f"{name}: {fault}")


class NoRestorePointError(StoreError):
    """No restore point of the store, or not the one asked for, can be read whole."""


class IncompatibleModelError(StoreError):
    """The job's tables or dense variables are not those of the store.

    differences: one line each.
    """

    def __init__(self, url: str, differences: list[str]) -> None:
        self.url = url
        self.differences = differences
        listed = "\n".join(f"  - {difference}" for difference in differences)
        super().__init__(
            f"the job no longer matches store {url}:\n{listed}\nchange the job back, give it another "
            "store, or name what may begin afresh (trilith train --reset NAME)"
        )


class SealInProgressError(PsError):
    """An epoch is being sealed; gather() it to its end first."""


class JobBusyError(PsError):
    """The job did not come to a moment between two batches within the deadline."""


class NoStoreError(PsError):
    """The job has no block store, so there is nothing to save to or go back to."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        super().__init__(
            f"{asked} needs a block store, and this job has none; add store: {{url: ...}} to the job "
            "file, or run it with --store URL"
        )


class ShardUnavailableError(PsError):
    """A shard's process did not answer, or not in time; what was asked may have taken effect."""

    def __init__(self, where: str, why: str) -> None:
        self.where = where
        self.why = why
        super().__init__(
            f"{where} does not answer ({why}); it is being replaced, or cannot be reached from here"
        )


class NotLeadingError(PsError):
    """A process was asked for what only the leader of that shard does: look at the directory again."""

    def __init__(self, where: str, asked: str, holds: str) -> None:
        self.where = where
        self.asked = asked
        self.holds = holds
        super().__init__(
            f"{where} was asked for {asked}, and {holds}; look up who leads that shard now"
        )


class StaleTermError(PsError):
    """A command of a coordinator that has been replaced; nothing was done."""

    def __init__(self, current: int, sent: int) -> None:
        self.current = current
        self.sent = sent
        super().__init__(
            f"a command of term {sent}, the coordinator's is {current} by now; whoever sent it has "
            "been replaced and must stop"
        )


class CorruptMessageError(PsError):
    """Bytes between processes that are not a whole, unaltered message of this version."""


class TokenRefusedError(PsError):
    """A process does not accept the token of whoever called it."""

    def __init__(self, where: str) -> None:
        self.where = where
        super().__init__(
            f"{where} refuses the token; only processes of one job may call each other, so this one "
            "was started for another, or the address is another job's by now"
        )


class ShardFaultError(PsError):
    """A shard's process failed at what it was asked, by a fault of its own."""

    def __init__(self, asked: str, fault: str) -> None:
        self.asked = asked
        self.fault = fault
        super().__init__(f"{asked} failed within the shard's process ({fault}); see its log")


class CodeMismatchError(PsError):
    """A process of the job runs other code than the rest, and is not used."""

    def __init__(self, where: str, node: str, own: str, found: str) -> None:
        self.where = where
        self.node = node
        self.own = own
        self.found = found
        super().__init__(
            f"{where} on node {node} runs {found}, the job runs {own}; install the same version of "
            "trilith there, under the same Python, and start that node again"
        )
