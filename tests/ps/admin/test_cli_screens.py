"""What ps-admin shows to people and takes from them: layout, plurals, sizes and times."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import typer

from cluster.job.section import parse_duration, parse_size
from ps.admin.cli import screen
from ps.admin.cli.amounts import seconds_of, size_of
from ps.admin.cli.panels import _store_note
from tests.ps.admin.commands import run
from tests.ps.admin.job import STATUS, STORE

if TYPE_CHECKING:
    from ps.admin.server import AdminServer
    from tests.ps.admin.job import RecordingJob


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_figures_of_status_fit_a_small_terminal(
    server: AdminServer, job: RecordingJob, columns: int
) -> None:
    metrics = dict.fromkeys(
        ("auc", "calibration", "log_loss", "normalized_entropy", "window_auc", "window_log_loss"),
        0.1234,
    )
    job.state = replace(STATUS, metrics=metrics)
    result = run("status", "-t", server.address, COLUMNS=str(columns))
    assert result.exit_code == 0, result.output
    for part in (
        "examples 123,456,789",
        "event time 2023-11-14 22:13:19",
        *(f"{name.replace('_', ' ')} 0.1234" for name in metrics),
    ):
        assert part in result.output
    # Lines that belong together are as wide at any width.
    assert max(len(line) for line in result.output.splitlines() if "0.1234" in line) <= 80


@pytest.mark.parametrize(("waiting", "words"), [(1, "1 epoch (7 MiB)"), (7, "7 epochs (7 MiB)")])
def test_what_waits_is_counted_in_epochs_and_no_warning_while_all_is_well(
    waiting: int, words: str
) -> None:
    for state in ("ok", "behind"):
        store = replace(STORE, state=state, waiting_blocks=waiting)
        note = _store_note(store, STATUS.now_us)
        assert f", {words} to be saved" in note.plain
        painted = {note.plain[span.start : span.end]: span.style for span in note.spans}
        assert (painted.get(f", {words} to be saved") == "yellow") == (state == "behind")


def test_the_list_says_where_the_stream_stood(server: AdminServer, job: RecordingJob) -> None:
    shown = run("list", "-t", server.address).output
    assert "clicks/0 at 3,000" in shown
    assert screen.positions({"a": 1_000}, 2) == "a at 1,000"
    assert screen.positions({"a": 1, "b": 2, "c": 3, "d": 4}, 2) == "a at 1, b at 2 and 2 more"
    assert screen.positions({}, 2) == "–"


@pytest.mark.parametrize(
    "text", ["0", "1", "512B", "500MB", "20GiB", "1.5 TiB", "2KB", "3KiB", "7TB"]
)
def test_a_size_is_what_a_job_file_takes_for_one(text: str) -> None:
    assert size_of(text) == parse_size(int(text) if text.isdigit() else text)


@pytest.mark.parametrize("text", ["30", "1.5", "90s", "250ms", "5m", "1h30m", "7d", "2w", "1h 5m"])
def test_a_time_is_what_a_job_file_takes_for_one(text: str) -> None:
    plain = text.replace(".", "").isdigit()
    assert seconds_of(text) == parse_duration(float(text) if plain else text)


@pytest.mark.parametrize("text", ["", "GiB", "-1", "20 giB", "20iB", "1e9", "20GiBs", "٣"])
def test_what_is_no_size_is_exit_code_2(server: AdminServer, text: str) -> None:
    with pytest.raises(typer.BadParameter):
        size_of(text)
    assert run("prune", f"--keep-bytes={text}", "-t", server.address).exit_code == 2


@pytest.mark.parametrize("text", ["", "h", "-1", "1y", "h1", "1h2", "1,5h", "٣s"])
def test_what_is_no_time_is_exit_code_2(server: AdminServer, text: str) -> None:
    with pytest.raises(typer.BadParameter):
        seconds_of(text)
    assert run("prune", f"--keep-age={text}", "-t", server.address).exit_code == 2
