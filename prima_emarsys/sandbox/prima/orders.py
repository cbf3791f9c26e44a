"""Orders by web service: `NewOrder` and `MultiNewOrder` write them, `OrderStatus` tells where one stands.

Known: an order without an account code opens a new account, whoever the shopper is; the shop's order number is kept as
Prima's own; a number that exists is refused with E:21 and its followers, an order without a sound line with E:194, one
whose VAT flag differs from the price book's with E:548; the answer tells each order's outcome on its `Data`, and that
of `MultiNewOrder` has no status on its root. Our reading: `Price` is the line's value with VAT, an unsound line beside
sound ones is left out, lines are served by the company's first sellable warehouse unless they name another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from prima_emarsys.sandbox.prima import invented
from prima_emarsys.sandbox.prima.grammar import Element, answer, element, message, messages
from prima_emarsys.sandbox.prima.stock import named_sku, sku_key
from prima_emarsys.sandbox.world.moves import Moves
from prima_emarsys.sandbox.world.store import Row, Rows

_CONSENTS = {
    "receive_mail": "ReceiveMail",
    "receive_email": "ReceiveEmail",
    "receive_text": "ReceiveText",
    "receive_phone": "ReceivePhone",
    "receive_mobile": "ReceiveMobile",
    "rent_details": "RentDetails",
}


@dataclass
class _Draft:
    """An order as far as it has been read, and what is wrong with it."""

    data: Element
    company: str
    lines: list[Row] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def number(self) -> str:
        return self.data.get("OrderNumber")

    def part(self, name: str) -> Element:
        """One of the order's sections; an empty one if it is not there."""
        return next(iter(self.data.all(name)), Element(name, {}))


def order_status(rows: Rows, company: str, request: Element) -> str:
    """The status word of one order, as Prima has it."""
    number = next((data.get("OrderNumber") for data in request.all("Data")), "")
    order = rows.one("sales_order", company=company, order_number=number)
    request_type = request.get("RequestType")
    if order is None:
        return invented.unknown_order(company, request_type, number)
    told = element("Data", {"OrderNumber": number, "OrderStatus": order["status"]})
    return answer(company, request_type, told, RequestStatus="OK")


def new_order(moves: Moves, company: str, request: Element) -> str:
    """One order; a root status beside that of its `Data` is our choice."""
    told, accepted = _outcomes(moves, company, request)
    return answer(company, request.get("RequestType"), *told, RequestStatus="OK" if accepted else "ERROR")


def multi_new_order(moves: Moves, company: str, request: Element) -> str:
    """Several orders, each with an outcome of its own."""
    told, _ = _outcomes(moves, company, request)
    return answer(company, request.get("RequestType"), *told)


def _outcomes(moves: Moves, company: str, request: Element) -> tuple[list[str], bool]:
    outcomes = [_outcome(moves, _Draft(data, company)) for data in request.all("Data")]
    return [told for told, _ in outcomes], all(accepted for _, accepted in outcomes)


def _outcome(moves: Moves, draft: _Draft) -> tuple[str, bool]:
    """What is said of one order, and whether it was accepted."""
    _check(moves, draft)
    account = None if draft.errors else _account(moves, draft)
    if account is not None:
        _accept(moves, draft, account)
    told = {
        "CustRef": draft.data.get("CustomerRef"),
        "CustomerCode": account["customer_code"] if account else "",
        "OrderNumber": draft.number,
        "RequestStatus": "OK" if account else "ERROR",
        "TPGUID": draft.data.get("TPGUID"),
        "UniqueID": draft.data.get("UniqueId"),
    }
    if account:
        return element("Data", told), True
    error = element("RequestError", {"Error": messages(draft.errors), "UniqueID": draft.data.get("UniqueId")})
    return element("Data", told, error), False


# -- reading and checking --------------------------------------------------------------------------------------------


def _check(moves: Moves, draft: _Draft) -> None:
    if moves.rows.one("sales_order", company=draft.company, order_number=draft.number):
        draft.errors = [
            message(21, "Exist1", f"Sales Order Header already exists with Order Number equal to {draft.number}"),
            message(194, "ErrMsg", "NO VALID Sales Order Header Details for Line"),
            message(194, "ErrMsg", "NO VALID Sales Order Header Details for Charges"),
            message(194, "ErrMsg", _no_lines(draft)),
        ]
        return
    # Every price book of this Prima holds prices with VAT; an order that says nothing takes the book's flag.
    if draft.data.get("VatInclusive").casefold() == "no":
        text = "Price obtained from the Price Book has a different VAT Incl Prices Value to the Sales Order"
        draft.errors = [message(548, "VATINCORD", text)]
        return
    unsound: list[str] = []
    for asked in draft.data.all("OrderLineData"):
        line = _line(moves, draft, asked)
        if line is None:
            unsound.append(message(194, "ErrMsg", "NO VALID Sales Order Line Details for Matrix Levels"))
        else:
            draft.lines.append(line)
    if not draft.lines:
        draft.errors = [*unsound, message(194, "ErrMsg", _no_lines(draft))]


