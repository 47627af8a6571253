"""MovieLens and MovieTweetings as published: ratings, joined with who rated what."""

from __future__ import annotations

import logging
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa

from worker.arrow import one_batch
from worker.errors import SourceError
from worker.sources.delimited import DEFAULT_CHUNK_ROWS, DelimitedSource
from worker.sources.delimited_format import DelimitedFormat
from worker.sources.files import find_files
from worker.sources.joined import Attributes, JoinedSource
from worker.sources.ordered import OrderedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.events import Source
    from worker.sources.files import DataFile

_log = logging.getLogger(__name__)

_RATINGS = ("user_id", "movie_id", "rating", "timestamp")
_USERS = ("user_id", "gender", "age", "occupation", "zip")
_MOVIES = ("movie_id", "title", "genres")
_TITLE_AND_YEAR = re.compile(r"^(.*?)\s*\((\d{4})\)\s*$")


def open_movielens(
    path: str, *, order_by: str | None = "timestamp", chunk_rows: int = DEFAULT_CHUNK_ROWS
) -> Source:
    """MovieLens ratings with the attributes of users and movies where their files lie beside.

    path: `ratings.dat` ("user::movie::rating::timestamp", as in 1M and 10M), or the atomic file
    `*.inter` of the 100K set, plain or compressed. Columns, as text: user_id, movie_id, rating,
    timestamp (s); with users' file gender, age, occupation, zip; with the movies' title, year and
    genres (a list). order_by: the files lie sorted by user; None leaves them so, and reads them
    without holding them in memory.
    """
    file = _only_file(path)
    if ".inter" in file.suffixes:
        ratings = DelimitedFormat("\t", columns=_RATINGS, quote=None)
        attributes = _atomic_attributes(file)
    else:
        ratings = _double_colon(_RATINGS)
        users = _read_beside(file, "users.dat", _double_colon(_USERS, "latin-1"))
        attributes = [Attributes("user_id", users)] if users is not None else []
        attributes += _movies(file, "latin-1")
    return _ratings(path, ratings, attributes, order_by, chunk_rows)


def open_movietweetings(
    path: str, *, order_by: str | None = "timestamp", chunk_rows: int = DEFAULT_CHUNK_ROWS
) -> Source:
    """MovieTweetings `ratings.dat` ("user::movie::rating::timestamp", ratings 0 to 10).

    Columns as in open_movielens, without users' attributes (its users.dat holds Twitter ids only).
    """
    movies = _movies(_only_file(path), "utf-8")
    return _ratings(path, _double_colon(_RATINGS), movies, order_by, chunk_rows)


def _ratings(
    path: str,
    ratings: DelimitedFormat,
    attributes: list[Attributes],
    order_by: str | None,
    chunk_rows: int,
) -> Source:
    source: Source = DelimitedSource(path, ratings, chunk_rows=chunk_rows)
    if order_by is not None:
        source = OrderedSource(source, order_by, chunk_rows=chunk_rows)
    return JoinedSource(source, attributes) if attributes else source


def _movies(ratings: DataFile, encoding: str) -> list[Attributes]:
    """movies.dat: "id::Title (year)::Genre|Genre"."""
    stored = _read_beside(ratings, "movies.dat", _double_colon(_MOVIES, encoding))
    if stored is None:
        return []
    titles = [_title_and_year(str(title)) for title in stored["title"].to_pylist()]
    genres = [str(names).split("|") for names in stored["genres"].to_pylist()]
    return [_movie_attributes(stored, [t for t, _ in titles], [y for _, y in titles], genres)]


def _atomic_attributes(ratings: DataFile) -> list[Attributes]:
    """NAME.user and NAME.item beside NAME.inter: typed headers, genres set apart by spaces."""
    name = PurePosixPath(ratings.path).name.partition(".inter")[0]
    atomic = DelimitedFormat("\t", quote=None, typed_header=True)
    attributes: list[Attributes] = []
    user_columns = ("user_id", "gender", "age", "occupation", "zip_code")
    users = _read_beside(ratings, f"{name}.user", atomic, select=user_columns)
    if users is not None:
        attributes.append(Attributes("user_id", users.rename_columns(list(_USERS))))
    movie_columns = ("movie_id", "movie_title", "release_year", "class")
    movies = _read_beside(ratings, f"{name}.item", atomic, select=movie_columns)
    if movies is not None:
        titles = [str(title) for title in movies["movie_title"].to_pylist()]
        years = [str(year) or None for year in movies["release_year"].to_pylist()]
        genres = [str(names).split() for names in movies["class"].to_pylist()]
        attributes.append(_movie_attributes(movies, titles, years, genres))
    return attributes


def _movie_attributes(
    stored: pa.RecordBatch, titles: list[str], years: list[str | None], genres: list[list[str]]
) -> Attributes:
    columns = {
        "movie_id": stored["movie_id"],
        "title": pa.array(titles, pa.string()),
        "year": pa.array(years, pa.string()),
        "genres": pa.array(genres, pa.list_(pa.string())),
    }
    return Attributes("movie_id", pa.RecordBatch.from_pydict(columns))


def _read_beside(
    file: DataFile, name: str, file_format: DelimitedFormat, select: Sequence[str] | None = None
) -> pa.RecordBatch | None:
    """The whole table called name in the folder of file; None where there is none."""
    beside = file.beside(name)
    if beside is None:
        return None
    source = DelimitedSource(beside.url, file_format, select=select)
    chunks = list(source.read(beside.partition, 0))
    for bad in (bad for chunk in chunks for bad in chunk.rejected):
        _log.warning("%s: record %d is left out: %s", beside.path, bad.offset, bad.reason)
    return one_batch(pa.Table.from_batches([chunk.columns for chunk in chunks]))


def _only_file(path: str) -> DataFile:
    files = find_files(path)
    if len(files) > 1:
        raise SourceError(path, 0, "several files; name the one that holds the ratings")
    return files[0]


def _double_colon(columns: Sequence[str], encoding: str = "utf-8") -> DelimitedFormat:
    return DelimitedFormat("::", columns=columns, header=False, quote=None, encoding=encoding)


def _title_and_year(text: str) -> tuple[str, str | None]:
    """("Toy Story", "1995") from "Toy Story (1995)"."""
    match = _TITLE_AND_YEAR.match(text)
    return (match[1], match[2]) if match else (text, None)
