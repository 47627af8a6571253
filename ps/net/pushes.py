"""Pushes on their way to one shard, in the order begun: one stream of calls and answers.

One stream rather than a call for each: a server carries out calls of one connection in any order,
on as many threads as it has, and a push that overtakes another leaves a gap.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc

from ps.errors import CorruptMessageError, PsError
from ps.net.messages import read_receipt_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ps.clock import Clock
    from ps.messages import PushReceipt


class PushUnderWay:
    """A push that was sent, or is about to be."""

    def __init__(self, stream: PushStream, receipt: Future[PushReceipt], deadline_s: float) -> None:
        self._stream = stream
        self._receipt = receipt
        self._deadline_s = deadline_s

    def result(self) -> PushReceipt:
        """Its receipt; raises what the shard raised, or ShardUnavailableError."""
        return self._stream.wait_for(self._receipt, self._deadline_s)


class PushStream:
    """One stream, until a push is refused or the connection breaks; then all on it fail together.

    open_stream: begins the gRPC call. named: our error for gRPC's, or for nothing heard in time.
    heard: called whenever the shard has answered.
    Safe to use from many threads.
    """

    def __init__(
        self,
        open_stream: Callable[[Iterator[bytes]], Any],
        named: Callable[[grpc.RpcError | None], PsError],
        heard: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._named = named
        self._heard = heard
        self._clock = clock
        self._changing = threading.Lock()
        self._under_way: deque[Future[PushReceipt]] = deque()
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._over = False
        self._call = open_stream(iter(self._requests.get, None))
        threading.Thread(target=self._collect, name="receipts", daemon=True).start()

    def begin(self, request: bytes, deadline_s: float) -> PushUnderWay | None:
        """Send a push, to be answered by a reading of the clock; None where the stream is over."""
        receipt: Future[PushReceipt] = Future()
        with self._changing:
            if self._over:
                return None
            self._under_way.append(receipt)
            self._requests.put(request)
        return PushUnderWay(self, receipt, deadline_s)

    def wait_for(self, receipt: Future[PushReceipt], deadline_s: float) -> PushReceipt:
        """The receipt, once it is there. What is not there in time ends the stream."""
        try:
            return receipt.result(max(0.0, deadline_s - self._clock.monotonic_s()))
        except TimeoutError:
            self.end(self._named(None))
        return receipt.result()

    def end(self, error: PsError) -> None:
        """Fail what is under way, which may have taken effect; no effect where the stream is over."""
        with self._changing:
            if self._over:
                return
            self._over = True
            left = list(self._under_way)
            self._under_way.clear()
        for receipt in left:
            receipt.set_exception(error)
        self._requests.put(None)
        self._call.cancel()

    def _collect(self) -> None:
        """Receive receipts until the stream is over; a thread's whole business."""
        try:
            for answer in self._call:
                self._heard()
                self._settle(answer)
        except grpc.RpcError as error:
            self.end(self._named(error))
        except PsError as error:
            self.end(error)
        else:
            self.end(CorruptMessageError("a stream of pushes ended, and no push was refused"))

    def _settle(self, answer: bytes) -> None:
        """Answer the oldest push under way. Raises what it was refused with, the push still there."""
        receipt = read_receipt_answer(answer)
        with self._changing:
            if not self._under_way:
                if self._over:
                    return
                raise CorruptMessageError("a receipt came for a push that was not sent")
            oldest = self._under_way.popleft()
        oldest.set_result(receipt)
