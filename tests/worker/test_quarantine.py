"""The dead-letter file: counted once, written safely, bounded."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from ps.stream import Span
from worker.events import Rejected
from worker.quarantine import OTHER_REASONS, Quarantine, QuarantineState

if TYPE_CHECKING:
    import pytest


def bad(offset: int, reason: str = "bad", partition: str = "p") -> Rejected:
    return Rejected(partition, offset, reason, f"récord {offset}")


def lines(path: Path) -> list[dict[str, object]]:
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def test_records_are_written_with_position_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "dead.jsonl"
    quarantine = Quarantine(path)
    quarantine.add([bad(7), bad(3, "worse")])
    quarantine.drop_batch(Span("p", 8, 16), "gradient is not finite")
    assert lines(path) == [
        {"partition": "p", "offset": 3, "reason": "worse", "record": "récord 3"},
        {"partition": "p", "offset": 7, "reason": "bad", "record": "récord 7"},
        {"partition": "p", "begin": 8, "end": 16, "reason": "gradient is not finite"},
    ]
    assert quarantine.reasons == {"worse": 1, "bad": 1, "gradient is not finite": 1}
    assert (quarantine.records, quarantine.dropped_batches, quarantine.dropped_positions) == (
        2,
        1,
        8,
    )


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_replaying_any_span_counts_nothing_twice(rewinds: list[int]) -> None:
    quarantine = Quarantine()
    for rewind in [0, *rewinds]:
        for offset in range(rewind, 30, 3):
            quarantine.add([bad(i) for i in range(offset, min(offset + 3, 30)) if i % 2])
            quarantine.drop_batch(Span("p", offset, min(offset + 3, 30)), "dropped")
    assert quarantine.records == 15
    assert quarantine.dropped_positions == 30


def test_partitions_are_counted_apart() -> None:
    quarantine = Quarantine()
    assert quarantine.add([bad(5), bad(5, partition="q")]) == 2
    assert quarantine.add([bad(5), bad(4, partition="q")]) == 0


def test_a_restart_goes_on_where_the_file_ends(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    first = Quarantine(path)
    first.add([bad(1), bad(2, "worse")])
    first.drop_batch(Span("p", 3, 6), "dropped")
    with path.open("ab") as file:
        file.write(b'{"partition": "p", "off')  # torn by a crash
    second = Quarantine(path)
    assert (second.records, second.dropped_positions, second.reasons) == (2, 3, first.reasons)
    assert second.add([bad(1), bad(2), bad(9)]) == 1
    assert not second.drop_batch(Span("p", 3, 6), "dropped")
    texts = path.read_text("utf-8").splitlines()
    assert len(texts) == 5
    assert json.loads(texts[-1])["offset"] == 9


def test_the_file_never_exceeds_its_bound_and_counting_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    quarantine = Quarantine(path, max_bytes=200)
    for offset in range(20):
        quarantine.add([bad(offset)])
    assert 0 < path.stat().st_size <= 200
    assert quarantine.records == 20
    assert quarantine.unwritten == 20 - len(lines(path))


def test_a_failing_disk_is_logged_once_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    quarantine = Quarantine(tmp_path / "file" / "dead.jsonl")
    quarantine.add([bad(1)])
    quarantine.add([bad(2)])
    assert (quarantine.records, quarantine.unwritten) == (2, 2)
    assert quarantine.write_errors == 2
    assert len([r for r in caplog.records if "free the disk" in r.getMessage()]) == 1


def test_the_number_of_reasons_is_bounded() -> None:
    quarantine = Quarantine()
    quarantine.add([bad(i, f"reason {i}") for i in range(1_000)])
    assert len(quarantine.reasons) == 201
    assert quarantine.reasons[OTHER_REASONS] == 800


def test_going_back_counts_again_and_writes_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    quarantine = Quarantine(path)
    quarantine.add([bad(1), bad(2, "worse")])
    early = quarantine.state
    quarantine.add([bad(5)])
    quarantine.drop_batch(Span("p", 6, 9), "dropped")
    late = quarantine.state
    before = path.read_bytes()
    quarantine.restore(early)
    assert quarantine.state == early
    assert quarantine.add([bad(2), bad(5)]) == 1
    assert quarantine.drop_batch(Span("p", 6, 9), "dropped")
    assert quarantine.state == late
    assert path.read_bytes() == before
    quarantine.add([bad(9)])
    assert lines(path)[-1]["offset"] == 9


@given(
    st.sets(st.integers(0, 39)),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5),
)
def test_whenever_it_dies_every_record_is_counted_and_written_once(
    offsets: set[int], lives: list[tuple[int, int]]
) -> None:
    """A life saves its state at one place, reads on, and dies; the next resumes from what was saved."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "dead.jsonl"
        saved, at = QuarantineState(), 0
        for save_at, die_at in [*lives, (40, 40)]:
            quarantine = Quarantine(path)
            quarantine.restore(saved)
            for offset in range(at, max(die_at, save_at)):
                if offset == save_at:
                    saved, at = quarantine.state, offset
                quarantine.add([bad(offset)] if offset in offsets else [])
            if save_at == 40:
                saved = quarantine.state
        assert (saved.records, saved.reasons) == (
            len(offsets), {"bad": len(offsets)} if offsets else {},
        )  # fmt: skip
        assert [line["offset"] for line in lines(path)] == sorted(offsets)


def test_a_restored_state_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "dead.jsonl"
    Quarantine(path).add([bad(1), bad(2), bad(3)])
    fresh = Quarantine(path)
    assert fresh.records == 3
    fresh.restore(QuarantineState(records=1, reasons={"bad": 1}, counted_upto={"p": 2}))
    assert fresh.add([bad(1), bad(2), bad(3), bad(4)]) == 3
    assert (fresh.records, fresh.reasons) == (4, {"bad": 4})
    assert [line["offset"] for line in lines(path)] == [1, 2, 3, 4]
