"""Messages between processes: whatever is sent arrives, and what was altered on the way does not."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import ps.errors
from ps.block import Cursor
from ps.errors import CorruptMessageError, PsError, ShapeError, StaleGenerationError
from ps.messages import Pulled, Push, PushReceipt, RowGradients
from ps.net import messages
from ps.net.messages import Asked
from ps.net.wire import MAGIC, VERSION, Kind, seal_message
from ps.stream import Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.arrays import F32

_U63 = (1 << 63) - 1
numbers = st.integers(0, _U63)
times = st.integers(-_U63, _U63)
names = st.text(max_size=8)
askers = st.builds(Asked, numbers, st.integers(1, _U63), st.none() | numbers)
sizes = st.integers(0, 5)


def floats(draw: st.DrawFn, *shape: int) -> F32:
    """Any bits: also those of NaN with a payload, and of -0."""
    seed = draw(st.integers(0, 2**32 - 1))
    bits = np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)
    return bits.view(np.float32)


def dense_of(draw: st.DrawFn) -> dict[str, F32]:
    shapes = draw(st.dictionaries(names, st.lists(sizes, max_size=3), max_size=3))
    return {name: floats(draw, *shape) for name, shape in shapes.items()}


@st.composite
def pushes(draw: st.DrawFn) -> Push:
    begin = draw(st.integers(0, _U63 - 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = {}
    for table in draw(st.lists(names, max_size=3, unique=True)):
        n, width = draw(sizes), draw(sizes)
        fids = rng.integers(0, 2**64, n, dtype=np.uint64)
        counts = rng.integers(0, 2**32, n, dtype=np.uint32)
        rows[table] = RowGradients(fids, floats(draw, n, width), counts)
    return Push(
        Span(draw(names), begin, begin + draw(st.integers(0, 9))),
        draw(times),
        draw(st.none() | times),
        draw(numbers),
        rows=rows,
        dense=dense_of(draw),
    )


@st.composite
def answers(draw: st.DrawFn) -> Pulled:
    tables = draw(st.dictionaries(names, st.tuples(sizes, sizes), max_size=3))
    rows = {table: floats(draw, *shape) for table, shape in tables.items()}
    return Pulled(rows, dense_of(draw))


def same(found: Any, expected: Any) -> bool:
    """Equal bit by bit, of one dtype and shape, and in one order."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in expected)
    if isinstance(expected, np.ndarray):
        shaped = (found.dtype, found.shape) == (expected.dtype, expected.shape)
        return bool(shaped and found.tobytes() == expected.tobytes())
    if hasattr(expected, "__slots__"):
        return all(same(getattr(found, k), getattr(expected, k)) for k in expected.__slots__)
    return bool(found == expected)


@given(askers, pushes())
def test_any_push_survives_its_bytes(asked: Asked, push: Push) -> None:
    found_asked, found = messages.read_push_request(messages.push_request(asked, push))
    assert found_asked == asked
    assert same(found, push)


@given(askers, st.dictionaries(names, st.lists(st.integers(0, 2**64 - 1))), st.booleans())
def test_any_pull_survives_its_bytes(
    asked: Asked, wanted: dict[str, list[int]], dense: bool
) -> None:
    fids = {table: np.array(some, dtype=np.uint64) for table, some in wanted.items()}
    data = messages.pull_request(asked, fids, dense=dense)
    found_asked, found, found_dense = messages.read_pull_request(data)
    assert (found_asked, found_dense) == (asked, dense)
    assert same(found, fids)


@given(answers())
def test_anything_pulled_survives_its_bytes(pulled: Pulled) -> None:
    assert same(messages.read_pulled_answer(messages.pulled_answer(pulled)), pulled)


@given(askers, st.dictionaries(names, numbers), numbers, numbers, numbers)
def test_all_small_messages_survive_their_bytes(
    asked: Asked, owners: dict[str, int], epoch: int, generation: int, wait_ms: int
) -> None:
    fence = messages.fence_request(asked, owners)
    assert messages.read_fence_request(fence) == (asked, owners)
    assert messages.read_positions_request(messages.positions_request(asked)) == asked
    assert messages.read_positions_answer(messages.positions_answer(owners)) == owners
    assert messages.read_base_request(messages.base_request(asked)) == asked
    after = Cursor(epoch, generation)
    read = messages.read_request(asked, after, wait_ms)
    assert messages.read_read_request(read) == (asked, after, wait_ms)
    assert messages.read_block_answer(messages.block_answer(epoch)) == epoch
    receipt = PushReceipt(applied=bool(epoch & 1), rows_created=epoch, rows_refused=generation)
    assert messages.read_receipt_answer(messages.receipt_answer(receipt)) == receipt
    messages.read_fenced_answer(messages.fenced_answer())


ROWS = RowGradients(
    np.arange(5, dtype=np.uint64), np.ones((5, 3), np.float32), np.ones(5, np.uint32)
)
PUSH = messages.push_request(
    Asked(0, 1), Push(Span("p", 0, 5), 1, rows={"t": ROWS}, dense={"b": np.ones(3, np.float32)})
)
READERS: dict[Kind, Callable[[bytes], object]] = {
    Kind.PULL: messages.read_pull_request,
    Kind.PUSH: messages.read_push_request,
    Kind.FENCE: messages.read_fence_request,
    Kind.POSITIONS: messages.read_positions_request,
    Kind.READ: messages.read_read_request,
    Kind.BASE: messages.read_base_request,
    Kind.PULLED: messages.read_pulled_answer,
    Kind.RECEIPT: messages.read_receipt_answer,
    Kind.FENCED: messages.read_fenced_answer,
    Kind.REACHED: messages.read_positions_answer,
    Kind.BLOCK: messages.read_block_answer,
}


