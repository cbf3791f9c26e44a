"""Sales data on the wire: the bytes of a file, what each reply to an upload means, and the folder for batch loads."""

from __future__ import annotations

import csv
import gzip
import io
import ssl
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from prima_emarsys.emarsys.folder import Folder
from prima_emarsys.emarsys.outcome import Ambiguous, Answered, BatchRefused, Later, Outcome, Stopped, TooLarge, explain
from prima_emarsys.emarsys.sales_data import HEADER, BatchFiles, HttpUpload, encode
from prima_emarsys_tests.emarsys.scripted import Scripted, Step, drip, hang, raw, reply
from prima_emarsys_tests.emarsys.sftp import SftpServer

TOKEN = "sales-token-5f4e3d"
CONTENT = gzip.compress(b"order,customer\n1,P1\n")


def a_line(**given: Any) -> dict[str, Any]:
    return {
        "line_key": "1-100|1|sale",
        "version": 1,
        "order_id": "100",
        "item": "BOOT_F_075",
        "customer": "P1-A",
        "company": "1",
        "channel": "WEB",
        "kind": "sale",
        "price": Decimal("1234.50"),
        "quantity": 2,
        "gross": Decimal("1234.50"),
        "net": Decimal("1028.75"),
        "discount": Decimal("0.00"),
        "currency": "GBP",
        "order_value": Decimal("1234.5000"),
        "happened_at": datetime(2026, 4, 5, 15, 38, 40, 999, tzinfo=timezone(timedelta(hours=1))),
        "posted_on": date(2026, 4, 5),
    } | given


# -- the bytes -------------------------------------------------------------------------------------------------------


def test_a_file_has_a_fixed_header_dot_decimals_and_utc_times() -> None:
    header, row = encode([a_line()]).decode().splitlines()
    assert header == (
        "order,customer,item,price,quantity,timestamp,s_company,s_channel,s_kind,s_line,"
        "f_gross,f_net,f_discount,s_currency,f_order_value"
    )
    assert row == (
        "100,P1-A,BOOT_F_075,1234.50,2,2026-04-05T14:38:40Z,1,WEB,sale,1-100|1|sale/1,"
        "1234.50,1028.75,0.00,GBP,1234.5000"
    )
    assert b"2026-04-05T14:38:40+00:00" in encode([a_line()], offset=True)


def test_row_79_a_line_break_in_a_value_becomes_a_blank_and_a_quote_is_doubled() -> None:
    awkward = [a_line(item='a "b"\r\nc,d'), a_line(order_id="x\ny", channel="\u2028\x00WEB")]
    text = encode(awkward).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == len(text.splitlines()) == 3
    assert {len(row) for row in rows} == {len(HEADER)}
    assert rows[1][2] == 'a "b" c,d'
    assert (rows[2][0], rows[2][7]) == ("x y", " WEB")


def test_row_80_what_looks_like_a_formula_and_negative_numbers_go_as_they_are() -> None:
    row = encode([a_line(item="=HYPERLINK(1)", price=Decimal("-0.10"), quantity=-1)]).decode().splitlines()[1]
    assert row.startswith("100,P1-A,=HYPERLINK(1),-0.10,-1,")


# -- the upload ------------------------------------------------------------------------------------------------------


def upload(*steps: Step, seconds: float = 5.0) -> tuple[Outcome, Scripted]:
    with Scripted(list(steps)) as server:
        sink = HttpUpload(
            f"{server.url}/hapi/merchant/0123456789abcdef/sales-data/api", SecretStr(TOKEN), deadline=seconds
        )
        return sink.send("a.csv", CONTENT), server


def test_an_upload_carries_token_and_gzip_and_is_taken_in_by_a_plain_text() -> None:
    outcome, server = upload(reply("Upload accepted\n", headers={"Content-Type": "text/plain"}))
    assert outcome == Answered({})
    [call] = server.calls
    assert (call.method, call.target) == ("POST", "/hapi/merchant/0123456789abcdef/sales-data/api")
    assert call.headers["authorization"] == f"bearer {TOKEN}"
    assert (call.headers["content-type"], call.headers["content-encoding"]) == ("text/csv", "gzip")
    assert call.headers["accept"] == "text/plain"
    assert call.body == CONTENT


REPLIES: dict[str, tuple[Step, type[Outcome]]] = {
    "400: the content is refused": (reply("unexpected header", 400), BatchRefused),
    "413: too much": (reply("", 413), TooLarge),
    "401: row 14": (reply("unauthorised", 401), Stopped),
    "403: row 15": (reply("", 403), Stopped),
    "404": (reply("", 404), Stopped),
    "302: row 28": (reply("", 302, {"Location": "https://elsewhere.example/"}), Stopped),
    "429: row 9": (reply("", 429), Later),
    "503": (reply("", 503), Later),
    "500: row 11": (reply("", 500), Ambiguous),
    "502": (reply("", 502), Ambiguous),
    "408": (reply("", 408), Ambiguous),
    "200 with HTML: row 18": (reply("<html>Upload accepted</html>"), Ambiguous),
    "200 with nothing: row 18": (reply(""), Ambiguous),
    "202": (reply("Upload accepted", 202), Ambiguous),
    "reset mid-reply: row 6": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nUpload"), Ambiguous),
    "reset without a reply": (raw(b""), Ambiguous),
}


@pytest.mark.parametrize("case", REPLIES)
def test_every_reply_has_its_meaning(case: str) -> None:
    step, meaning = REPLIES[case]
    outcome, server = upload(step)
    assert type(outcome) is meaning, outcome
    # Row 5: whatever it says, it is sent once.
    assert len(server.calls) == 1


