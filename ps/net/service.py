"""The data service: bytes in, bytes out, and a named refusal where anything is wrong."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

import grpc

from ps.codec import encoded_parts
from ps.errors import PsError, ShardFaultError
from ps.net import connection, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ps.block import Block
    from ps.net.data import Call, ShardData
    from ps.net.messages import Asked

logger = logging.getLogger(__name__)

# Large enough that a message's own cost is small beside it, small enough to be on its way while the
# next is made.
_PIECE_BYTES = 2 << 20

# How long a reader who has gone away may still occupy a thread.
_LONGEST_WAIT_S = 1.0


class DataService:
    """Hands calls on to a shard's process; called by any number of threads."""

    def __init__(self, data: ShardData, token: str) -> None:
        """token: every call must carry it."""
        self._data = data
        self._token = token.encode()

    def handlers(self) -> grpc.GenericRpcHandler:
        """What a gRPC server is given."""
        unary, streamed = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            connection.SERVICE,
            {
                connection.PULL: unary(self.pull),
                connection.PUSH: grpc.stream_stream_rpc_method_handler(self.push),
                connection.FENCE: unary(self.fence),
                connection.POSITIONS: unary(self.positions),
                connection.READ: streamed(self.read),
                connection.BASE: streamed(self.base),
            },
        )

    def pull(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Rows, and dense variables if asked for."""

        def work() -> bytes:
            asked, fids, dense = messages.read_pull_request(request)
            self._check(asked, "pull")
            return messages.pulled_answer(self._data.pull(fids, dense=dense))

        return self._answer("pull", context, work)

    def push(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """One push after another, in the order sent; the first refused is the last looked at."""
        self._admit(context)
        for request in requests:
            try:
                asked, push = messages.read_push_request(request)
                self._check(asked, "push")
                answer = messages.receipt_answer(self._data.push(push))
            except Exception as error:  # noqa: BLE001  # each is logged, and raised at the other end
                yield _refusal("push", error)
                return
            yield answer

    def fence(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Refuse former owners from now on."""

        def work() -> bytes:
            asked, owners = messages.read_fence_request(request)
            self._check(asked, "fence")
            self._data.fence(owners)
            return messages.fenced_answer()

        return self._answer("fence", context, work)

    def positions(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """How far the shard has come."""

        def work() -> bytes:
            self._check(messages.read_positions_request(request), "positions")
            return messages.positions_answer(self._data.positions())

        return self._answer("positions", context, work)

    def read(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """The blocks after a cursor, waiting for the first as long as asked."""
        self._admit(context)
        try:
            asked, after, wait_ms = messages.read_read_request(request)
            self._check(asked, "read")
            left_s = wait_ms / 1_000
            blocks = self._data.read(after, min(left_s, _LONGEST_WAIT_S))
            while not blocks and left_s > _LONGEST_WAIT_S and context.is_active():
                left_s -= _LONGEST_WAIT_S
                blocks = self._data.read(after, min(left_s, _LONGEST_WAIT_S))
        except Exception as error:  # noqa: BLE001  # each is logged, and raised at the other end
            yield _refusal("read", error)
            return
        for block in blocks:
            yield from _pieces("read", block)

    def base(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """The whole state as one block."""
        self._admit(context)
        try:
            self._check(messages.read_base_request(request), "base")
            block = self._data.base()
        except Exception as error:  # noqa: BLE001  # each is logged, and raised at the other end
            yield _refusal("base", error)
            return
        yield from _pieces("base", block)

    def _check(self, asked: Asked, call: Call) -> None:
        self._data.check(asked.shard, asked.shards, call, asked.generation)

    def _answer(
        self, call: Call, context: grpc.ServicerContext, work: Callable[[], bytes]
    ) -> bytes:
        self._admit(context)
        try:
            return work()
        except Exception as error:  # noqa: BLE001  # each is logged, and raised at the other end
            return _refusal(call, error)

    def _admit(self, context: grpc.ServicerContext) -> None:
        """End the call of whoever does not say the token. In constant time, so as not to give hints."""
        said = connection.said_token(context.invocation_metadata())
        if not hmac.compare_digest(said, self._token):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is wrong or missing")


def _pieces(call: Call, block: Block) -> Iterator[bytes]:
    """A block's announcement and its bytes. The block is never in memory twice."""
    try:
        parts = list(encoded_parts(block))
    except PsError as error:
        yield _refusal(call, error)
        return
    yield messages.block_answer(sum(map(len, parts)))
    held: list[bytes | memoryview] = []
    held_bytes = 0
    for part in parts:
        for at in range(0, len(part), _PIECE_BYTES):
            held.append(part[at : at + _PIECE_BYTES])
            held_bytes += len(held[-1])
            if held_bytes >= _PIECE_BYTES:
                yield b"".join(held)
                held, held_bytes = [], 0
    if held:
        yield b"".join(held)


def _refusal(call: Call, error: Exception) -> bytes:
    if isinstance(error, PsError):
        logger.info("%s refused: %s", call, error)
        return messages.refusal(error)
    logger.error("%s failed", call, exc_info=error)
    return messages.refusal(ShardFaultError(call, f"{type(error).__name__}: {error}"))
