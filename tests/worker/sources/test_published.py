"""Readers for published data sets: on small files in their form, and on the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from tests.worker.sources.published_data import data_file
from tests.worker.streams import consistent
from worker.errors import SourceError
from worker.sources.avazu import AvazuSource
from worker.sources.criteo import CRITEO_COLUMNS, open_criteo
from worker.sources.movielens import open_movielens, open_movietweetings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.events import EventChunk, Source


def everything(source: Source, begin: int = 0) -> list[EventChunk]:
    chunks = [c for p in source.partitions() for c in source.read(p, begin)]
    for chunk in chunks:
        consistent(chunk)
    return chunks


def rows(source: Source, begin: int = 0) -> list[dict[str, object]]:
    return [row for chunk in everything(source, begin) for row in chunk.columns.to_pylist()]


def test_movielens_is_joined_and_ordered_by_time(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::5::300\n1::11::3::100\n2::10::4::200\n")
    (tmp_path / "users.dat").write_text("1::F::25::4::00000\n")
    (tmp_path / "movies.dat").write_bytes("10::Café (1999)::Drama|War\n".encode("latin-1"))
    found = rows(open_movielens(str(tmp_path / "ratings.dat")))
    assert [row["timestamp"] for row in found] == ["100", "200", "300"]
    assert found[2] == {
        "user_id": "1", "movie_id": "10", "rating": "5", "timestamp": "300", "gender": "F",
        "age": "25", "occupation": "4", "zip": "00000", "title": "Café", "year": "1999",
        "genres": ["Drama", "War"],
    }  # fmt: skip
    assert found[0]["genres"] is None
    assert found[1]["gender"] is None


def test_movielens_atomic_files_come_out_alike(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5\t300\n"
    (tmp_path / "ml.inter").write_text(inter)
    (tmp_path / "ml.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "1\t25\tF\twriter\t00000\n"
    )
    (tmp_path / "ml.item").write_text(
        "movie_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tCafé\t1999\tDrama War\n"
    )
    (found,) = rows(open_movielens(str(tmp_path / "ml.inter")))
    assert found == {
        "user_id": "1", "movie_id": "10", "rating": "5", "timestamp": "300", "gender": "F",
        "age": "25", "occupation": "writer", "zip": "00000", "title": "Café", "year": "1999",
        "genres": ["Drama", "War"],
    }  # fmt: skip


def test_movietweetings_needs_no_companions(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::0054890::9::20\n2::1408101::10::10\n")
    found = rows(open_movietweetings(str(tmp_path / "ratings.dat")))
    assert [row["movie_id"] for row in found] == ["1408101", "0054890"]


def test_a_folder_of_several_rating_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_text("1::1::1::1\n")
    (tmp_path / "b.dat").write_text("1::1::1::1\n")
    with pytest.raises(SourceError, match="name the one"):
        open_movielens(str(tmp_path))


def test_criteo_has_forty_columns_and_rejects_others(tmp_path: Path) -> None:
    good = "\t".join(["1", *["7"] * 13, *["ab"] * 25, ""])
    (tmp_path / "train.txt").write_text(f"{good}\n{good}\tx\n")
    chunks = everything(open_criteo(str(tmp_path / "train.txt")))
    assert chunks[0].columns.schema.names == list(CRITEO_COLUMNS)
    assert chunks[0].columns["C26"].to_pylist() == [""]
    assert chunks[0].rejected[0].reason == "41 fields where 40 are expected"


def test_avazu_hours_become_event_time(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "id,click,hour\n1,0,14102100\n2,1,141021\n3,1,14102125\n4,0,14102101\n5,0,１4102101\n"
    )
    (chunk,) = everything(AvazuSource(str(tmp_path / "train.csv")))
    assert chunk.columns["event_ts_us"].to_pylist() == [1413849600000000, 1413853200000000]
    assert [r.reason for r in chunk.rejected] == [
        "hour '141021' is not YYMMDDHH",
        "hour '14102125' is not YYMMDDHH",
        "hour '１4102101' is not YYMMDDHH",
    ]


def test_a_csv_without_hour_is_no_avazu_log(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,click\n1,0\n")
    with pytest.raises(SourceError, match="no column hour"):
        everything(AvazuSource(str(tmp_path / "train.csv")))


def test_real_movielens_1m() -> None:
    source = open_movielens(data_file("movielens-1m-half/ratings.dat.gz"))
    chunks = everything(source)
    table = pa.Table.from_batches([chunk.columns for chunk in chunks])
    assert table.num_rows == 487_650
    times = np.array(table["timestamp"].to_pylist(), np.int64)
    assert (np.diff(times) >= 0).all()
    assert table["gender"].null_count == 0
    assert table["genres"].null_count == 0
    (tail,) = everything(source, 487_000)
    assert tail.columns.equals(table.slice(487_000).combine_chunks().to_batches()[0])


def test_real_movielens_100k() -> None:
    chunks = everything(open_movielens(data_file("movielens-100k/ml-100k.inter.gz")))
    assert sum(chunk.columns.num_rows for chunk in chunks) == 100_000
    assert all(chunk.columns["occupation"].null_count == 0 for chunk in chunks)


def test_real_movietweetings() -> None:
    chunks = everything(open_movietweetings(data_file("movietweetings/ratings.dat.gz")))
    assert sum(chunk.columns.num_rows for chunk in chunks) == 141_695


def test_real_criteo() -> None:
    chunks = everything(open_criteo(data_file("criteo-10k/train.txt.gz")))
    labels = [label for chunk in chunks for label in chunk.columns["label"].to_pylist()]
    assert len(labels) == 10_000
    assert labels.count("1") / 10_000 == pytest.approx(0.218, abs=0.001)


def test_real_avazu() -> None:
    chunks = everything(AvazuSource(data_file("avazu-10k/train.csv.gz")))
    clicks = [click for chunk in chunks for click in chunk.columns["click"].to_pylist()]
    assert len(clicks) == 9_999
    assert clicks.count("1") / 9_999 == pytest.approx(0.17, abs=0.01)
