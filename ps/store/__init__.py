"""The block store: sealed epochs, bases and restore points on any fsspec URL.

shard ──► writer ──► blocks/ ─┐
                              ├──► commits/ (a restore point: what to read, verified, last)
          compactor ─► bases/ ┘
                                    catalog ──► restore ──► shards of any number
"""
