"""The product catalogue on its way to Emarsys: one file that is always the whole of it, written a part at a time."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import pyarrow as pa
import pyarrow.csv

from prima_emarsys.emarsys.folder import Folder, carried
from prima_emarsys.emarsys.outcome import Outcome
from prima_emarsys.emarsys.sales_data import HttpUpload

WHAT, SETTING = "Catalogue", "emarsys.catalogue"


class CatalogueSink(Protocol):
    """A way to Emarsys. The file replaces the one before, so that sending it twice does no harm."""

    packed: bool
    """Whether it takes the file by gzip."""

    def send(self, file: Path) -> Outcome:
        """Carry a file, whole or not at all."""
        ...


def write_file(path: Path, items: Iterable[pa.Table], columns: Iterable[str], *, packed: bool) -> int:
    """Write items (all columns texts) as CSV: UTF-8, a header, quotes where they are needed. Returns how many."""
    names, written = list(columns), 0
    schema = pa.schema([(name, pa.string()) for name in names])
    # The same items make the same bytes: gzip would keep the time.
    opened = gzip.GzipFile(path, "wb", compresslevel=6, mtime=0) if packed else path.open("wb")
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with opened as file, pyarrow.csv.CSVWriter(cast(BinaryIO, file), schema, write_options=options) as writer:
        for part in items:
            writer.write_table(part.select(names).cast(schema))
            written += part.num_rows
    return written


class CatalogueFolder:
    """Puts the file where Emarsys pulls it from, and keeps the one before."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name
        self.packed = name.endswith(".gz")

    def send(self, file: Path) -> Outcome:
        """See `CatalogueSink`."""
        return carried(lambda: self._folder.replace(self._name, file), WHAT, SETTING)


class CataloguePush:
    """Pushes the file. The address is seen in a vendor's module only; ask before you use it."""

    packed = True

    def __init__(self, upload: HttpUpload) -> None:
        self._upload = upload

    def send(self, file: Path) -> Outcome:
        """See `CatalogueSink`."""
        return self._upload.send(file.name, file.read_bytes())
