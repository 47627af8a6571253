"""A source that is quiet for long: everything but learning goes on, and a stop is heeded."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cluster.local import LocalRun
from ps.clock import ManualClock
from tests.cluster.operator import Operated
from tests.e2e.plans import Job, plan_of
from worker.sources.synthetic import ClickStreamSpec, SyntheticClicks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import pytest

    from cluster.progress import RunProgress
    from worker.events import EventChunk, Source

_LONG_S = 60.0
_STREAM = SyntheticClicks(
    ClickStreamSpec(records=4_000, partitions=1, records_per_s=100.0, users=400, items=200),
    chunk_rows=700,
)


@dataclass
class QuietSource:
    """A stream of which nothing comes from an offset on, until it is released."""

    inner: Source = _STREAM
    from_offset: int = 1_400
    quiet: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def partitions(self) -> Sequence[str]:
        return self.inner.partitions()

    def read(self, partition: str, begin: int) -> Iterator[EventChunk]:
        for chunk in self.inner.read(partition, begin):
            if chunk.span.end > self.from_offset:
                self.quiet.set()
                assert self.released.wait(_LONG_S)
            yield chunk


class Operator:
    """A thread that does something once the source is quiet."""

    def __init__(self, source: QuietSource, do: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._source = source
        self._do = do
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            assert self._source.quiet.wait(_LONG_S)
            self._do()
        except BaseException as error:  # noqa: BLE001  # told by the test
            self.error = error
            self._source.released.set()

    def join(self) -> None:
        self._thread.join(_LONG_S)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


def until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(_LONG_S * 200)):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it never came to hold")


def test_requests_are_carried_out_and_epochs_sealed_meanwhile(tmp_path: Path) -> None:
    source, clock = QuietSource(), ManualClock(1)
    job = Job("fm", shards=2, source=source, store=tmp_path / "store")
    whole = Operated(replace(job, source=_STREAM, store=None)).to_the_end()
    told: list[RunProgress] = []

    def operate() -> None:
        target = run.target
        until(lambda: run._learning.trainer.examples >= 1_280)
        point = target.create_snapshot("quiet")
        assert point.positions == {"synthetic-0": 1_280}
        target.pause("training")
        assert target.status().state == "paused"
        assert target.tables()[0].rows > 0
        target.resume("training")
        epoch, reports = target.status().epoch, len(told)
        clock.advance_s(1.0)
        until(lambda: target.status().epoch > epoch)
        assert len(told) > reports
        assert target.status().examples == 1_280
        source.released.set()

    plan = plan_of(job)
    with LocalRun(plan, clock=clock, serve=True, on_progress=told.append) as run:
        operator = Operator(source, operate)
        run.run()
        operator.join()
        assert run.digest() == whole["digest"]


def test_a_stop_is_heeded_while_the_source_blocks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, stop = QuietSource(), threading.Event()
    job = Job("fm", source=source, store=tmp_path / "store")
    with LocalRun(plan_of(job), clock=ManualClock(1), serve=False) as run:

        def operate() -> None:
            until(lambda: run._learning.trainer.examples >= 1_280)
            stop.set()

        operator = Operator(source, operate)
        progress = run.run(stop)
        operator.join()
        assert not source.released.is_set()
        assert progress.examples == 1_280
        assert "left behind" in caplog.text
    source.released.set()
    # What was learned is saved, and the rest learned by the next.
    whole = Operated(replace(job, source=_STREAM, store=None)).to_the_end()
    assert Operated(replace(job, source=_STREAM)).to_the_end() == whole


def test_the_stream_is_opened_anew_while_the_source_blocks(tmp_path: Path) -> None:
    """What the thread left behind still reads is learned once all the same."""
    source, stop = QuietSource(), threading.Event()
    job = Job("counting", shards=2, source=source, store=tmp_path / "store")
    whole = Operated(replace(job, source=_STREAM, store=None, shards=3)).to_the_end()
    with LocalRun(plan_of(job), clock=ManualClock(1), serve=False) as run:

        def operate() -> None:
            run.target.reshard(3, dry_run=False)
            source.released.set()

        operator = Operator(source, operate)
        run.run(stop)
        operator.join()
        assert run.digest() == whole["digest"]
