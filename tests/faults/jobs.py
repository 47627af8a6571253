"""Small jobs to be killed: a stream in files, and what must come of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model.fids import fid

if TYPE_CHECKING:
    from pathlib import Path

    from ps.store.commit import Skips

FIRST_TS_S = 1_700_000_000
USER_SLOT, ITEM_SLOT = 1, 2


@dataclass(frozen=True, slots=True)
class Stream:
    """Files of one partition each. fids: by partition, those of each record, in order."""

    folder: Path
    fids: dict[str, list[tuple[int, ...]]]

    def counts(self, skips: Skips | None = None) -> Counter[int]:
        """How often each fid occurs outside the ranges that are left out."""
        found: Counter[int] = Counter()
        for partition, records in self.fids.items():
            ranges = (skips or {}).get(partition, ())
            for offset, fids in enumerate(records):
                if not any(begin <= offset < end for begin, end in ranges):
                    found.update(fids)
        return found


def write_stream(folder: Path, seed: int, records: int, partitions: int) -> Stream:
    """Clicks at rising times, one a second in each partition, ids drawn by popularity."""
    rng = np.random.default_rng(seed)
    fids: dict[str, list[tuple[int, ...]]] = {}
    share = records // partitions
    for number in range(partitions):
        users = (400 * rng.random(share) ** 2).astype(int)
        items = (2_000 * rng.random(share) ** 3).astype(int)
        clicks = rng.random(share) < 0.3
        lines = [
            json.dumps(
                {"user": int(user), "item": int(item), "click": int(click), "ts": FIRST_TS_S + at}
            )
            for at, (user, item, click) in enumerate(zip(users, items, clicks, strict=True))
        ]
        partition = f"part-{number}.jsonl"
        (folder / partition).write_text("\n".join(lines) + "\n")
        fids[partition] = [
            (fid(USER_SLOT, user), fid(ITEM_SLOT, item))
            for user, item in zip(users.tolist(), items.tolist(), strict=True)
        ]
    return Stream(folder, fids)


def write_job(
    folder: Path, stream: Stream, *, model: str, shards: int, store: Path | None, **train: Any
) -> Path:
    """A job that saves as often as it can, compacts often, and keeps little.

    model: counting, whose weights are the numbers of occurrences, or fm, whose tables have admission
    and expiry.
    """
    counting = model == "counting"
    user: dict[str, Any] = {"name": "user", "kind": "categorical", "slot": USER_SLOT}
    item: dict[str, Any] = {"name": "item", "kind": "categorical", "slot": ITEM_SLOT}
    if not counting:
        item |= {"admission": {"after": 2}, "ttl": "300s"}
        user |= {"ttl": "1000s"}
    job: dict[str, Any] = {
        "job": "killed",
        "source": {"format": "jsonl", "path": str(stream.folder / "part-*.jsonl")},
        "event_time": {"column": "ts", "unit": "s"},
        "label": {"column": "click"},
        "features": [user, item],
        "model": {"kind": "counting"} if counting else {"kind": "fm", "dim": 4},
        "train": {
            "batch_size": 16,
            "shards": shards,
            "metrics": {"window": "500s", "group_by": ["user"], "group_capacity": 5},
            **train,
        },
        "serve": {"listen": "127.0.0.1:0", "sync_interval": "10ms"},
        "admin": None,
    }
    if store is not None:
        job["store"] = {
            "url": str(store),
            "commit_every": "10ms",
            "keep": {"points": 20},
            "compact_after": {"blocks": 8},
        }
    file = folder / f"{model}-{shards}-{'saved' if store else 'plain'}.yaml"
    file.write_text(json.dumps(job))
    return file
