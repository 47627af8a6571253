"""A whole job in one process: it learns, serves, saves, and does what an operator asks.

stream ──► loop ──► learning (shards) ──► epochs ──► serving, standbys
             ▲                              └──────► durability (the block store)
          control ◄── admin target
"""

from cluster.local.run import LocalRun
from ps.store.resume import GoOnFrom

__all__ = ["GoOnFrom", "LocalRun"]
