"""Working on a store without a job: reading it at any time, changing it where nothing runs.

ps.admin.cli ──► store (which job writes to it? what is in it?) ──► ps.store
                   └──► writing (claimed first) ──► reshard, export, prune
"""

from ps.admin.offline.store import OfflineStore

__all__ = ["OfflineStore"]