def test_row_5_a_reply_that_does_not_come_in_time_is_ambiguous() -> None:
    assert isinstance(upload(hang(3), seconds=0.3)[0], Ambiguous)
    # Row 8: a byte at a time is cut at the deadline of the whole.
    slow = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nUpload accepted\n"
    assert isinstance(upload(drip(slow, 0.05), seconds=0.5)[0], Ambiguous)


def test_row_1_a_refused_connection_is_certain() -> None:
    with Scripted([raw(b"")]) as server:
        url = server.url
    outcome = HttpUpload(url, SecretStr(TOKEN), deadline=5).send("a.csv", CONTENT)
    assert isinstance(outcome, Later)
    assert outcome.counts_as_failure


@pytest.mark.parametrize(("said", "kept"), [("20", 20.0), ("0", 1.0), ("99999999", 120.0), ("soon", 30.0), ("", 30.0)])
def test_row_10_a_wait_is_kept_within_reason(said: str, kept: float) -> None:
    outcome, _ = upload(reply("", 429, {"Retry-After": said} if said else {}))
    assert isinstance(outcome, Later)
    assert (outcome.wait, outcome.counts_as_failure) == (kept, False)


def test_a_stop_says_where_the_token_comes_from_and_never_shows_it() -> None:
    outcome, _ = upload(reply(f"bad token {TOKEN}", 401))
    assert isinstance(outcome, Stopped)
    assert "API upload details of the sales data source" in outcome.remedy
    assert TOKEN not in explain(outcome)
    assert "[secret]" in explain(outcome)


def test_row_29_no_token_goes_over_an_open_line_or_to_a_server_that_cannot_prove_itself() -> None:
    with pytest.raises(ValueError, match="https"):
        HttpUpload("http://sales.example/api", SecretStr(TOKEN), deadline=5)
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Scripted([reply("Upload accepted\n")], tls=context) as server:
        outcome = HttpUpload(server.url, SecretStr(TOKEN), deadline=5).send("a.csv", CONTENT)
        assert server.seen == []
    assert isinstance(outcome, Stopped)
    assert "certificate" in outcome.reason


# -- the folder ------------------------------------------------------------------------------------------------------


def test_a_batch_file_appears_whole_and_replaces_one_of_its_name(tmp_path: Path) -> None:
    sink = BatchFiles(Folder(str(tmp_path)))
    assert sink.send("a.csv", CONTENT) == Answered({})
    assert sink.send("a.csv", gzip.compress(b"again")) == Answered({})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.csv": b"again"}


def test_a_folder_that_is_not_there_stops_the_lane(tmp_path: Path) -> None:
    outcome = BatchFiles(Folder(f"file://{tmp_path}/none")).send("a.csv", CONTENT)
    assert isinstance(outcome, Stopped)
    assert "Create the folder" in outcome.remedy


def test_by_sftp_the_server_must_be_the_one_whose_key_we_know(tmp_path: Path) -> None:
    with SftpServer(tmp_path, password="sesame") as server:
        url = f"sftp://emarsys@127.0.0.1:{server.port}/in"
        (tmp_path / "in").mkdir()
        right = Folder(url, password=SecretStr("sesame"), host_key=server.host_key)
        assert BatchFiles(right).send("a.csv", CONTENT) == Answered({})
        assert {path.name for path in (tmp_path / "in").iterdir()} == {"a.csv"}
        assert (tmp_path / "in" / "a.csv").read_bytes() == gzip.decompress(CONTENT)
        assert BatchFiles(right).send("a.csv", CONTENT) == Answered({})
        other = Folder(url, password=SecretStr("sesame"), host_key=SftpServer.other_host_key())
        assert isinstance(BatchFiles(other).send("b.csv", CONTENT), Stopped)
        wrong = Folder(url, password=SecretStr("simsalabim"), host_key=server.host_key)
        outcome = BatchFiles(wrong).send("b.csv", CONTENT)
        assert isinstance(outcome, Stopped)
        assert "simsalabim" not in explain(outcome)
    gone = BatchFiles(right).send("c.csv", CONTENT)
    assert isinstance(gone, Later)
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"a.csv"}


@pytest.mark.parametrize("by", ["disk", "sftp"])
def test_a_file_that_takes_the_place_of_another_is_whole_and_the_one_before_is_kept(tmp_path: Path, by: str) -> None:
    (tmp_path / "in").mkdir()
    with SftpServer(tmp_path, password="sesame") as server:
        url = f"sftp://emarsys@127.0.0.1:{server.port}/in" if by == "sftp" else str(tmp_path / "in")
        folder = Folder(url, password=SecretStr("sesame"), host_key=server.host_key)
        for content in (b"one", b"two", b"three"):
            (tmp_path / "made").write_bytes(content)
            folder.replace("all.csv", tmp_path / "made")
    found = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    assert found == {"all.csv": b"three", "previous-all.csv": b"two"}


def test_by_sftp_a_private_key_opens_too(tmp_path: Path) -> None:
    with SftpServer(tmp_path) as server:
        url = f"sftp://emarsys@127.0.0.1:{server.port}/"
        folder = Folder(url, private_key=SecretStr(server.client_key), host_key=server.host_key)
        assert BatchFiles(folder).send("a.csv", CONTENT) == Answered({})
    assert (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("ftp://host/in", "not ftp://"),
        ("http://host/in", "not http://"),
        ("sftp://user:secret@host/in", "must not hold a password"),
        ("sftp://user@host/in", "public key in host_key"),
    ],
)
def test_an_open_line_or_an_unknown_server_is_refused(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Folder(url, password=SecretStr("sesame"))
    with pytest.raises(ValueError, match="must be a public key"):
        Folder("sftp://user@host/in", host_key="ssh-ed25519 nonsense")
