"""How often threads of a process take turns."""

from __future__ import annotations

# Training hands the interpreter's lock back with every kernel; the threads beside it (preparation,
# saving, replicas) then keep it for as long as this. At Python's 5 ms, saving cost training 5 % more.
SWITCH_INTERVAL_S = 0.0005
