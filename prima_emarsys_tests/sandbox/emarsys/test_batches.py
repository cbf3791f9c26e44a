"""Batch files replace: an order is what the last file says of it, and a file is read once and only when complete."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import requests

from prima_emarsys.sandbox.emarsys.csv_file import Reject
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import upload

HEADER = "order,customer,item,price,quantity,timestamp"
AT = "2026-04-05T14:38:40+00:00"


def put(folder: Path, name: str, *rows: str, header: str = HEADER) -> Path:
    path = folder / name
    text = "\n".join([header, *rows]) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def orders(emarsys: LocalEmarsys) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sale in emarsys.sales():
        found.setdefault(sale.order, []).append(str(sale.price))
    return found


def turnover(emarsys: LocalEmarsys) -> dict[str, str]:
    return {identifier: str(amount) for identifier, amount in emarsys.turnover().items()}


def test_a_later_image_of_an_order_replaces_the_earlier_one(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}", f"7,P1,SKU-2,5.00,1,{AT}", f"8,P1,SKU-1,3.00,1,{AT}")
    put(tmp_path, "2.csv.gz", f"7,P1,SKU-1,10.00,1,{AT}", "7,P1,SKU-1,-10.00,-1,2026-04-20T09:00:00+01:00")
    reports = emarsys.load_batches(tmp_path)
    assert [(one.name, one.route, one.status, one.rows) for one in reports] == [
        ("1.csv", "batch", "Full", 3), ("2.csv.gz", "batch", "Full", 2),
    ]  # fmt: skip
    assert orders(emarsys) == {"8": ["3.0000"], "7": ["10.0000", "-10.0000"]}
    assert turnover(emarsys) == {"P1": "3.0000"}
    assert [buyer.purchases for buyer in emarsys.buyers()] == [1]


def test_the_same_content_again_changes_nothing(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    rows = f"7,P1,SKU-1,10.00,1,{AT}", f"7,P1,SKU-1,10.00,1,{AT}"
    put(tmp_path, "1.csv", *rows)
    emarsys.load_batches(tmp_path)
    put(tmp_path, "2.csv", *rows)
    assert len(emarsys.load_batches(tmp_path)) == 1
    assert turnover(emarsys) == {"P1": "20.0000"}


def test_an_order_moves_to_the_buyer_of_its_last_image(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    put(tmp_path, "2.csv", f"7,P2,SKU-1,10.00,1,{AT}")
    emarsys.load_batches(tmp_path)
    assert turnover(emarsys) == {"P2": "10.0000"}


def test_a_file_is_read_once_and_again_when_its_content_changes(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "orders.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    assert len(emarsys.load_batches(tmp_path)) == 1
    assert emarsys.load_batches(tmp_path) == []
    put(tmp_path, "orders.csv", f"7,P1,SKU-1,12.00,1,{AT}")
    assert len(emarsys.load_batches(tmp_path)) == 1
    assert turnover(emarsys) == {"P1": "12.0000"}


@pytest.mark.parametrize("name", ["1.csv.part", "1.csv.tmp", "1.tmp", ".1.csv", "1.txt"])
def test_what_is_still_being_written_is_not_read(emarsys: LocalEmarsys, tmp_path: Path, name: str) -> None:
    unfinished = put(tmp_path, name, f"7,P1,SKU-1,10.00,1,{AT}")
    (tmp_path / "emarsys-reads-no-folders.csv").mkdir()
    assert emarsys.load_batches(tmp_path) == []
    unfinished.rename(tmp_path / "1.csv")
    assert [one.status for one in emarsys.load_batches(tmp_path)] == ["Full"]


def test_an_order_with_a_rejected_row_keeps_its_earlier_image(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    put(tmp_path, "2.csv", f"7,P1,SKU-1,10.00,1,{AT}", f"7,P1,SKU-2,ten,1,{AT}", f"8,P1,SKU-1,3.00,1,{AT}")
    report = emarsys.load_batches(tmp_path)[1]
    assert (report.status, report.rows, report.loaded) == ("Partial", 3, 1)
    assert report.rejects == (
        Reject(2, "another row of the order is rejected"),
        Reject(3, "price is no number with a decimal point"),
    )
    assert orders(emarsys) == {"7": ["10.0000"], "8": ["3.0000"]}


def test_a_row_that_cannot_be_read_may_be_of_any_order(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}", "7,P1,SKU-2,5.00,1")
    assert [(one.status, one.loaded) for one in emarsys.load_batches(tmp_path)] == [("Failed", 0)]
    assert emarsys.sales() == []


@pytest.mark.parametrize("at", ["2026-04-05", "2026-04-05T14:38:40", "2026-04-05T14:38+00:00"])
def test_times_need_seconds_and_an_offset(emarsys: LocalEmarsys, tmp_path: Path, at: str) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{at}")
    reason = "timestamp is no ISO 8601 time with seconds and an offset"
    assert [one.rejects for one in emarsys.load_batches(tmp_path)] == [(Reject(2, reason),)]


def test_a_file_that_is_refused_as_a_whole_has_failed_once(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    columns = ",".join(f"s_{number}" for number in range(21))
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}{',' * 21}", header=f"{HEADER},{columns}")
    (tmp_path / "2.csv.gz").write_bytes(b"no gzip")
    put(tmp_path, "3.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    put(tmp_path, "4.csv", "7,P1,SKU-1,10.00,1", header=HEADER.replace(",timestamp", ""))
    reports = emarsys.load_batches(tmp_path)
    assert [(one.name, one.status, [reject.reason for reject in one.rejects]) for one in reports] == [
        ("1.csv", "Failed", ["21 custom columns; at most 20 are loaded"]),
        ("2.csv.gz", "Failed", ["The file cannot be unpacked"]),
        ("3.csv", "Full", []),
        ("4.csv", "Failed", ["Missing column: timestamp"]),
    ]
    assert emarsys.load_batches(tmp_path) == []
    assert [one.status for one in emarsys.load_reports()] == ["Failed", "Failed", "Full", "Failed"]


def test_the_two_routes_do_not_know_of_each_other(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    other_header = "customer,order,item,price,quantity,timestamp"
    upload(emarsys, f"{other_header}\nP1,7,SKU-1,10.00,1,{AT}\n")
    emarsys.load_sales()
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    put(tmp_path, "2.csv", f"7,P1,SKU-1,4.00,1,{AT}")
    emarsys.load_batches(tmp_path)
    assert turnover(emarsys) == {"P1": "14.0000"}


def test_a_restart_remembers_which_files_were_read(tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    with LocalEmarsys(tmp_path / "emarsys") as emarsys:
        emarsys.load_batches(tmp_path)
    with LocalEmarsys(tmp_path / "emarsys") as emarsys:
        assert emarsys.load_batches(tmp_path) == []
        put(tmp_path, "2.csv", f"7,P1,SKU-1,9.00,1,{AT}")
        emarsys.load_batches(tmp_path)
        assert turnover(emarsys) == {"P1": "9.0000"}


def test_the_admin_path_reads_a_folder(emarsys: LocalEmarsys, tmp_path: Path) -> None:
    put(tmp_path, "1.csv", f"7,P1,SKU-1,10.00,1,{AT}")
    url = f"{emarsys.url}/sandbox/sales/batches"
    [report] = requests.post(url, json={"folder": str(tmp_path)}, timeout=10).json()
    assert (report["name"], report["status"]) == ("1.csv", "Full")
    assert requests.post(url, json={"folder": str(tmp_path / "nowhere")}, timeout=10).status_code == 400
