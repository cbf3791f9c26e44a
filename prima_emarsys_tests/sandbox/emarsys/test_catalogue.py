"""A catalogue is taken as a whole, row by row, and what comes back into stock is logged with who is mailed."""

from __future__ import annotations

import base64
import gzip
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest
import requests

from prima_emarsys.sandbox.emarsys.csv_file import Reject
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys_tests.sandbox.emarsys.conftest import PERSON_KEY, Api, upload

HEADER = "item,title,link,image,zoom_image,category,available,description,price,msrp,brand,group_id,c_stock"


def row(item: str, available: str = "true", **other: str) -> str:
    values = {"item": item, "title": "A shirt", "link": f"https://shop.example/{item}", "available": available} | other
    return ",".join(values.get(name, "") for name in HEADER.split(","))


def catalogue(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "catalogue.csv"


def pull(emarsys: LocalEmarsys, path: Path, *rows: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(catalogue(*rows))
    return emarsys.pull_catalogue(path).status


def test_each_file_is_the_whole_catalogue(emarsys: LocalEmarsys, path: Path) -> None:
    assert pull(emarsys, path, row("S-1", price="12.50", c_stock="4", category="Men>Shirts|Sale"), row("S-2")) == "Full"
    assert emarsys.catalogue()["S-1"] == {
        "item": "S-1", "title": "A shirt", "link": "https://shop.example/S-1", "category": "Men>Shirts|Sale",
        "available": "true", "price": "12.50", "c_stock": "4",
    }  # fmt: skip
    assert pull(emarsys, path, row("S-3"), row("S-2")) == "Full"
    assert list(emarsys.catalogue()) == ["S-3", "S-2"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(""), "item is empty"),
        (row("S-1", title=""), "title is empty"),
        (row("S-1", link=""), "link is no address"),
        (row("S-1", link="/shirts/1"), "link is no address"),
        (row("S-1", image="ftp://shop.example/1.jpg"), "image is no address"),
        (row("S-1", available="yes"), "available is neither true nor false"),
        (row("S-1", available=""), "available is neither true nor false"),
        (row("S-1", price='"12,50"'), "price is no price with a decimal point"),
        (row("S-1", msrp="-1"), "msrp is no price with a decimal point"),
        (row("S-1", category="Men>>Shirts"), "category has an empty level"),
        (row("S-0"), "the item was in an earlier row"),
        (row("S-1", description='"two\nlines"'), "a line break inside a value"),
        (row("S-1") + ",", "14 values for 13 columns"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_the_others_are_taken(
    emarsys: LocalEmarsys, path: Path, bad: str, reason: str
) -> None:
    assert pull(emarsys, path, row("S-0"), bad, row("S-9")) == "Partial"
    [report] = emarsys.catalogue_reports()
    assert (report.rows, report.rejects, report.source) == (3, (Reject(3, reason),), str(path))
    assert list(emarsys.catalogue()) == ["S-0", "S-9"]


def test_an_item_is_back_only_when_it_turns_from_unavailable_to_available(emarsys: LocalEmarsys, path: Path) -> None:
    pull(emarsys, path, row("gone", "false"), row("there"), row("lost", "false"), row("out"))
    pull(emarsys, path, row("gone"), row("there"), row("new"), row("out", "false"))
    pull(emarsys, path, row("gone"), row("there"), row("lost"), row("out"))
    assert [(one.item, one.file) for one in emarsys.back_in_stock()] == [("gone", 2), ("out", 3)]
    reports = emarsys.catalogue_reports()
    assert [one.at for one in emarsys.back_in_stock()] == [reports[1].at, reports[2].at]


def test_those_who_wait_are_mailed_once_if_they_may_be(emarsys: LocalEmarsys, api: Api, path: Path) -> None:
    contacts = api.upsert({PERSON_KEY: "P1", "31": "1"}, {PERSON_KEY: "P2", "31": "2"}, {PERSON_KEY: "P3"})["ids"]
    emarsys.wait_for("S-1", "P1", "P2", "P3", "P9")
    emarsys.wait_for("S-2", "P1")
    for available in ("false", "true", "false", "true"):
        pull(emarsys, path, row("S-1", available), row("S-2"))
    assert [(one.item, one.mailed) for one in emarsys.back_in_stock()] == [("S-1", ("P1",)), ("S-1", ())]
    assert emarsys.waiting() == {"S-1": ["P2", "P3", "P9"], "S-2": ["P1"]}
    [mailing] = emarsys.mailings()
    assert (mailing.event, mailing.contact, mailing.external_id) == ("back in stock", contacts[0], "P1")
    assert mailing.data == {"item": "S-1"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file has no header"),
        (b"item,title\nS-1,A shirt\n", "Missing column: link"),
        (b"item,title,link,colour\n", "Unknown column: colour"),
        (catalogue().encode(), "The file has no rows"),
        (b"\x1f\x8bhalf a file", "The file cannot be unpacked"),
        (catalogue(row("S-1", title="Hütte")).encode("latin-1"), "The file is not UTF-8"),
    ],
)
def test_a_file_that_is_refused_leaves_the_catalogue_as_it_was(
    emarsys: LocalEmarsys, path: Path, content: bytes, reason: str
) -> None:
    pull(emarsys, path, row("S-1", "false"))
    path.write_bytes(content)
    report = emarsys.pull_catalogue(path)
    assert (report.status, report.rejects) == ("Failed", (Reject(1, reason),))
    pull(emarsys, path, row(""))
    assert list(emarsys.catalogue()) == ["S-1"]
    pull(emarsys, path, row("S-1"))
    assert [one.item for one in emarsys.back_in_stock()] == ["S-1"]


def test_a_folder_gives_its_newest_complete_file(emarsys: LocalEmarsys, path: Path) -> None:
    pull(emarsys, path, row("S-1"))
    packed = path.with_name("catalogue-2.csv.gz")
    packed.write_bytes(gzip.compress(catalogue(row("S-2")).encode()))
    path.with_name("catalogue-3.csv.part").write_text(catalogue(row("S-3")))
    os.utime(path, (0, 0))
    assert emarsys.pull_catalogue(path.parent).status == "Full"
    assert list(emarsys.catalogue()) == ["S-2"]
    packed.unlink()
    path.unlink()
    assert emarsys.pull_catalogue(path.parent).rejects == (Reject(1, "cannot be fetched: FileNotFoundError"),)


def test_any_place_of_fsspec_can_be_pulled_from(emarsys: LocalEmarsys) -> None:
    with fsspec.open("memory://shop/catalogue.csv", "wb") as file:
        file.write(catalogue(row("S-1")).encode())  # type: ignore[union-attr]
    assert emarsys.pull_catalogue("memory://shop/catalogue.csv").status == "Full"
    assert emarsys.pull_catalogue("memory://shop/nothing.csv").status == "Failed"
    assert emarsys.pull_catalogue("nonsense://shop").status == "Failed"
    assert list(emarsys.catalogue()) == ["S-1"]


class _Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == "Basic " + base64.b64encode(b"emarsys:secret").decode()
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(catalogue(row("S-1")).encode() if allowed else b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}/catalogue.csv"
        server.shutdown()
        thread.join()


def test_a_url_is_pulled_with_the_user_in_it_and_the_password_is_kept_nowhere(emarsys: LocalEmarsys, shop: str) -> None:
    assert emarsys.pull_catalogue(f"http://emarsys:wrong@{shop}").rejects == (
        Reject(1, "cannot be fetched: HTTPError"),
    )
    report = emarsys.pull_catalogue(f"http://emarsys:secret@{shop}")
    assert (report.status, report.source) == ("Full", f"http://{shop}")
    assert "secret" not in str(emarsys.catalogue_reports())


@pytest.mark.parametrize("packed", [False, True])
def test_a_catalogue_may_be_pushed(emarsys: LocalEmarsys, packed: bool) -> None:
    upload(emarsys, catalogue(row("S-1", "false")), kind="catalog")
    reply = upload(emarsys, catalogue(row("S-1")), kind="catalog", packed=packed)
    assert (reply.status_code, reply.text) == (200, "Upload accepted\n")
    assert [(one.source, one.status) for one in emarsys.catalogue_reports()] == [("push", "Full")] * 2
    assert [one.item for one in emarsys.back_in_stock()] == ["S-1"]
    refused = upload(emarsys, "item,title\n", kind="catalog")
    assert (refused.status_code, refused.text) == (400, "Missing column: link\n")


def test_a_push_has_its_own_token_permission_and_faults(emarsys: LocalEmarsys) -> None:
    content = catalogue(row("S-1"), row("S-2"))
    wrong = f"bearer {emarsys.sales_token}"
    assert upload(emarsys, content, kind="catalog", Authorization=wrong).status_code == 401
    emarsys.settings.closed_endpoints = frozenset({"catalogue.upload"})
    assert upload(emarsys, content, kind="catalog").status_code == 403
    emarsys.settings.closed_endpoints = frozenset()
    emarsys.faults = Faults(Fault(kind="503", path="hapi/*/sales-data/api"))
    assert upload(emarsys, content, kind="catalog").status_code == 200
    emarsys.faults = Faults(Fault(kind="drop", applied=True, path="hapi/*/catalog/api"))
    with pytest.raises(requests.ConnectionError):
        upload(emarsys, catalogue(row("S-3")), kind="catalog")
    assert list(emarsys.catalogue()) == ["S-3"]
    emarsys.faults = Faults(Fault(kind="poison", keys=frozenset({"S-2"}), path="hapi/*/catalog/api"))
    assert upload(emarsys, content, kind="catalog").status_code == 400
    assert list(emarsys.catalogue()) == ["S-3"]


def test_a_restart_keeps_the_catalogue_and_those_who_wait(tmp_path: Path, path: Path) -> None:
    with LocalEmarsys(tmp_path / "emarsys") as emarsys:
        emarsys.seed([{"prima_person_key": "P1", "optin": "1"}])
        pull(emarsys, path, row("S-1", "false"))
        emarsys.wait_for("S-1", "P1")
    with LocalEmarsys(tmp_path / "emarsys") as emarsys:
        pull(emarsys, path, row("S-1"))
        assert [(one.item, one.mailed) for one in emarsys.back_in_stock()] == [("S-1", ("P1",))]


def test_the_admin_paths_pull_and_show_the_catalogue(emarsys: LocalEmarsys, path: Path) -> None:
    url = f"{emarsys.url}/sandbox/catalogue"
    emarsys.seed([{"prima_person_key": "P1", "optin": "1"}])
    wish = {"item": "S-1", "external_ids": ["P1", "P2"]}
    assert requests.post(f"{url}/waiting", json=wish, timeout=10).json() == {"S-1": ["P1", "P2"]}
    pull(emarsys, path, row("S-1", "false"))
    path.write_text(catalogue(row("S-1")))
    report = requests.post(f"{url}/files", json={"place": str(path)}, timeout=10).json()
    assert (report["status"], report["rejects"]) == ("Full", [])
    assert requests.get(f"{url}/files", timeout=10).json()[-1] == report
    assert list(requests.get(url, timeout=10).json()) == ["S-1"]
    [back] = requests.get(f"{url}/back-in-stock", timeout=10).json()
    assert back == asdict(emarsys.back_in_stock()[0]) | {"mailed": ["P1"]}
    assert requests.delete(f"{url}/waiting", timeout=10).json() == {}
