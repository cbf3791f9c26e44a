"""Taking sales files in: what is refused at once, and the load step, which judges row by row later.

An upload is accepted or refused as a whole; its rows are judged when Smart Insight loads it. Batch files lie in a
folder (the same over SFTP, which is a folder that somebody else serves); each is read once under its name and content,
in the order of names. A batch holds the full image of its orders: an order replaces what an earlier batch said of it,
and never what uploads said. An order with a rejected row is not loaded at all, since there are no partial updates. That
order of names, and that the two routes do not know of each other, is our choice.
"""

from __future__ import annotations

from itertools import compress
from pathlib import Path
from sqlite3 import Connection

from prima_emarsys.sandbox.emarsys.account import Account, RowFault
from prima_emarsys.sandbox.emarsys.csv_file import CsvFile, RefusedFile, unpacked
from prima_emarsys.sandbox.emarsys.sales import LoadReport
from prima_emarsys.sandbox.emarsys.sales_file import Route, SalesHeader, SalesRow, compile_judge

FINISHED = (".csv", ".csv.gz")
"""Endings of files that are complete; anything else, such as `.part`, is still being written."""


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
        place = file.columns.index("order")
        for _, values in CsvFile(body):
            if isinstance(values, list):
                fault(values[place], True)
    return account.sales.accept(route, name, body, header)


def load(account: Account) -> list[LoadReport]:
    """Load every accepted file; the report of each, oldest first."""
    numbers = account.sales.waiting()
    for number in numbers:
        with account.store.transaction() as db:
            _load(account, db, number)
    return account.sales.reports(numbers)


def _load(account: Account, db: Connection, number: int) -> None:
    book, (route, header, body) = account.sales, account.sales.file(number)
    readable: list[tuple[int, list[str]]] = []
    rejects: list[tuple[int, str]] = []
    for line, values in CsvFile(body):
        if isinstance(values, str):
            rejects.append((line, values))
        else:
            readable.append((line, values))
    unreadable, order_place = bool(rejects), header.columns.index("order")
    fitting: list[tuple[int, SalesRow]] = []
    broken: set[str] = set()
    judged = compile_judge(route, header)([values for _, values in readable])
    for (line, values), row in zip(readable, judged, strict=True):
        if isinstance(row, str):
            rejects.append((line, row))
            broken.add(values[order_place])
        else:
            fitting.append((line, row))
    rows = len(fitting) + len(rejects)
    if route == "batch":
        # An unreadable row may be of any order.
        partial = [unreadable or row.order in broken for _, row in fitting]
        rejects += [(line, "another row of the order is rejected") for line, _ in compress(fitting, partial)]
        fitting = [one for one, without in zip(fitting, partial, strict=True) if not without]
        book.drop_images(db, {row.order for _, row in fitting})
    field = account.settings.customer_field if header.buyer_column == "customer" else header.buyer_column
    field_number = next((one.id for one in account.store.fields.values() if one.string_id == field), None)
    book.join(db, field, field_number)
    buyers = book.buyers_of(db, field, field_number, (row.buyer for _, row in fitting))
    book.add(db, number, route, fitting, buyers)
    book.settle(db, number, rows, sorted(rejects))


def read_folder(account: Account, folder: Path) -> list[LoadReport]:
    """Read and load the complete batch files of a folder that are new; the report of each."""
    failed = []
    for path in sorted(folder.iterdir()):
        if not path.is_file() or not path.name.endswith(FINISHED) or path.name.startswith("."):
            continue
        body = path.read_bytes()
        try:
            body = unpacked(body) if path.suffix == ".gz" else body
            if not account.sales.knows_batch(path.name, body):
                accept(account, "batch", body, name=path.name)
        except RefusedFile as refused:
            if not account.sales.knows_batch(path.name, body):
                failed.append(account.sales.fail(path.name, body, str(refused)))
    return sorted([*load(account), *account.sales.reports(failed)], key=lambda report: report.number)
