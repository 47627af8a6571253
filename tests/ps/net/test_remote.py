"""A shard elsewhere is as one here: same bits, same errors, same order, and an end to every wait."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps.block import Cursor
from ps.buckets import dense_owner, even_shard_map
from ps.client import RoutingClient
from ps.clock import SystemClock
from ps.errors import (
    BlockGapError,
    NonFiniteGradientError,
    NotLeadingError,
    PositionGapError,
    PsError,
    ShapeError,
    ShardFaultError,
    ShardUnavailableError,
    SpecError,
    StaleGenerationError,
    TableFullError,
    TokenRefusedError,
    UnknownTableError,
)
from ps.messages import Push, RowGradients
from ps.net.remote import RemoteShard
from ps.net.server import ShardServer
from ps.shard import Shard
from ps.stream import Span
from tests.ps.net.served import DEADLINE_S, TOKEN, HeldShard, remote, serve
from tests.ps.shards import SPEC, make, make_push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ps.block import Block
    from ps.shard_spec import ShardSpec

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
EVERYTHING = {
    name: np.arange(120, dtype=np.uint64)
    | (np.arange(120, dtype=np.uint64) % np.uint64(2) << np.uint64(48))
    for name in ("linear", "factors")
}


def specs(shards: int) -> list[ShardSpec]:
    owners = even_shard_map(shards)
    return [
        replace(
            SPEC,
            shard=number,
            dense=tuple(one for one in SPEC.dense if dense_owner(one.name, owners) == number),
        )
        for number in range(shards)
    ]


@pytest.fixture
def held() -> HeldShard:
    return HeldShard(make())


@pytest.fixture
def server(held: HeldShard) -> Iterator[ShardServer]:
    with serve(held) as server:
        yield server
        held.gate.set()


@pytest.fixture
def handle(server: ShardServer) -> Iterator[RemoteShard]:
    with closing(remote(server)) as handle:
        yield handle


def send(client: RoutingClient, push: Push) -> object:
    return client.push(
        push.span,
        event_ts_us=push.event_ts_us,
        ingest_us=push.ingest_us,
        generation=push.generation,
        rows=push.rows,
        dense=push.dense,
    )


def answered_in_time(call: Callable[[], T]) -> T:
    """What it returns once somebody answers."""
    clock = SystemClock()
    until_s = clock.monotonic_s() + DEADLINE_S
    while True:
        try:
            return call()
        except ShardUnavailableError:
            assert clock.monotonic_s() < until_s


@given(shards=st.integers(1, 3), seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 6))
@settings(max_examples=12)
def test_shards_elsewhere_learn_what_shards_here_learn_bit_for_bit(
    shards: int, seed: int, steps: int
) -> None:
    here = [Shard(spec) for spec in specs(shards)]
    held = [HeldShard(Shard(spec), shards) for spec in specs(shards)]
    with ExitStack() as ends:
        handles = []
        for number, data in enumerate(held):
            server = ends.enter_context(serve(data))
            handles.append(ends.enter_context(closing(remote(server, number, shards))))
        near, far = RoutingClient(here), RoutingClient(handles)
        for step in range(steps):
            push = make_push(seed, step * 10, step * 10 + 10)
            assert send(far, push) == send(near, push)
            expected = near.begin_pull(EVERYTHING, dense=True).result()
            found = far.begin_pull(EVERYTHING, dense=True).result()
            assert list(found.rows) == list(expected.rows)
            assert found.dense.keys() == expected.dense.keys()
            for name, rows in expected.rows.items():
                assert found.rows[name].tobytes() == rows.tobytes()
            for name, value in expected.dense.items():
                assert found.dense[name].tobytes() == value.tobytes()
            assert far.positions() == near.positions()
        assert far.pull(EVERYTHING)["factors"].tobytes() == (
            near.pull(EVERYTHING)["factors"].tobytes()
        )
        assert far.pull_dense().keys() == near.pull_dense().keys()
    assert [data.shard.digest() for data in held] == [shard.digest() for shard in here]


def test_a_client_asks_every_shard_once_for_rows_and_dense_variables() -> None:
    held = [HeldShard(Shard(spec), 2) for spec in specs(2)]
    with ExitStack() as ends:
        handles = [
            ends.enter_context(closing(remote(ends.enter_context(serve(data)), number, 2)))
            for number, data in enumerate(held)
        ]
        RoutingClient(handles).begin_pull(EVERYTHING, dense=True).result()
    assert [data.asked for data in held] == [["pull"], ["pull"]]


def test_what_was_pulled_belongs_to_the_caller(handle: RemoteShard) -> None:
    pulled = handle.begin_pull(EVERYTHING, dense=True).result()
    for array in (*pulled.rows.values(), *pulled.dense.values()):
        array[...] = 7
    again = handle.pull(EVERYTHING)
    assert not (again["factors"] == 7).any()


def test_pushes_under_way_are_applied_in_the_order_begun(
    held: HeldShard, handle: RemoteShard
) -> None:
    pushes = [make_push(3, k * 10, k * 10 + 10) for k in range(40)]
    under_way = [handle.begin_push(push) for push in pushes]
    # Collected elsewhere, and the last first.
    receipts: list[object] = []
    collecting = threading.Thread(
        target=lambda: receipts.extend(one.result() for one in reversed(under_way))
    )
    collecting.start()
    collecting.join(DEADLINE_S)
    assert [push.span for push in held.pushed] == [push.span for push in pushes]
    reference = make()
    assert receipts == [reference.push(push) for push in pushes][::-1]
    assert held.shard.digest() == reference.digest()


def test_order_is_kept_by_many_senders_of_their_own_partitions(
    held: HeldShard, handle: RemoteShard
) -> None:
    partitions = [f"p{k}" for k in range(4)]

    def work(partition: str) -> None:
        ends = [handle.begin_push(make_push(k, k, k + 1, partition=partition)) for k in range(25)]
        assert all(one.result().applied for one in ends)

    threads = [threading.Thread(target=work, args=(partition,)) for partition in partitions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert held.positions() == dict.fromkeys(partitions, 25)
    for partition in partitions:
        begins = [p.span.begin for p in held.pushed if p.span.partition == partition]
        assert begins == list(range(25))


def test_pulls_are_answered_while_pushes_wait(held: HeldShard, handle: RemoteShard) -> None:
    held.gate.clear()
    push = handle.begin_push(make_push(1, 0, 10))
    assert handle.pull(EVERYTHING)["linear"].shape == (120, 1)
    held.gate.set()
    assert push.result().applied


def test_nothing_of_the_arrays_is_needed_once_a_push_has_begun(
    held: HeldShard, handle: RemoteShard
) -> None:
    held.gate.clear()
    push, expected = make_push(1, 0, 10), make()
    expected.push(push)
    under_way = handle.begin_push(push)
    for part in push.rows.values():
        part.grads[...] = 9
    held.gate.set()
    under_way.result()
    assert held.shard.digest() == expected.digest()


def test_a_refused_push_takes_those_behind_it_along_and_nothing_else(
    held: HeldShard, handle: RemoteShard
) -> None:
    held.gate.clear()
    good = handle.begin_push(make_push(1, 0, 10))
    refused = handle.begin_push(make_push(1, 20, 30))
    behind = handle.begin_push(make_push(1, 10, 20))
    held.gate.set()
    assert good.result().applied
    for under_way in (refused, behind):
        with pytest.raises(PositionGapError) as raised:
            under_way.result()
        assert (raised.value.expected, raised.value.begin) == (10, 20)
    assert held.positions() == {"p": 10}
    assert handle.push(make_push(1, 10, 20)).applied


def test_every_refusal_of_a_shard_is_raised_as_itself(held: HeldShard, handle: RemoteShard) -> None:
    fids = np.arange(3, dtype=np.uint64)
    counts = np.ones(3, np.uint32)
    with pytest.raises(UnknownTableError) as unknown:
        handle.pull({"nobody": fids})
    assert unknown.value.known == ["factors", "linear"]
    with pytest.raises(UnknownTableError):
        RoutingClient([handle]).pull({"nobody": fids})
    wide = RowGradients(fids, np.ones((3, 2), np.float32), counts)
    with pytest.raises(ShapeError):
        handle.push(Push(Span("p", 0, 1), 0, rows={"linear": wide}))
    bad = RowGradients(fids, np.full((3, 1), np.nan, np.float32), counts)
    with pytest.raises(NonFiniteGradientError):
        handle.begin_push(Push(Span("p", 0, 1), 0, rows={"linear": bad}))
    with pytest.raises(NonFiniteGradientError):
        handle.begin_push(Push(Span("p", 0, 1), 0, dense={"b": np.full(4, np.inf, np.float32)}))
    many = np.arange(2_000, dtype=np.uint64)
    full = RowGradients(many, np.ones((2_000, 1), np.float32), np.ones(2_000, np.uint32))
    with pytest.raises(TableFullError) as refused:
        handle.push(Push(Span("p", 0, 1), 0, rows={"linear": full}))
    assert (refused.value.table, refused.value.capacity_rows) == ("linear", 500)
    assert handle.positions() == {}
    assert held.shard.digest() == make().digest()


def test_a_fence_keeps_former_owners_out(held: HeldShard, handle: RemoteShard) -> None:
    client = RoutingClient([handle])
    client.fence({"p": 5, "q": 2})
    client.fence({"p": 3})
    with pytest.raises(StaleGenerationError) as raised:
        handle.push(make_push(1, 0, 10, generation=4))
    assert (raised.value.partition, raised.value.current, raised.value.sent) == ("p", 5, 4)
    assert handle.push(make_push(1, 0, 10, generation=5)).applied
    assert client.resume_cuts() == {"p": (10,)}


@pytest.mark.parametrize(("shard", "shards"), [(1, 2), (0, 2), (1, 1)])
def test_whoever_asks_the_wrong_shard_is_told(server: ShardServer, shard: int, shards: int) -> None:
    with closing(remote(server, shard, shards)) as handle:
        for call in (
            lambda: handle.pull(EVERYTHING),
            lambda: handle.push(make_push(1, 0, 10)),
            lambda: handle.fence({"p": 1}),
            handle.positions,
            handle.base,
            lambda: handle.read(Cursor(0, 0), 0.0),
        ):
            with pytest.raises(NotLeadingError):
                call()


def test_one_that_no_longer_leads_still_hands_out_its_blocks(
    held: HeldShard, handle: RemoteShard
) -> None:
    handle.push(make_push(1, 0, 10))
    held.seal()
    held.leading = False
    with pytest.raises(NotLeadingError) as raised:
        handle.push(make_push(1, 10, 20))
    assert raised.value.asked == "push"
    assert [block.epoch for block in handle.read(Cursor(0, 0), 0.0)] == [1]
    assert handle.base().epoch == 1


def test_blocks_read_from_elsewhere_make_the_same_shard(
    held: HeldShard, handle: RemoteShard
) -> None:
    for step in range(5):
        handle.push(make_push(1, step * 10, step * 10 + 10))
        held.seal()
    reader, from_base = make(), make()
    for block in handle.read(reader.cursor, 0.0):
        assert reader.apply(block)
    assert from_base.apply(handle.base())
    assert reader.digest() == from_base.digest() == held.shard.digest()
    assert handle.read(reader.cursor, 0.0) == []
    held.log.forget()
    handle.push(make_push(1, 50, 60))
    held.seal()
    with pytest.raises(BlockGapError) as raised:
        handle.read(Cursor(2, 0), 0.0)
    assert (raised.value.expected, raised.value.found) == (3, 6)


def test_a_block_larger_than_any_piece_arrives_whole() -> None:
    spec = replace(SPEC, tables=(replace(SPEC.tables[1], capacity_rows=300_000),), dense=())
    held = HeldShard(Shard(spec))
    fids = np.arange(200_000, dtype=np.uint64)
    grads = np.random.default_rng(1).standard_normal((200_000, 6), dtype=np.float32)
    rows = RowGradients(fids, grads, np.ones(200_000, np.uint32))
    with serve(held) as server, closing(remote(server)) as handle:
        handle.push(Push(Span("p", 0, 1), 0, rows={"factors": rows}))
        held.seal()
        reader = Shard(spec)
        assert reader.apply(handle.base())
    assert reader.digest() == held.shard.digest()


def test_a_reader_that_waits_is_woken_by_the_next_block(
    held: HeldShard, handle: RemoteShard
) -> None:
    handle.push(make_push(1, 0, 10))
    held.seal()
    found: list[Block] = []
    reading = threading.Thread(target=lambda: found.extend(handle.read(Cursor(1, 0), DEADLINE_S)))
    reading.start()
    handle.push(make_push(1, 10, 20))
    held.seal()
    reading.join(DEADLINE_S)
    assert [block.epoch for block in found] == [2]
    assert handle.read(Cursor(2, 0), 0.05) == []


@pytest.mark.parametrize("token", ["", "another word", TOKEN + "x", TOKEN[:-1]])
def test_without_the_token_nobody_gets_in(held: HeldShard, server: ShardServer, token: str) -> None:
    with closing(remote(server, token=token)) as handle:
        for call in (
            lambda: handle.pull(EVERYTHING),
            lambda: handle.push(make_push(1, 0, 10)),
            lambda: handle.fence({"p": 1}),
            handle.positions,
            handle.base,
            lambda: handle.read(Cursor(0, 0), 0.0),
        ):
            with pytest.raises(TokenRefusedError):
                call()
    assert held.pushed == []


def test_a_token_that_fits_in_no_header_is_refused(held: HeldShard) -> None:
    for token in ("", "a\nb", "é"):
        with pytest.raises(SpecError, match="ASCII"):
            ShardServer(held, token=token)


def test_a_fault_within_the_process_is_told_and_not_passed_off_as_its_death(
    held: HeldShard, handle: RemoteShard
) -> None:
    held.positions = lambda: {}[0]  # type: ignore[method-assign,index]
    with pytest.raises(ShardFaultError, match="KeyError"):
        handle.positions()
    assert not handle.is_unavailable


def test_nobody_there_is_noticed_at_once(server: ShardServer) -> None:
    server.stop()
    with closing(remote(server)) as handle:
        for call in (
            lambda: handle.pull(EVERYTHING),
            lambda: handle.push(make_push(1, 0, 10)),
            handle.positions,
            handle.base,
            lambda: handle.read(Cursor(0, 0), 0.0),
        ):
            with pytest.raises(ShardUnavailableError, match="shard 0 at 127"):
                call()
        assert handle.is_unavailable


def test_one_that_does_not_answer_is_given_up_at_the_deadline(
    held: HeldShard, server: ShardServer
) -> None:
    held.gate.clear()
    clock = SystemClock()
    begin_s = clock.monotonic_s()
    with closing(remote(server, deadline_s=0.3)) as handle:
        first = handle.begin_push(make_push(1, 0, 10))
        second = handle.begin_push(make_push(1, 10, 20))
        for under_way in (second, first):
            with pytest.raises(ShardUnavailableError, match=r"0\.3 s"):
                under_way.result()
        assert clock.monotonic_s() - begin_s < DEADLINE_S / 2
        assert handle.is_unavailable
        held.gate.set()
        answered_in_time(lambda: handle.pull(EVERYTHING))
        assert not handle.is_unavailable


def test_closing_ends_what_is_under_way(held: HeldShard, server: ShardServer) -> None:
    held.gate.clear()
    handle = remote(server)
    push = handle.begin_push(make_push(1, 0, 10))
    failed: list[PsError] = []

    def read() -> None:
        try:
            handle.read(Cursor(0, 0), DEADLINE_S)
        except PsError as error:
            failed.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    handle.close()
    with pytest.raises(ShardUnavailableError, match="closed"):
        push.result()
    reading.join(DEADLINE_S)
    assert [type(error) for error in failed] == [ShardUnavailableError]
    for call in (
        lambda: handle.pull(EVERYTHING),
        lambda: handle.begin_push(make_push(1, 0, 10)),
        handle.positions,
        handle.base,
        handle.close,
    ):
        if call == handle.close:
            call()
        else:
            with pytest.raises(ShardUnavailableError, match="closed"):
                call()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_the_end_of_a_process_is_noticed_within_the_deadline(end: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ps.net.serving_process"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        clock = SystemClock()
        handle = RemoteShard(address, 0, 1, token=TOKEN, clock=clock, deadline_s=DEADLINE_S)
        with closing(handle):
            assert handle.push(make_push(1, 0, 10)).applied
            process.send_signal(end)
            begin_s = clock.monotonic_s()
            push, pull = (
                handle.begin_push(make_push(1, 10, 20)),
                handle.begin_pull(EVERYTHING, dense=True),
            )
            for under_way in (push, pull):
                with pytest.raises(ShardUnavailableError):
                    under_way.result()
            # A process that hangs as a machine would that is gone: told by its silence.
            assert clock.monotonic_s() - begin_s < DEADLINE_S / 2
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def test_a_process_that_came_back_is_found_again(held: HeldShard) -> None:
    first = serve(held)
    first.start()
    port = int(first.address.rpartition(":")[2])
    with closing(remote(first)) as handle:
        assert handle.push(make_push(1, 0, 10)).applied
        first.stop()
        with pytest.raises(ShardUnavailableError):
            handle.push(make_push(1, 10, 20))
        with ShardServer(held, token=TOKEN, port=port):
            receipt = answered_in_time(lambda: handle.push(make_push(1, 10, 20)))
            assert receipt.applied
            assert not handle.is_unavailable


def test_a_port_that_is_taken_is_refused(server: ShardServer, held: HeldShard) -> None:
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(SpecError, match="port"):
        ShardServer(held, token=TOKEN, port=port).start()
