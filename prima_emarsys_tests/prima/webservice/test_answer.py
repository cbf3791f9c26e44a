"""The XML inside: what is built can be parsed, what is read is judged in a fixed order and held in little memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from prima_emarsys.prima.webservice.answer import Answer, Shape, build_request, judge, read_answer
from prima_emarsys.prima.webservice.outcome import (
    Disbelieved,
    Message,
    Partial,
    Permanent,
    Refused,
    Transient,
    WebServiceError,
    messages,
)
from prima_emarsys.sandbox.prima import grammar

SHAPE = Shape("Data/sku", ["Product", "AvailableQuantity"])
HEAD = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
OK = 'Company="1" RequestStatus="OK" RequestType="ProductAvailableToSell"'
ROW = '<Data><sku Product="A" AvailableQuantity="1"/></Data>'


def read(text: str, pieces: int = 0) -> Answer:
    parts = [text[at : at + pieces] for at in range(0, len(text), pieces)] if pieces else [text]
    return read_answer(iter(parts), SHAPE, Counter())


def outcome(text: str) -> type[WebServiceError] | None:
    try:
        judge(read(HEAD + text), "the stock", "1", "ProductAvailableToSell")
    except WebServiceError as error:
        return type(error)
    return None


xml_text = st.text(st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=["Cs"])).map(
    lambda text: "".join(one for one in text if one in "\t\n\r" or one >= " ")
)


@given(xml_text, xml_text)
def test_whatever_text_a_request_holds_comes_out_as_it_went_in(first: str, second: str) -> None:
    built = build_request("MultiAvailableToSell", {"ProductFrom": first}, [("sku", {"Product": second})])
    assert built.isascii()
    root = fromstring(built)
    assert (root.get("RequestType"), root[0].get("ProductFrom"), root[0][0].get("Product")) == (
        "MultiAvailableToSell",
        first,
        second,
    )
    # And as Prima's double reads it.
    assert grammar.read_request(built).all("Data")[0].get("ProductFrom") == first


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))), st.integers(1, 40))
def test_whatever_text_an_answer_holds_is_read_wherever_it_is_cut(values: list[str], pieces: int) -> None:
    rows = [grammar.element("sku", {"Product": value}) for value in values]
    text = grammar.answer("1", "X", grammar.element("Data", {}, *rows), RequestStatus="OK")
    assert read(text, pieces).rows["Product"].to_pylist() == values


@pytest.mark.parametrize("text", ["a\x07", "\x00", "\ud800", "\ufffe"])
def test_a_text_that_xml_cannot_hold_is_refused_before_it_is_sent(text: str) -> None:
    with pytest.raises(ValueError, match="character that XML cannot"):
        build_request("X", {"ProductFrom": text})


JUDGED: dict[str, tuple[str, type[WebServiceError] | None]] = {
    "all is well": (f"<Result {OK}>{ROW}</Result>", None),
    "nothing to sell": (f"<Result {OK}><Data/></Result>", None),
    "names in other capitals": (f"<RESULT {OK.replace('RequestStatus', 'requestSTATUS')}><data/></RESULT>", None),
    "only the data says so": (
        '<Result Company="1" RequestType="ProductAvailableToSell"><Data RequestStatus="OK"/></Result>',
        None,
    ),
    "no status anywhere": (
        f'<Result Company="1" RequestType="ProductAvailableToSell">{ROW}</Result>',
        Disbelieved,
    ),
    "no status on one of two": (
        '<Result Company="1" RequestType="ProductAvailableToSell"><Data RequestStatus="OK"/><Data/></Result>',
        Disbelieved,
    ),
    "an unknown status": (f"<Result {OK.replace('OK', 'MAYBE')}/>", Disbelieved),
    "an error at the root": (f"<Result {OK.replace('OK', 'ERROR')}>{ROW}</Result>", Refused),
    "an error text beside OK": (f'<Result {OK} Error="(E:1) no"/>', Refused),
    "an error element beside OK": (f"<Result {OK}><RequestError/></Result>", Refused),
    "the only data refused": (f'<Result {OK}><Data RequestStatus="ERROR"/></Result>', Refused),
    "an error below the data": (f'<Result {OK}><Data><RequestError Error="(E:1) no"/></Data></Result>', Refused),
    "one of two refused": (
        f'<Result {OK}><Data RequestStatus="OK"/><Data RequestStatus="ERROR"/></Result>',
        Partial,
    ),
    "another request's": (f"<Result {OK.replace('ProductAvailable', 'Price')}/>", Disbelieved),
    "another company's": (f"<Result {OK.replace('1', '01')}/>", Disbelieved),
    "an error of another company": (f"<Result {OK.replace('OK', 'ERROR').replace('1', '2')}/>", Refused),
    "another document": (f"<Answer {OK}/>", Disbelieved),
    "cut off": (f"<Result {OK}>{ROW}", Disbelieved),
    "nothing": ("", Disbelieved),
    "no XML": ("OK", Disbelieved),
}


@pytest.mark.parametrize("case", JUDGED)
def test_an_answer_is_judged(case: str) -> None:
    text, expected = JUDGED[case]
    assert outcome(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE Result [<!ENTITY a "aaaa">]><Result/>',
        '<!DOCTYPE Result SYSTEM "http://127.0.0.1:9/x.dtd"><Result/>',
        "<Result>&undeclared;</Result>",
    ],
)
def test_document_types_and_entities_are_refused(text: str) -> None:
    with pytest.raises(Disbelieved):
        read(text)


def test_what_passes_and_what_does_not_can_be_told_apart() -> None:
    assert issubclass(Disbelieved, Transient)
    assert issubclass(Refused, Permanent)
    assert not issubclass(Partial, (Transient, Permanent))


def test_an_error_text_is_taken_apart_and_its_first_message_is_the_cause() -> None:
    lines = [grammar.message(21, "Exist1", "Already exists"), grammar.message(194, "ErrMsg", "No lines")]
    text = grammar.element("Result", {"Error": grammar.messages(lines)})
    assert read(text).said == [Message(21, "Already exists"), Message(194, "No lines")]
    assert [str(one) for one in messages("no number  DEV MODE Stack Trace: a.p")] == ["no number"]
    assert messages("") == []


def test_attributes_are_found_without_case_and_values_stay_text() -> None:
    answer = read(f'<Result {OK}><Data><SKU product="007" AVAILABLEQUANTITY="075" Else="x"/><sku/></Data></Result>')
    assert answer.rows.to_pylist() == [
        {"Product": "007", "AvailableQuantity": "075"},
        {"Product": None, "AvailableQuantity": None},
    ]


def test_white_space_before_the_declaration_does_no_harm() -> None:
    assert read(f" \n {HEAD}<Result {OK}/>").status == "OK"


LARGE = """
import resource, sys
from collections import Counter
from xml.sax.saxutils import escape
from prima_emarsys.prima.webservice.answer import Shape, read_answer
from prima_emarsys.prima.webservice.envelope import opened
from prima_emarsys.prima.webservice.mending import mended_bytes

def reply():
    yield b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><o:r xmlns:o="urn:omlink"><answer>'
    yield escape('<Result Company="1" RequestStatus="OK" RequestType="ProductAvailableToSell"><Data>').encode()
    for start in range(0, 200_000, 500):
        rows = (f'<sku AvailableDate="" AvailableQuantity="{n % 900}" MtrxCode1="F" MtrxCode2="075" MtrxCode3="" '
                f'MtrxCode4="" Product="P{n:07d}BRF"/>' for n in range(start, start + 500))
        yield escape("".join(rows)).encode()
    yield escape("</Data></Result>").encode() + b"</answer></o:r></e:Body></e:Envelope>"

names = ["Product", "MtrxCode1", "MtrxCode2", "MtrxCode3", "MtrxCode4", "AvailableQuantity", "AvailableDate"]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
repairs = Counter()
answer = read_answer(opened(mended_bytes(reply(), repairs), "answer"), Shape("Data/sku", names), repairs)
print(answer.rows.num_rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_two_hundred_thousand_skus_are_read_in_little_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, timeout=120, check=True)
    rows, megabytes = map(int, ended.stdout.split())
    assert rows == 200_000
    assert megabytes < 80, "a tree of it would take 440 MB"
