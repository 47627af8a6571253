"""How a delimited text file is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.errors import SourceSpecError
from worker.sources.records import Framing

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class DelimitedFormat:
    """How a delimited file is written.

    columns: the names of the fields; None reads them from the header. header: whether the file
    begins with one (skipped where columns are given). quote: None where quotes are ordinary
    characters. newlines_in_values: a quoted field may go on over several lines. typed_header: names
    carry a type after a colon, as in RecBole's atomic files (`user_id:token`), which is cut off.
    encoding: any that extends ASCII.
    """

    delimiter: str = ","
    columns: Sequence[str] | None = None
    header: bool = True
    quote: str | None = '"'
    newlines_in_values: bool = False
    typed_header: bool = False
    encoding: str = "utf-8"
    max_record_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not self.delimiter or set(self.delimiter) & {"\n", "\r"}:
            raise SourceSpecError(f"delimiter {self.delimiter!r}: give one or more visible signs")
        if len(self.delimiter) > 1 and self.quote is not None:
            raise SourceSpecError(
                f"delimiter {self.delimiter!r} has several characters, which cannot be combined "
                "with quoting; set quote to null"
            )
        if self.quote is not None and (len(self.quote) != 1 or not self.quote.isascii()):
            raise SourceSpecError(f"quote {self.quote!r}: give one ASCII character, or null")
        if self.newlines_in_values and self.quote is None:
            raise SourceSpecError("newlines_in_values needs a quote character; set quote")
        if not self.header and self.columns is None:
            raise SourceSpecError("a file without a header needs columns: the names of its fields")
        try:
            "a,\n".encode(self.encoding)
        except LookupError as error:
            raise SourceSpecError(f"encoding {self.encoding!r}: {error}") from error
        if "a,\n".encode(self.encoding) != b"a,\n":
            raise SourceSpecError(
                f"encoding {self.encoding!r} does not extend ASCII; convert first"
            )

    @property
    def framing(self) -> Framing:
        """Where records of this format end."""
        quote = self.quote if self.newlines_in_values else None
        return Framing(quote, self.max_record_bytes)
