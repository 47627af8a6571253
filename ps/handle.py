"""What a worker may ask of a shard, wherever it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, U64
    from ps.messages import Pulled, Push, PushReceipt
    from ps.stream import Positions

T_co = TypeVar("T_co", covariant=True)


class Pending(Protocol[T_co]):
    """A call under way. Begun in one thread, it may be collected in another."""

    def result(self) -> T_co:
        """What the call returns, once it does, or raise what it raised; to be called once."""
        ...


class Done(Pending[T_co]):
    """A call that was carried out at once."""

    __slots__ = ("_result",)

    def __init__(self, result: T_co) -> None:
        self._result = result

    def result(self) -> T_co:
        """What it returned."""
        return self._result


class ShardHandle(Protocol):
    """A shard in this process, or a stand-in that carries the call to one elsewhere.

    Every call takes effect once or raises an error of ps.errors. What begins a call may raise right
    away what the call raises.
    """

    def pull(self, fids: Mapping[str, U64]) -> dict[str, F32]:
        """Rows by table: fids uint64[n] -> float32[n, width], owned by the caller. No side effect."""
        ...

    def pull_dense(self) -> dict[str, F32]:
        """The dense variables this shard holds, by name; copies owned by the caller."""
        ...

    def push(self, push: Push) -> PushReceipt:
        """Apply one batch's gradients once."""
        ...

    def begin_pull(self, fids: Mapping[str, U64], *, dense: bool) -> Pending[Pulled]:
        """pull(), and pull_dense() where dense is asked for, in one call.

        It may or may not see what pushes leave that were begun before and not collected yet.
        """
        ...

    def begin_push(self, push: Push) -> Pending[PushReceipt]:
        """push(), of arrays that stay as they are until it is done.

        Pushes of one handle are applied in the order begun. Where one is refused, those begun after
        it, before its result was collected, may raise the same, and then have no effect either.
        """
        ...

    def fence(self, owners: Mapping[str, int]) -> None:
        """From now on refuse pushes of each partition by those who owned it before a generation."""
        ...

    def positions(self) -> Positions:
        """Per partition, the first offset this shard has not applied; pushes under way may move it."""
        ...

    def close(self) -> None:
        """End the connection, if there is one; calls under way fail."""
        ...
