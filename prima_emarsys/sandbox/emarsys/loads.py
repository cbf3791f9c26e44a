"""Taking sales files in: what is refused at once, and the load step, which judges row by row later.

An upload is accepted or refused as a whole; its rows are judged when Smart Insight loads it. Batch files lie in a
folder (the same over SFTP, which is a folder that somebody else serves); each is read once under its name and content,
in the order of names. A batch holds the full image of its orders: an order replaces what an earlier batch said of it,
and never what uploads said. An order with a rejected row is not loaded at all, since there are no partial updates. That
order of names, and that the two routes do not know of each other, is our choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress, islice
from pathlib import Path
from sqlite3 import Connection

from prima_emarsys.sandbox.emarsys.account import Account, RowFault
from prima_emarsys.sandbox.emarsys.csv_file import CsvFile, RefusedFile, complete_files, unpacked
from prima_emarsys.sandbox.emarsys.mischief import strike_rows
from prima_emarsys.sandbox.emarsys.sales import LoadReport
from prima_emarsys.sandbox.emarsys.sales_file import Route, SalesHeader, SalesRow, judge_sales

_AT_ONCE = 10_000
"""Rows judged and added together."""


def accept(
    account: Account, route: Route, body: bytes, *, name: str | None = None, fault: RowFault | None = None
) -> int:
    """Take an unpacked file in, to be loaded later; returns its number.

    Raises `RefusedFile` for what its header or lack of rows shows, and whatever `fault` raises for one of its orders.
    """
    file = CsvFile(body)
    first = next((values for _, values in file if isinstance(values, list)), None)
    if first is None:
        raise RefusedFile("The file has no rows")
    header = SalesHeader.of(route, file.columns, first)
    before = account.sales.header(route)
    if before and before.columns != header.columns:
        raise RefusedFile("The header differs from that of the first upload")
    if fault:
        strike_rows(body, "order", fault)
    return account.sales.accept(route, name, body, header)


def load(account: Account) -> list[LoadReport]:
    """Load every accepted file; the report of each, oldest first."""
    loaded: list[int] = []
    while True:
        with account.store.transaction() as db:
            number = account.sales.next_waiting()
            if number is None:
                return account.sales.reports(loaded)
            _load(account, db, number)
        loaded.append(number)


def _load(account: Account, db: Connection, number: int) -> None:
    book, (route, header, body) = account.sales, account.sales.file(number)
    buyer_field = account.settings.customer_field if header.buyer_column == "customer" else header.buyer_column
    field_number = next((one.id for one in account.store.fields.values() if one.string_id == buyer_field), None)
    book.join(db, buyer_field, field_number)
    batch = route == "batch"
    broken: set[str | None] = set()
    if batch:
        broken.update(*(piece.broken for piece in _pieces(route, header, body)))
    rows, replaced = 0, set[str]()
    rejects: list[tuple[int, str]] = []
    for piece in _pieces(route, header, body):
        rows += len(piece.fitting) + len(piece.rejects)
        rejects += piece.rejects
        fitting = piece.fitting
        if batch:
            # A row that cannot be read may be of any order.
            partial = [None in broken or row.order in broken for _, row in fitting]
            rejects += [(line, "another row of the order is rejected") for line, _ in compress(fitting, partial)]
            fitting = [one for one, without in zip(fitting, partial, strict=True) if not without]
            orders = {row.order for _, row in fitting}
            book.drop_images(db, orders - replaced)
            replaced |= orders
        buyers = book.buyers_of(db, buyer_field, field_number, (row.buyer for _, row in fitting))
        book.add(db, number, route, fitting, buyers)
    book.settle(db, number, rows, sorted(rejects))


@dataclass
class _Piece:
    """Some rows of a file, judged: those that fit and those that do not, each with its line."""

    fitting: list[tuple[int, SalesRow]] = field(default_factory=list)
    rejects: list[tuple[int, str]] = field(default_factory=list)
    broken: set[str | None] = field(default_factory=set)
    """Orders with a rejected row; `None` stands for a row that cannot be read."""


def _pieces(route: Route, header: SalesHeader, body: bytes) -> Iterator[_Piece]:
    """The rows of a file in pieces, which bounds memory."""
    lines, order_place = iter(CsvFile(body)), header.columns.index("order")
    while some := list(islice(lines, _AT_ONCE)):
        piece = _Piece()
        readable = [(line, values) for line, values in some if isinstance(values, list)]
        unreadable = [(line, reason) for line, reason in some if isinstance(reason, str)]
        if unreadable:
            piece.rejects += unreadable
            piece.broken.add(None)
        judged = judge_sales(route, header, [values for _, values in readable])
        for (line, values), row in zip(readable, judged, strict=True):
            if isinstance(row, str):
                piece.rejects.append((line, row))
                piece.broken.add(values[order_place])
            else:
                piece.fitting.append((line, row))
        yield piece


def read_folder(account: Account, folder: Path) -> list[LoadReport]:
    """Read and load the complete batch files of a folder that are new; the report of each."""
    failed = []
    for path in complete_files(folder):
        body = path.read_bytes()
        try:
            body = unpacked(body) if path.suffix == ".gz" else body
            if not account.sales.knows_batch(path.name, body):
                accept(account, "batch", body, name=path.name)
        except RefusedFile as refused:
            if not account.sales.knows_batch(path.name, body):
                failed.append(account.sales.fail(path.name, body, str(refused)))
    return sorted([*load(account), *account.sales.reports(failed)], key=lambda report: report.number)
