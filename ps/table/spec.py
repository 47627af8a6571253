"""What a table is asked to be: the shape of its rows, its slots, its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ps.admission import DEFAULT_REMEMBERED_FIDS, AdmitAll
from ps.errors import SpecError
from ps.initializers import Initializer

if TYPE_CHECKING:
    from ps.admission import Admission
    from ps.optimizers import Optimizer

# Row numbers are 32 bits wide.
MAX_CAPACITY_ROWS = (1 << 32) - 1
# Address space is reserved for this many rows where no capacity is given; memory is not.
DEFAULT_CAPACITY_ROWS = 1 << 28
_MAX_POLICIES = 256  # that a uint8 can tell apart
_MAX_WIDTH = 4096
# last_seen_s is an unsigned 32-bit number of seconds.
_MAX_TTL_S = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class SlotPolicy:
    """How one slot uses its table.

    ttl_s: event-time seconds after which a fid not seen loses its row; None: never.
    learning_rate: instead of the optimizer's own; None: the optimizer's own.
    """

    slot: int
    ttl_s: int | None = None
    admission: Admission = field(default_factory=AdmitAll)
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.slot < 1 << 16:
            raise SpecError(f"slot is {self.slot}; slots are 0 to 65,535")
        if self.ttl_s is not None and not 1 <= self.ttl_s <= _MAX_TTL_S:
            raise SpecError(
                f"slot {self.slot}: ttl_s is {self.ttl_s}; set it to 1 or more, or leave it out to "
                "keep rows for ever"
            )


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Rows of `width` weights under one optimizer, shared by the given slots.

    capacity_rows: rows it may hold; None: as many as memory allows, up to 2^28.
    on_full: at capacity, "error" refuses the push, "evict" frees the longest unseen rows.
    remembered_fids, admission_window_s: memory of the admission filter (ps.admission).
    """

    name: str
    width: int
    optimizer: Optimizer
    initializer: Initializer = field(default_factory=Initializer)
    slots: tuple[SlotPolicy, ...] = ()
    capacity_rows: int | None = None
    on_full: Literal["error", "evict"] = "error"
    remembered_fids: int = DEFAULT_REMEMBERED_FIDS
    admission_window_s: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.width <= _MAX_WIDTH:
            raise SpecError(
                f"table {self.name!r}: width is {self.width}; set it between 1 and {_MAX_WIDTH:,}"
            )
        if self.capacity_rows is not None and not 1 <= self.capacity_rows <= MAX_CAPACITY_ROWS:
            raise SpecError(
                f"table {self.name!r}: capacity_rows is {self.capacity_rows}; set it between 1 and "
                f"{MAX_CAPACITY_ROWS:,}, or leave it out"
            )
        if self.on_full == "evict" and self.capacity_rows is None:
            raise SpecError(
                f"table {self.name!r}: on_full: evict needs capacity_rows to know when it is full"
            )
        numbers = [policy.slot for policy in self.slots]
        if len(set(numbers)) != len(numbers):
            raise SpecError(f"table {self.name!r}: a slot is listed twice in {numbers}")
        if len({(p.ttl_s, p.learning_rate) for p in self.slots}) >= _MAX_POLICIES:
            raise SpecError(
                f"table {self.name!r}: more than {_MAX_POLICIES - 1} different ttl_s and "
                "learning_rate settings; let slots share some"
            )

    @property
    def state_width(self) -> int:
        """Floats of optimizer state per row."""
        return self.optimizer.state_width(self.width)

    @property
    def expires(self) -> bool:
        """Whether any slot has a time to live."""
        return any(policy.ttl_s is not None for policy in self.slots)