def test_a_flipped_bit_anywhere_is_found() -> None:
    for at in range(len(PUSH)):
        for bit in range(8):
            altered = bytearray(PUSH)
            altered[at] ^= 1 << bit
            with pytest.raises(CorruptMessageError):
                messages.read_push_request(bytes(altered))


def test_a_message_cut_anywhere_or_grown_is_found() -> None:
    for length in range(len(PUSH)):
        with pytest.raises(CorruptMessageError):
            messages.read_push_request(PUSH[:length])
    with pytest.raises(CorruptMessageError):
        messages.read_push_request(PUSH + bytes(8))


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=100))
def test_no_bytes_do_worse_than_be_refused(kind: Kind, data: bytes) -> None:
    with pytest.raises(CorruptMessageError):
        READERS[kind](data)


def forged(kind: Kind, head: bytes, body: bytes) -> bytes:
    """A message of any content whose checksum is right."""
    pad = -(16 + len(head)) % 8
    prelude = struct.pack("<2sBBIQ", MAGIC, VERSION, kind, len(head), len(body))
    content = prelude + head + bytes(pad) + body
    return content + struct.pack("<Q", xxhash.xxh3_64_intdigest(content))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(st.sampled_from(sorted(READERS)), st.lists(anything, max_size=8), st.binary(max_size=64))
def test_a_whole_message_that_makes_no_sense_is_refused(
    kind: Kind, head: list[object], body: bytes
) -> None:
    with suppress(CorruptMessageError):
        READERS[kind](forged(kind, msgpack.packb(head), body))


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=40), st.binary(max_size=64))
def test_a_head_that_is_no_msgpack_is_refused(kind: Kind, head: bytes, body: bytes) -> None:
    with suppress(CorruptMessageError):
        READERS[kind](forged(kind, head, body))


@pytest.mark.parametrize(
    "tables",
    [
        [["t", 1 << 62, 1 << 62]],
        [["t", 0, 1 << 62]],
        [["t", 1 << 62, 0]],
        [["t", 1, 1]],
        [["t", 0, 0], ["t", 0, 0]],
        [["t", -1, 1]],
    ],
)
def test_sizes_that_the_bytes_do_not_bear_out_are_refused(tables: list[object]) -> None:
    with pytest.raises(CorruptMessageError):
        messages.read_pulled_answer(seal_message(Kind.PULLED, [tables, []]))
    head = [0, 1, ["p", 0, 1], 0, None, 0, tables, []]
    with pytest.raises(CorruptMessageError):
        messages.read_push_request(seal_message(Kind.PUSH, head))


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(CorruptMessageError):
        messages.read_push_request(seal_message(Kind.PUSH, [0, 1, ["p", 2, 1], 0, None, 0, [], []]))


def test_another_version_is_refused_by_name() -> None:
    other = bytearray(PUSH)
    other[2] = VERSION + 1
    with pytest.raises(CorruptMessageError, match="one release"):
        messages.read_push_request(bytes(other))


def test_arrays_of_the_wrong_kind_are_not_sent() -> None:
    fids, grads, counts = ROWS.fids, ROWS.grads, ROWS.counts
    for rows in (
        RowGradients(fids.astype(np.int64), grads, counts),
        RowGradients(fids, grads.astype(np.float64), counts),
        RowGradients(fids, grads, counts.astype(np.int32)),
        RowGradients(fids, grads[:2], counts),
        RowGradients(fids, grads, counts[:2]),
        RowGradients(fids, grads[:, 0], counts),
    ):
        with pytest.raises(ShapeError):
            messages.push_request(Asked(0, 1), Push(Span("p", 0, 1), 0, rows={"t": rows}))
    with pytest.raises(ShapeError):
        messages.push_request(Asked(0, 1), Push(Span("p", 0, 1 << 70), 0))


def test_strided_arrays_arrive_in_order() -> None:
    grads = np.arange(30, dtype=np.float32).reshape(3, 10).T[::2]
    push = Push(Span("p", 0, 1), 0, rows={"t": RowGradients(ROWS.fids, grads, ROWS.counts)})
    _, found = messages.read_push_request(messages.push_request(Asked(0, 1), push))
    assert np.array_equal(found.rows["t"].grads, grads)


def every_error() -> list[PsError]:
    facts: dict[str, object] = {"int": 7, "float": 0.5, "str": "text", "list[str]": ["a", "b"]}
    made = []
    for kind in vars(ps.errors).values():
        if isinstance(kind, type) and issubclass(kind, PsError):
            taken = getattr(kind.__init__, "__annotations__", {})
            arguments = [facts[one] for name, one in taken.items() if name != "return"]
            made.append(kind(*(arguments or ["what to do"])))
    return made


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_errors_cross_with_their_facts(error: PsError) -> None:
    with pytest.raises(PsError) as raised:
        messages.read_receipt_answer(messages.refusal(error))
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert vars(raised.value) == vars(error)


def test_a_refusal_is_an_answer_of_any_kind() -> None:
    refused = messages.refusal(StaleGenerationError("p", 3, 2))
    for kind, read in READERS.items():
        if kind >= Kind.PULLED:
            with pytest.raises(StaleGenerationError):
                read(refused)
        else:
            with pytest.raises(CorruptMessageError):
                read(refused)
