"""A shard elsewhere: a handle that carries the calls to the process that holds it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from ps.codec import decode_block
from ps.errors import CorruptMessageError, PsError, ShardUnavailableError, TokenRefusedError
from ps.gradients import check_gradient
from ps.messages import Pulled
from ps.net import connection, messages
from ps.net.allocator import keep_freed_memory
from ps.net.messages import Asked
from ps.net.pushes import PushStream
from ps.table.arrays import for_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ps.arrays import F32, U64
    from ps.block import Block, Cursor
    from ps.clock import Clock
    from ps.messages import Push, PushReceipt
    from ps.net.pushes import PushUnderWay
    from ps.stream import Positions

# A base is as large as the shard: at the pace of a slow network, 100 GB in half an hour.
_BASE_DEADLINE_S = 1_800.0


class RemoteShard:
    """ShardHandle over a connection of its own, and what readers of blocks need. Safe to use from many
    threads.

    Every call raises what the shard raises, and ShardUnavailableError where it does not answer within
    the deadline, or its process or machine is gone; then what was asked may have taken effect.
    TokenRefusedError where it belongs to another job, CorruptMessageError where what came is no
    answer.
    """

    def __init__(
        self,
        address: str,
        shard: int,
        shards: int,
        *,
        token: str,
        clock: Clock,
        deadline_s: float = 10.0,
        generation: int | None = None,
    ) -> None:
        """address: host:port of its data service. shard, shards: which of how many it must hold.

        generation: at which it must lead, to be pulled from and pushed to; None: at any.

        The process keeps freed memory from now on (ps.net.allocator).
        """
        keep_freed_memory()
        self.address = address
        self.shard = shard
        self._where = f"shard {shard} at {address}"
        self._asked = Asked(shard, shards, generation)
        self._clock = clock
        self._deadline_s = deadline_s
        self._unavailable = False
        self._metadata = connection.credentials(token)
        self._channel = grpc.insecure_channel(address, connection.CLIENT_OPTIONS)
        unary, streamed = self._channel.unary_unary, self._channel.unary_stream
        self._pull: Any = unary(connection.path(connection.PULL))
        self._push: Any = self._channel.stream_stream(connection.path(connection.PUSH))
        self._fence: Any = unary(connection.path(connection.FENCE))
        self._positions: Any = unary(connection.path(connection.POSITIONS))
        self._read: Any = streamed(connection.path(connection.READ))
        self._base: Any = streamed(connection.path(connection.BASE))
        self._changing = threading.Lock()
        self._pushes: PushStream | None = None
        self._closed = False

    @property
    def is_unavailable(self) -> bool:
        """Whether a call has found nobody there, and none was answered since."""
        return self._unavailable

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        """See ShardHandle."""
        return dict(self.begin_pull(fids, dense=False).result().rows)

    def pull_dense(self) -> dict[str, F32]:
        """See ShardHandle."""
        return dict(self.begin_pull({}, dense=True).result().dense)

    def push(self, push: Push) -> PushReceipt:
        """See ShardHandle."""
        return self.begin_push(push).result()

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> _PullUnderWay:
        """See ShardHandle; any number may be under way."""
        request = messages.pull_request(self._asked, fids, dense=dense)
        return _PullUnderWay(self, self._begin(self._pull, request))

    def begin_push(self, push: Push) -> PushUnderWay:
        """See ShardHandle; nothing of the arrays is needed any more once it returns.

        How many may be under way is for the caller to bound. Numbers that no shard would take are
        refused here, so that they stop no push begun after.
        """
        for table, part in push.rows.items():
            check_gradient(f"table {table!r}", part.grads)
        for name, grad in push.dense.items():
            check_gradient(f"dense variable {name!r}", grad)
        request = messages.push_request(self._asked, push)
        deadline_s = self._clock.monotonic_s() + self._deadline_s
        with self._changing:
            under_way = None if self._pushes is None else self._pushes.begin(request, deadline_s)
            while under_way is None:
                if self._closed:
                    raise self._gone("this handle was closed")
                self._pushes = PushStream(
                    self._open_pushes, self._named, self._answered, self._clock
                )
                under_way = self._pushes.begin(request, deadline_s)
        return under_way

    def fence(self, owners: Mapping[str, int]) -> None:
        """See ShardHandle."""
        request = messages.fence_request(self._asked, owners)
        messages.read_fenced_answer(self.collect(self._begin(self._fence, request)))

    def positions(self) -> Positions:
        """See ShardHandle."""
        request = messages.positions_request(self._asked)
        return messages.read_positions_answer(self.collect(self._begin(self._positions, request)))

    def read(self, after: Cursor, wait_s: float) -> list[Block]:
        """Blocks that follow a cursor, in order; waits up to wait_s for the first, none if none came.

        Raises BlockGapError, ForeignBlockError: start from base(); CorruptBlockError.
        """
        request = messages.read_request(self._asked, after, int(wait_s * 1_000))
        return list(self._blocks(self._read, request, wait_s + self._deadline_s))

    def base(self) -> Block:
        """The whole state as of a sealed epoch. Raises CorruptBlockError."""
        request = messages.base_request(self._asked)
        blocks = list(self._blocks(self._base, request, _BASE_DEADLINE_S))
        if len(blocks) != 1:
            raise CorruptMessageError(f"{self._where} sent {len(blocks)} blocks for a base")
        return blocks[0]

    def close(self) -> None:
        """End the connection; calls under way fail. May be called again."""
        with self._changing:
            self._closed = True
            pushes = self._pushes
        if pushes is not None:
            pushes.end(self._gone("this handle was closed"))
        self._channel.close()

    def collect(self, call: Any) -> bytes:
        """What comes of a call under way."""
        try:
            answer: bytes = call.result()
        except grpc.RpcError as error:
            raise self._named(error) from error
        except grpc.FutureCancelledError as error:
            raise self._gone("this handle was closed") from error
        self._answered()
        return answer

    def _begin(self, method: Any, request: bytes) -> Any:
        try:
            return method.future(request, timeout=self._deadline_s, metadata=self._metadata)
        except ValueError as error:  # gRPC's word for a channel that was closed
            raise self._gone("this handle was closed") from error

    def _open_pushes(self, requests: Iterator[bytes]) -> Any:
        try:
            return self._push(requests, metadata=self._metadata)
        except ValueError as error:
            raise self._gone("this handle was closed") from error

    def _blocks(self, method: Any, request: bytes, deadline_s: float) -> Iterator[Block]:
        try:
            frames = method(request, timeout=deadline_s, metadata=self._metadata)
        except ValueError as error:  # as in _begin
            raise self._gone("this handle was closed") from error
        try:
            for announced in frames:
                yield self._block(messages.read_block_answer(announced), frames)
        except grpc.RpcError as error:
            raise self._named(error, deadline_s) from error
        finally:
            frames.cancel()
        self._answered()

    def _block(self, n_bytes: int, frames: Iterator[bytes]) -> Block:
        try:
            data = np.empty(n_bytes, dtype=np.uint8).data
        except (MemoryError, ValueError) as error:
            raise CorruptMessageError(
                f"{self._where} announces a block of {n_bytes:,} bytes, more than there is memory for"
            ) from error
        at = 0
        while at < n_bytes:
            piece = next(frames, b"")
            if not 0 < len(piece) <= n_bytes - at:
                raise CorruptMessageError(
                    f"{self._where} sent {len(piece)} bytes at {at} of a block of {n_bytes}"
                )
            data[at : at + len(piece)] = piece
            at += len(piece)
        return decode_block(data)

    def _named(self, error: grpc.RpcError | None, deadline_s: float | None = None) -> PsError:
        """The error of ours that a gRPC error means; None: nothing was heard in time."""
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        if error is None:
            return self._gone(f"no answer within {deadline_s:g} s")
        # Every error of a call is a grpc.Call as well, which its type cannot say.
        call: Any = error
        code: grpc.StatusCode = call.code()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return TokenRefusedError(self._where)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._gone(f"no answer within {deadline_s:g} s")
        return self._gone(f"{code.name.lower()}: {call.details()}")

    def _answered(self) -> None:
        self._unavailable = False

    def _gone(self, why: str) -> ShardUnavailableError:
        self._unavailable = True
        return ShardUnavailableError(self._where, why)


@dataclass(frozen=True, slots=True)
class _PullUnderWay:
    """A pull that was sent."""

    remote: RemoteShard
    call: Any

    def result(self) -> Pulled:
        """The rows. The bytes came for this call alone, so the caller may write to them."""
        pulled = messages.read_pulled_answer(self.remote.collect(self.call))
        return Pulled(
            {table: for_kernel(rows) for table, rows in pulled.rows.items()},
            {name: for_kernel(value) for name, value in pulled.dense.items()},
        )
