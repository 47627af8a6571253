"""What is asked of a shard's process and what it answers, as messages and back.

Whatever reads one raises CorruptMessageError where it is malformed; a reader of an answer raises what
a refusal in its place stands for. Arrays read are views of the message's bytes, and read-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ps.errors import CorruptMessageError, ShapeError
from ps.faults import error_of, facts_of
from ps.messages import Pulled, Push, PushReceipt, RowGradients
from ps.net.wire import F32, U32, U64, Kind, Message, little, seal_message
from ps.stream import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ps.arrays
    from ps.block import Cursor
    from ps.errors import PsError
    from ps.store.fields import Fields
    from ps.stream import Positions

# Far above any real model; a bound on what a head may claim.
_MAX_RANK = 32


class Asked(NamedTuple):
    """Which shard a request is for, of how many.

    generation: at which it must lead, for a call that only a leader answers; None: at any.
    """

    shard: int
    shards: int
    generation: int | None = None


def pull_request(asked: Asked, fids: Mapping[str, ps.arrays.U64], *, dense: bool) -> bytes:
    """fids: uint64[n] by table. Raises ShapeError."""
    arrays = []
    for table, wanted in fids.items():
        if wanted.ndim != 1:
            raise ShapeError(f"fids of table {table!r} are {list(wanted.shape)}; give uint64[n]")
        arrays.append(little(wanted, U64, f"fids of table {table!r}"))
    tables = [[table, wanted.size] for table, wanted in fids.items()]
    return seal_message(Kind.PULL, [*asked, tables, dense], arrays)


def read_pull_request(data: bytes) -> tuple[Asked, dict[str, ps.arrays.U64], bool]:
    """What pull_request() was given."""
    message = Message(data, Kind.PULL)
    with message.reading(5) as head:
        asked = _asked(head)
        fids: dict[str, ps.arrays.U64] = {}
        for entry in head.entries("tables", 2):
            table = _new_name(entry, fids)
            fids[table] = message.array(U64, entry.integer())
        dense = head.flag()
    return asked, fids, dense


def pulled_answer(pulled: Pulled) -> bytes:
    """Raises ShapeError."""
    tables, dense, arrays = [], [], []
    for table, rows in pulled.rows.items():
        if rows.ndim != 2:
            raise ShapeError(f"rows of table {table!r} are {list(rows.shape)}")
        tables.append([table, *rows.shape])
        arrays.append(little(rows, F32, f"rows of table {table!r}"))
    for name, value in pulled.dense.items():
        dense.append([name, list(value.shape)])
        arrays.append(little(value, F32, f"dense variable {name!r}"))
    return seal_message(Kind.PULLED, [tables, dense], arrays)


def read_pulled_answer(data: bytes) -> Pulled:
    """What pulled_answer() was given."""
    message = _answer(data, Kind.PULLED)
    with message.reading(2) as head:
        rows: dict[str, ps.arrays.F32] = {}
        for entry in head.entries("tables", 3):
            table = _new_name(entry, rows)
            rows[table] = message.array(F32, entry.integer(), entry.integer())
        return Pulled(rows, _read_dense(message, head))


def push_request(asked: Asked, push: Push) -> bytes:
    """Raises ShapeError where arrays do not belong together."""
    tables, dense, arrays = [], [], []
    for table, part in push.rows.items():
        rows = part.fids.size
        shapes = (part.fids.shape, part.grads.shape[:1], part.counts.shape)
        if part.grads.ndim != 2 or shapes != ((rows,),) * 3:
            raise ShapeError(
                f"table {table!r}: fids {list(part.fids.shape)}, grads {list(part.grads.shape)} and "
                f"counts {list(part.counts.shape)} do not belong together; give uint64[n], "
                "float32[n, width], uint32[n]"
            )
        tables.append([table, *part.grads.shape])
        arrays += [
            little(part.fids, U64, f"fids of table {table!r}"),
            little(part.grads, F32, f"gradients of table {table!r}"),
            little(part.counts, U32, f"counts of table {table!r}"),
        ]
    for name, grad in push.dense.items():
        dense.append([name, list(grad.shape)])
        arrays.append(little(grad, F32, f"gradient of dense variable {name!r}"))
    span = push.span
    head = [
        *asked,
        [span.partition, span.begin, span.end],
        push.event_ts_us,
        push.ingest_us,
        push.generation,
        tables,
        dense,
    ]
    return seal_message(Kind.PUSH, head, arrays)


def read_push_request(data: bytes) -> tuple[Asked, Push]:
    """What push_request() was given."""
    message = Message(data, Kind.PUSH)
    with message.reading(9) as head:
        asked = _asked(head)
        at = head.inner("span", 3)
        span = Span(at.text(), at.integer(), at.integer())
        event_ts_us = head.time_us()
        ingest_us = head.optional_time_us()
        generation = head.integer()
        rows: dict[str, RowGradients] = {}
        for entry in head.entries("tables", 3):
            table = _new_name(entry, rows)
            n, width = entry.integer(), entry.integer()
            rows[table] = RowGradients(
                message.array(U64, n), message.array(F32, n, width), message.array(U32, n)
            )
        dense = _read_dense(message, head)
        return asked, Push(span, event_ts_us, ingest_us, generation, rows=rows, dense=dense)


def receipt_answer(receipt: PushReceipt) -> bytes:
    """What a push did."""
    fields = [receipt.applied, receipt.rows_created, receipt.rows_refused]
    return seal_message(Kind.RECEIPT, fields)


def read_receipt_answer(data: bytes) -> PushReceipt:
    """What receipt_answer() was given."""
    with _answer(data, Kind.RECEIPT).reading(3) as head:
        return PushReceipt(head.flag(), head.integer(), head.integer())


def fence_request(asked: Asked, owners: Mapping[str, int]) -> bytes:
    """owners: by partition, the generation of its owner."""
    return seal_message(Kind.FENCE, [*asked, sorted(owners.items())])


def read_fence_request(data: bytes) -> tuple[Asked, dict[str, int]]:
    """What fence_request() was given."""
    with Message(data, Kind.FENCE).reading(4) as head:
        return _asked(head), _numbers(head, "owners")


def fenced_answer() -> bytes:
    """The fence stands."""
    return seal_message(Kind.FENCED, [])


def read_fenced_answer(data: bytes) -> None:
    """Nothing, where it is one."""
    with _answer(data, Kind.FENCED).reading(0):
        pass


def positions_request(asked: Asked) -> bytes:
    """How far has the shard come?"""
    return seal_message(Kind.POSITIONS, [*asked])


def read_positions_request(data: bytes) -> Asked:
    """What positions_request() was given."""
    with Message(data, Kind.POSITIONS).reading(3) as head:
        return _asked(head)


def positions_answer(positions: Positions) -> bytes:
    """By partition, the first offset not applied."""
    return seal_message(Kind.REACHED, [sorted(positions.items())])


def read_positions_answer(data: bytes) -> Positions:
    """What positions_answer() was given."""
    with _answer(data, Kind.REACHED).reading(1) as head:
        return _numbers(head, "positions")


def read_request(asked: Asked, after: Cursor, wait_ms: int) -> bytes:
    """The blocks after a cursor, waiting so long for the first."""
    return seal_message(Kind.READ, [*asked, list(after), wait_ms])


def read_read_request(data: bytes) -> tuple[Asked, Cursor, int]:
    """What read_request() was given."""
    with Message(data, Kind.READ).reading(5) as head:
        return _asked(head), head.inner("cursor", 2).cursor(), head.integer()


def base_request(asked: Asked) -> bytes:
    """The whole state as one block."""
    return seal_message(Kind.BASE, [*asked])


def read_base_request(data: bytes) -> Asked:
    """What base_request() was given."""
    with Message(data, Kind.BASE).reading(3) as head:
        return _asked(head)


def block_answer(n_bytes: int) -> bytes:
    """A block of so many bytes comes next, in pieces of any size (ps.codec)."""
    return seal_message(Kind.BLOCK, [n_bytes])


def read_block_answer(data: bytes) -> int:
    """What block_answer() was given."""
    with _answer(data, Kind.BLOCK).reading(1) as head:
        return head.integer()


def refusal(error: PsError) -> bytes:
    """An answer of any kind that did not come about."""
    kind, facts = facts_of(error)
    return seal_message(Kind.REFUSAL, [kind, str(error), facts])


def _answer(data: bytes, kind: Kind) -> Message:
    """The answer, or raise the error that was sent in its place."""
    message = Message(data, kind, Kind.REFUSAL)
    if message.kind is not Kind.REFUSAL:
        return message
    with message.reading(3) as head:
        error = error_of(head.text(), head.text(), head.octets())
    raise error


def _asked(head: Fields) -> Asked:
    return Asked(head.integer(), head.integer(least=1), head.optional_integer())


def _new_name(entry: Fields, before: Mapping[str, object]) -> str:
    name = entry.text()
    if name in before:
        raise CorruptMessageError(f"a message names {name!r} twice")
    return name


def _numbers(head: Fields, what: str) -> dict[str, int]:
    return {name: entry.integer() for name, entry in head.named(what, 2)}


def _read_dense(message: Message, head: Fields) -> dict[str, ps.arrays.F32]:
    dense: dict[str, ps.arrays.F32] = {}
    for entry in head.entries("dense", 2):
        name = _new_name(entry, dense)
        shape = entry.inner("shape")
        if shape.length > _MAX_RANK:
            raise CorruptMessageError(f"dense variable {name!r} of rank {shape.length}")
        dense[name] = message.array(F32, *(shape.integer() for _ in range(shape.length)))
    return dense
