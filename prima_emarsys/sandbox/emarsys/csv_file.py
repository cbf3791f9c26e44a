"""Reading a CSV file that was handed to Emarsys: UTF-8, commas, a header row, quotes doubled, one line a row.

What the columns mean is for the modules that own the kind of file. Which texts a refusal carries is not published:
our choice, all of them.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

FINISHED = (".csv", ".csv.gz")
"""Endings of files that are complete; anything else, such as `.part`, is still being written."""


@dataclass(frozen=True)
class Reject:
    """A row that was not taken: the line on which it begins (the header is line 1), and why."""

    line: int
    reason: str


class RefusedFile(Exception):
    """A file is refused as a whole; the argument is the text for whoever sent it."""


class CsvFile:
    """The header of a file, and an iterator over its rows."""

    def __init__(self, body: bytes) -> None:
        """Read the header of an unpacked file; `RefusedFile` if there is none to read."""
        try:
            self._reader = csv.reader(StringIO(body.decode(), newline=""), strict=True)
            self.columns = tuple(next(self._reader))
        except UnicodeDecodeError:
            raise RefusedFile("The file is not UTF-8") from None
        except (StopIteration, csv.Error):
            raise RefusedFile("The file has no header") from None
        if doubled := {column for column in self.columns if self.columns.count(column) > 1}:
            raise RefusedFile(f"Doubled column: {', '.join(sorted(doubled))}")

    def __iter__(self) -> Iterator[tuple[int, list[str] | str]]:
        """Number of the line on which each row begins, and its values or why it has none. Blank lines are passed."""
        reader, width = self._reader, len(self.columns)
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, f"not readable as CSV: {error}"
                continue
            if len(values) == width and reader.line_num == line:
                yield line, values
            elif reader.line_num > line:
                yield line, "a line break inside a value"
            elif values:
                yield line, f"{len(values)} values for {width} columns"


def complete_files(folder: Path) -> list[Path]:
    """The files of a folder that are complete, in order of name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name.endswith(FINISHED) and not path.name.startswith(".")
    )


def unpacked(body: bytes) -> bytes:
    """A body without its gzip; `RefusedFile` if it is none or damaged."""
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        raise RefusedFile("The file cannot be unpacked") from None
