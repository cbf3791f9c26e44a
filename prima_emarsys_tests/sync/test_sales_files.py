"""Sealed files: a line belongs to one file for ever, and a file whose fate is unknown waits for a person."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from prima_emarsys.sync.exceptions import open_exceptions
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import (
    ABSENT,
    ACCEPTED,
    REFUSED,
    SEALED,
    SENDING,
    UNKNOWN,
    NotResolvable,
    SalesFile,
    SalesFiles,
    Sending,
)
from prima_emarsys.sync.schema import audit, sales_file, sales_line

CSV = b"item,price\nBOOT,10.00\n"


def a_line(key: str, version: int = 1, price: str = "10.00") -> dict[str, Any]:
    amount = Decimal(price)
    return {
        "line_key": key,
        "version": version,
        "order_id": "100",
        "item": "BOOT",
        "customer": "P1-A",
        "company": "1",
        "channel": "WEB",
        "kind": "sale",
        "price": amount,
        "quantity": 1,
        "gross": amount,
        "net": Decimal("8.33"),
        "discount": Decimal("0.00"),
        "currency": "GBP",
        "order_value": Decimal("10.1250"),
        "happened_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
        "ordered_on": date(2026, 3, 1),
        "posted_on": date(2026, 3, 1),
    }


@pytest.fixture
def files(ledger: Ledger) -> SalesFiles:
    return SalesFiles(ledger)


def seal(files: SalesFiles, *keys: str) -> SalesFile:
    return files.seal("http", "GBP", [a_line(key) for key in keys], CSV)


def begin(files: SalesFiles, file: SalesFile) -> Sending:
    sending = files.begin(file)
    assert sending is not None
    return sending


def state(files: SalesFiles, file: SalesFile) -> str:
    return next(one.state for one in files.all() if one.id == file.id)


def held(files: SalesFiles, column: str) -> list[Any]:
    return files.ledger.read(lambda c: list(c.scalars(sa.select(sales_file.c[column]).order_by(sales_file.c.id))))


def test_sealing_fixes_lines_bytes_digest_count_and_value_at_once(files: SalesFiles) -> None:
    file = files.seal("http", "GBP", [a_line("a"), a_line("b", price="-2.50")], CSV)
    assert (file.state, file.rows, file.value, file.currency) == (SEALED, 2, Decimal("7.50"), "GBP")
    assert file.sha256 == hashlib.sha256(gzip.decompress(held(files, "content")[0])).hexdigest()
    [lines] = files.lines([file.id])
    assert sorted(lines, key=lambda one: one["line_key"])[0] == a_line("a") | {"file_id": file.id}


def test_a_line_belongs_to_one_file_for_ever(files: SalesFiles) -> None:
    first = seal(files, "a", "b")
    with pytest.raises(sa.exc.IntegrityError):
        seal(files, "c", "b")
    assert [file.id for file in files.all()] == [first.id]
    assert files.ledger.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(sales_line))) == 2
    later = files.seal("http", "GBP", [a_line("b", version=2)], CSV)
    assert [file.id for file in files.all()] == [first.id, later.id]


def test_a_file_is_sent_by_one_process_and_its_content_goes_once_it_is_accepted(files: SalesFiles) -> None:
    file = seal(files, "a")
    assert files.next_sealed("http") == file
    assert files.next_sealed("files") is None
    sending = begin(files, file)
    assert gzip.decompress(sending.content) == CSV
    assert state(files, file) == SENDING
    assert files.begin(file) is None
    assert files.next_sealed("http") is None
    assert files.accept(sending)
    assert state(files, file) == ACCEPTED
    assert held(files, "content") == [None]
    assert files.begin(file) is None


def test_what_certainly_did_not_arrive_goes_again_with_the_same_bytes(files: SalesFiles) -> None:
    file = seal(files, "a")
    first = begin(files, file)
    assert files.put_back(first, "HTTP 429")
    second = begin(files, file)
    assert (second.content, second.attempts) == (first.content, 2)


def test_row_34_a_file_found_being_sent_is_unknown_and_listed_with_its_value(files: SalesFiles) -> None:
    file = seal(files, "a", "b")
    begin(files, file)
    assert files.recover("http", repeatable=False) == 1
    assert state(files, file) == UNKNOWN
    assert files.next_sealed("http") is None
    files.report()
    files.report()
    [case] = open_exceptions(files.ledger)
    assert (case.kind, case.record, case.owner, case.money) == (
        "sales-file-unknown",
        file.name,
        "marketing",
        Decimal("20.00"),
    )
    assert files.recover("http", repeatable=False) == 0


def test_a_file_that_replaces_what_it_repeats_goes_again(files: SalesFiles) -> None:
    file = files.seal("files", "GBP", [a_line("a")], CSV)
    begin(files, file)
    assert files.recover("files", repeatable=True) == 1
    assert state(files, file) == SEALED


def test_row_37_a_sender_that_lost_its_file_changes_nothing(files: SalesFiles) -> None:
    file = seal(files, "a")
    sending = begin(files, file)
    files.recover("http", repeatable=False)
    assert not files.accept(sending)
    assert not files.put_back(sending, "late")
    assert state(files, file) == UNKNOWN


@pytest.mark.parametrize(("said", "then"), [("arrived", ACCEPTED), ("absent", ABSENT)])
def test_a_named_person_says_whether_an_unknown_file_arrived(files: SalesFiles, said: Any, then: str) -> None:
    file = seal(files, "a")
    files.lose(begin(files, file), "the reply was lost")
    files.report()
    resolved = files.resolve(file.name, said, "Ann", "seen on the page")
    assert (resolved.state, resolved.resolution, resolved.resolved_by) == (then, said, "Ann")
    assert held(files, "content") == [None]
    files.report()
    assert open_exceptions(files.ledger) == []
    [entry] = files.ledger.read(lambda c: c.execute(sa.select(audit)).all())
    assert (entry.who, entry.what, entry.subject) == ("Ann", f"sales-{said}", file.name)
    assert "seen on the page (1 rows worth 10.00 GBP; the reply was lost)" in entry.detail
    with pytest.raises(NotResolvable, match=f"is {then}; only unknown"):
        files.resolve(file.name, said, "Ann", "again")


def test_a_refused_file_is_released_or_given_up_and_cannot_have_arrived(files: SalesFiles) -> None:
    file = seal(files, "a")
    files.refuse(begin(files, file), "HTTP 400: header")
    assert state(files, file) == REFUSED
    [finding] = files.report()
    assert (finding.kind, finding.money) == ("sales-file-refused", Decimal("10.00"))
    with pytest.raises(NotResolvable, match="is refused; only unknown files"):
        files.resolve(file.name, "arrived", "Ann", "no")
    files.release(file.name, "Ann", "mended")
    assert state(files, file) == SEALED
    files.refuse(begin(files, file), "HTTP 400: header")
    files.resolve(file.name, "absent", "Ann", "give up")
    assert state(files, file) == ABSENT
    with pytest.raises(NotResolvable, match="no file nothing.csv"):
        files.release("nothing.csv", "Ann", "what")


def test_a_decision_needs_a_name(files: SalesFiles) -> None:
    file = seal(files, "a")
    files.lose(begin(files, file), "lost")
    with pytest.raises(ValueError, match="needs the name"):
        files.resolve(file.name, "absent", " ", "no")
    assert state(files, file) == UNKNOWN


def test_every_file_is_counted_under_one_state(files: SalesFiles) -> None:
    seal(files, "a")
    lost = seal(files, "b", "c")
    files.lose(begin(files, lost), "lost")
    counts = files.by_state()
    assert counts[SEALED] == (1, 1, Decimal("10.00"))
    assert counts[UNKNOWN] == (1, 2, Decimal("20.00"))
    assert counts[ACCEPTED] == (0, 0, Decimal("0.00"))
