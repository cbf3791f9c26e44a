"""What nobody outside knows of Prima, and what this sandbox makes of it. **Nothing here is Prima's.**

Names of the SOAP parts and of the object, answers to what is unknown (a company, an account, an order, a RequestType),
and reads of customers, orders, returns and stock by warehouse, which no public source shows Prima to have. They are
there so that a site file's declared requests can be tried: `InventedOrders` answers `Data/Order` elements whose
attributes are the contract's columns in capitals and smalls (`order_number` is `OrderNumber`). Error numbers from
E:9001 on are ours.
"""

from __future__ import annotations

from prima_emarsys.contract import ENTITIES
from prima_emarsys.sandbox.prima.grammar import Element, answer, element, message, plain, refusal
from prima_emarsys.sandbox.world.store import Rows

OBJECT = "omlink"
"""Name of the object in the WSDL: of messages, portType, binding and service."""
COMPANY_PART = "ipcCompany"
REQUEST_PART = "iplcRequest"
ANSWER_PART = "oplcResponse"
"""Names of the parameters; a client reads them from the WSDL."""
DEFAULT_COMPANY = "1"
"""The company that `wsomhandler`, which is not told one, answers for."""

READS: dict[str, tuple[str, str]] = {
    "InventedCustomers": ("customer", "Customer"),
    "InventedOrders": ("sales_order", "Order"),
    "InventedReturns": ("customer_return", "Return"),
    "InventedWarehouseStock": ("stock", "Stock"),
}
"""RequestType → entity of the contract, and the name of a row's element."""


def read(rows: Rows, company: str, request: Element) -> str:
    """All rows of an entity, as Prima might write them."""
    request_type = request.get("RequestType")
    entity, name = READS[request_type]
    attributes = {column: _camel(column) for column in ENTITIES[entity].column if column != "company"}
    told = [
        element(name, {theirs: plain(row[column]) for column, theirs in attributes.items()})
        for row in rows.find(entity, company=company)
    ]
    return answer(company, request_type, element("Data", {}, *told), RequestStatus="OK")


def _camel(column: str) -> str:
    return column.title().replace("_", "")


def in_code_page(answer: str) -> str:
    """What the declared ISO-8859-1 cannot hold becomes a question mark; what Prima makes of it is not known."""
    return answer.encode("latin-1", "replace").decode("latin-1")


def unknown_request(company: str, request_type: str) -> str:
    """Prima's answer to a RequestType that it does not have is not known."""
    return refusal(company, request_type, message(9001, "SandboxReq", f"Request Type {request_type} is not known"))


def unknown_company(company: str, request_type: str) -> str:
    """Nor its answer to a company that it does not have."""
    return refusal(company, request_type, message(9002, "SandboxCo", f"Company {company} is not known"))


def unknown_order(company: str, request_type: str, number: str) -> str:
    """Of a status read that fails only the root's status is known."""
    return refusal(company, request_type, message(9003, "SandboxOrd", f"Sales Order {number} is not known"))


def unknown_customer(code: str) -> str:
    """The message on an order that names an account which is not there."""
    return message(9004, "SandboxCust", f"Customer {code} is not known")