def _no_lines(draft: _Draft) -> str:
    return f"There were no Valid Order Lines found for the Current Order {draft.number}"


def _line(moves: Moves, draft: _Draft, asked: Element) -> Row | None:
    """The order line that was asked for; None if its SKU or quantity is none."""
    product, *matrix = (part.strip().upper() for part in named_sku(asked))
    skus = moves.rows.find("sku", company=draft.company, product=product)
    sku = next((row for row in skus if [code.upper() for code in sku_key(row)[1:]] == matrix), None)
    if sku is None or not re.fullmatch(r"[1-9][0-9]{0,5}", asked.get("Quantity")):
        return None
    quantity = int(asked.get("Quantity"))
    book = quantity * (moves.price(product) or Decimal(0))
    value = _amount(asked.get("Price"), book)
    return {
        "company": draft.company,
        "order_number": draft.number,
        "line_number": asked.get("OrderLine") or str(len(draft.lines) + 1),
        **{name: sku[name] for name in ("product", "matrix_1", "matrix_2", "matrix_3", "matrix_4")},
        "status": _status(draft),
        "quantity": quantity,
        "quantity_cancelled": 0,
        "quantity_despatched": 0,
        "value_incl_vat": value,
        "value_excl_vat": moves.without_vat(value, product),
        "discount_incl_vat": max(book - value, Decimal(0)),
        "promotion": asked.get("Promotion") or None,
        "warehouse": asked.get("Warehouse") or _first_warehouse(moves.rows, draft.company),
        "due_on": (moves.at + timedelta(days=3)).date(),
        "changed_at": moves.stamp,
    }


def _amount(text: str, otherwise: Decimal) -> Decimal:
    try:
        return Decimal(text).quantize(Decimal("0.01"))
    except InvalidOperation:
        return otherwise


def _status(draft: _Draft) -> str:
    return "Held" if draft.data.get("HoldOrder").casefold() == "yes" else "Confirmed"


def _first_warehouse(rows: Rows, company: str) -> str:
    return next(row["warehouse"] for row in rows.find("warehouse", company=company) if row["is_sellable"])


# -- writing ---------------------------------------------------------------------------------------------------------


def _account(moves: Moves, draft: _Draft) -> Row | None:
    """The account that is named, or a new one if none is; None, with the error noted, if the named one is not there."""
    data = draft.data
    if code := data.get("Customer"):
        known = moves.rows.one("customer", company=draft.company, customer_code=code)
        if known is None:
            draft.errors.append(invented.unknown_customer(code))
        return known
    texts = {"title": "CustomerTitle", "forename": "CustomerForename", "surname": "CustomerSurname"}
    texts |= {"email": "CustomerEmail", "phone": "CustomerPhone", "mobile": "CustomerMobile"}
    person: Row = {"company": draft.company} | {name: data.get(theirs) or None for name, theirs in texts.items()}
    account = moves.open_account(person)
    answers = {name: data.get(theirs).casefold() == "yes" for name, theirs in _CONSENTS.items() if data.get(theirs)}
    account = moves.change_account(account, channel=_channel(draft), **answers)
    lines = {f"line_{n}": data.get(f"AddrLine{n}") for n in range(1, 7)}
    key = {"company": draft.company, "customer_code": account["customer_code"], "address_number": "1"}
    address = moves.rows.one("customer_address", **key) or key
    changed = lines | {"city": "", "postcode": data.get("PostCode"), "country": data.get("Country") or "GB"}
    moves.rows.rewrite("customer_address", address | changed)
    return account


def _channel(draft: _Draft) -> str:
    return draft.data.get("OrderChannel") or "WEB"


def _accept(moves: Moves, draft: _Draft, account: Row) -> None:
    data, header = draft.data, draft.part("OrderHeaderData")
    company = moves.rows.one("company", company=draft.company) or {}
    common = {"company": draft.company, "order_number": draft.number, "changed_at": moves.stamp}
    order: Row = common | {
        "customer_code": account["customer_code"],
        "status": _status(draft),
        "order_type": data.get("OrderType") or "WEB",
        "channel": _channel(draft),
        "source_media": header.get("SourceMedia") or None,
        "currency": header.get("Currency") or company["base_currency"],
        "exchange_rate": Decimal(1),
        "prices_include_vat": True,
        "ordered_at": moves.at,
        "invoice_address_number": data.get("InvcAddrNo") or "1",
        "delivery_address_number": data.get("DelivAddrNo") or "1",
        "order_email": header.get("OrderEmail") or data.get("CustomerEmail") or None,
        "exchange_credit_number": draft.part("OrderPaymentData").get("ExchCreditNo") or None,
    }
    charges: list[Row] = []
    for number, asked in enumerate(data.all("OrderChargeData"), 1):
        value = _amount(asked.get("ChargeValue"), Decimal(0))
        amounts = {"value_incl_vat": value, "value_excl_vat": moves.without_vat(value)}
        charges.append(common | {"charge_number": str(number), "charge_code": asked.get("Charge")} | amounts)
    moves.accept_order(order, draft.lines, charges)
