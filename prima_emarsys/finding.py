"""What the product reports about a record that it cannot send or believe: errors as data.

A finding is made by any room (reading, rules, delivery, proof) and collected by the ledger's list of exceptions.
Its kind comes from the catalogue below, which says in an operator's words what it means, who owns it and what to do.
Nothing here stores or sends anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Owner(StrEnum):
    """The four groups of people who own exceptions."""

    FINANCE = "finance"
    MARKETING = "marketing"
    CUSTOMER_SERVICE = "customer-service"
    DATA = "data"


class Severity(StrEnum):
    """`error`: something does not go until it is mended. `warning`: what is right goes, yet somebody should look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Kind:
    """One kind of exception, as its owner reads it."""

    name: str
    owner: Owner
    severity: Severity
    meaning: str
    what_to_do: str
    closes_when: str


@dataclass(frozen=True)
class Finding:
    """One record that needs a person. `record` is a business key (no personal data), `detail` is masked."""

    kind: str
    record: str
    detail: str
    owner: Owner | None = None
    money: Decimal | None = None
    currency: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of exception {self.kind!r}; add it to prima_emarsys.finding.KINDS")

    @property
    def owned_by(self) -> Owner:
        """The finding's own owner, else that of its kind."""
        return self.owner or KINDS[self.kind].owner


def mask(value: object) -> str:
    """Show that a personal value exists, and its shape, without showing it: first character and length.

    >>> mask("ann@example.com")
    'a…(15)'
    """
    text = "" if value is None else str(value)
    return f"{text[:1]}…({len(text)})" if text else "(empty)"


_CATALOGUE = [
    Kind(
        "contract-breach",
        Owner.DATA,
        Severity.ERROR,
        "A row of Prima does not keep the contract (a missing key, a word that is no number, an unknown status).",
        "Correct the row in Prima, or map the word in the site file. The rest of its table went on without it.",
        "The row is read again and keeps the contract, or it is gone from Prima.",
    ),
    Kind(
        "unreadable-row",
        Owner.DATA,
        Severity.ERROR,
        "The database refuses to hand out one row (an over-wide value, for example).",
        "Have the column widened in Prima, or the value shortened.",
        "The row can be read.",
    ),
    Kind(
        "unknown-status",
        Owner.DATA,
        Severity.ERROR,
        "A status word in Prima that the site file does not know. The record waits; it is not guessed.",
        "Add the word under `prima.entities.<table>.words` in the site file.",
        "The word is mapped, or the record has another status.",
    ),
    Kind(
        "merge-loop",
        Owner.CUSTOMER_SERVICE,
        Severity.ERROR,
        "Accounts are merged into each other in a circle, so no survivor exists. They are kept as one person.",
        "Undo one of the merges in Prima.",
        "The circle is broken.",
    ),
    Kind(
        "shared-mailbox",
        Owner.CUSTOMER_SERVICE,
        Severity.WARNING,
        "Many accounts with different names use one e-mail address. They are kept as one contact.",
        "Give the accounts their own addresses, or accept that they are one mailbox.",
        "The accounts no longer share the address.",
    ),
    Kind(
        "bad-email",
        Owner.CUSTOMER_SERVICE,
        Severity.ERROR,
        "The e-mail address cannot be one. The person has no other address and is not sent.",
        "Correct the address in Prima.",
        "One of the person's accounts has a valid address.",
    ),
    Kind(
        "field-withheld",
        Owner.CUSTOMER_SERVICE,
        Severity.WARNING,
        "One field's value cannot be stored in Emarsys (too long, an unknown country). The contact went without it.",
        "Correct the value in Prima.",
        "The value fits.",
    ),
    Kind(
        "sale-without-order",
        Owner.FINANCE,
        Severity.ERROR,
        "A credit note or return names an order line that Prima does not hold.",
        "Correct the reference on the credit note or return.",
        "The order line arrives or the reference is corrected.",
    ),
    Kind(
        "refund-above-sale",
        Owner.FINANCE,
        Severity.WARNING,
        "More was returned or credited than was sold on an order line.",
        "Check the credit note against the order. Its refund is not sent to Emarsys until the credit note is corrected "
        "in Prima, or `prima-emarsys exceptions accept NUMBER` says that it is right.",
        "Returns and credits fit the sale again.",
    ),
    Kind(
        "credit-undated",
        Owner.FINANCE,
        Severity.ERROR,
        "A credit note is finalised and has no date, so it belongs to no day and no period.",
        "Enter the date on which it was finalised in Prima. Until then it is in no figure, nor in Emarsys.",
        "The credit note has its date, or is no longer finalised.",
    ),
    Kind(
        "missing-rate",
        Owner.FINANCE,
        Severity.ERROR,
        "An order in a foreign currency has no exchange rate, so it cannot be counted in the base currency.",
        "Enter the rate on the order in Prima.",
        "The order has a rate.",
    ),
    Kind(
        "contact-refused",
        Owner.DATA,
        Severity.ERROR,
        "Emarsys answered and refused this contact. The code and its words are in the detail.",
        "Correct the value that the detail names; the contact is sent again when its data changes or on release.",
        "Emarsys accepts the contact.",
    ),
    Kind(
        "duplicate-in-emarsys",
        Owner.MARKETING,
        Severity.ERROR,
        "Emarsys holds several contacts with this key, and refuses every update of that person.",
        "Merge the duplicates in Emarsys (Contacts, duplication handling).",
        "Emarsys accepts the contact.",
    ),
    Kind(
        "contact-poison",
        Owner.DATA,
        Severity.ERROR,
        "Sending this contact ended the process three times. It is set aside so that the others go on.",
        "Report the record key to the engineers of this project.",
        "The contact is released and accepted.",
    ),
    Kind(
        "contact-differs",
        Owner.DATA,
        Severity.ERROR,
        "Emarsys holds another value than the one that it acknowledged. Somebody or something else changed it.",
        "Find out who writes that field in Emarsys. The next run sends our value again.",
        "Both sides agree.",
    ),
    Kind(
        "no-longer-sent",
        Owner.MARKETING,
        Severity.WARNING,
        "A contact that we once sent must no longer be sent (it became internal, or lost its address).",
        "Decide in Emarsys whether the contact is to be opted out or deleted.",
        "The contact is sent again, or is gone from Emarsys.",
    ),
    Kind(
        "sales-file-unknown",
        Owner.MARKETING,
        Severity.ERROR,
        "A file of sales data was sent and no answer came: it may be in Emarsys. It never goes again by itself.",
        "Look for it on the Sales Data page of Emarsys (rows, value, time), then run `prima-emarsys sales resolve "
        "FILE --arrived` or `--absent`.",
        "A person has said whether it arrived.",
    ),
    Kind(
        "sales-file-refused",
        Owner.DATA,
        Severity.ERROR,
        "Emarsys refuses the content of a file of sales data. Its lines are not in Emarsys.",
        "Do what the detail says, then `prima-emarsys sales release FILE` to send it as it is, or `prima-emarsys sales "
        "resolve FILE --absent` to have its lines put into another file.",
        "The file is released, or given up.",
    ),
    Kind(
        "order-id-collision",
        Owner.DATA,
        Severity.ERROR,
        "Several orders of Prima would have one order id in Emarsys, so no sales data are sent.",
        "Tell the orders apart in the site file, for example `emarsys.sales.order_id: '{company}{order_number}'`.",
        "Every order has an id of its own.",
    ),
    Kind(
        "order-id-no-integer",
        Owner.MARKETING,
        Severity.WARNING,
        "Order ids would change or fail where Emarsys keeps them as integers (attribution): letters, leading zeros.",
        "If attribution is used, choose `emarsys.sales.order_id` so that ids are whole numbers.",
        "Every order id is a whole number.",
    ),
    Kind(
        "sales-unexplained",
        Owner.DATA,
        Severity.ERROR,
        "Prima's books, added up straight from its tables, differ from what was computed of an order or credit note.",
        "Run the nightly truth, which computes everything again. If it stays, report the record to the engineers.",
        "Both agree.",
    ),
    Kind(
        "closed-period-changed",
        Owner.FINANCE,
        Severity.WARNING,
        "Something was posted into a period after it was closed, or changed in it. Its figures stay as they were; the "
        "difference counts as a late adjustment of the open period.",
        "Look at the records in the finance report; run `prima-emarsys exceptions accept NUMBER` if they are right.",
        "The period that it counts in is closed, or the period is as it was.",
    ),
    Kind(
        "lane-stopped",
        Owner.DATA,
        Severity.ERROR,
        "Emarsys refuses everything on this lane for a reason that repeating cannot cure.",
        "Do what the detail says (credentials, permission, field, index), then run `prima-emarsys resume`.",
        "A call succeeds again.",
    ),
    Kind(
        "plan-held",
        Owner.MARKETING,
        Severity.ERROR,
        "A plan would change far more of what was sent than usual, so nothing was sent.",
        "Look at `prima-emarsys plan LANE` (`contacts`, `sales`, `catalogue`); if right, `prima-emarsys release LANE`.",
        "The plan is released, or is small again.",
    ),
    Kind(
        "event-held",
        Owner.MARKETING,
        Severity.ERROR,
        "Whether Emarsys took this order event is unknown, and it is too late to send it again by itself.",
        "Look in Emarsys whether the message went out; then `prima-emarsys events release` or `… events drop`.",
        "The event is released and accepted, or dropped.",
    ),
    Kind(
        "event-refused",
        Owner.MARKETING,
        Severity.ERROR,
        "Emarsys refused an order event. The code and its words are in the detail.",
        "Mend what the detail names, then `prima-emarsys events release`; or `… events drop` if it is too late.",
        "The event is released and accepted, or dropped.",
    ),
    Kind(
        "event-not-connected",
        Owner.MARKETING,
        Severity.ERROR,
        "No program or campaign in Emarsys listens to this external event, so its order events wait.",
        "Connect a program to the external event, then `prima-emarsys events release --kind KIND`.",
        "The events are released and accepted, or dropped.",
    ),
    Kind(
        "event-missing",
        Owner.MARKETING,
        Severity.ERROR,
        "The site file names an external event that Emarsys does not have, so its order events wait.",
        "Create the external event under that name in Emarsys, or correct the name in the site file.",
        "The external event exists; what waited for it goes by itself, unless it has become too old.",
    ),
    Kind(
        "event-unusual",
        Owner.MARKETING,
        Severity.ERROR,
        "Far more orders than usual were amended at once, so their confirmations wait.",
        "Find out why. If the customers are to hear of it, `prima-emarsys events release --kind order-confirmed`; "
        "else `… events drop --kind order-confirmed`.",
        "The events are released and accepted, or dropped.",
    ),
    Kind(
        "event-without-order",
        Owner.FINANCE,
        Severity.ERROR,
        "A return or credit note names an order, or an order an account, that Prima has not shown for a day.",
        "Correct the reference in Prima, and the event goes by itself; or `prima-emarsys events drop`.",
        "The order or account shows, or the event is dropped.",
    ),
    Kind(
        "event-too-large",
        Owner.DATA,
        Severity.ERROR,
        "An order event holds more data than Emarsys passes on. The largest field is named.",
        "Tell the customer by hand, then `prima-emarsys events drop`; report the order to the engineers.",
        "The event is dropped.",
    ),
    Kind(
        "event-poison",
        Owner.DATA,
        Severity.ERROR,
        "Sending this order event ended the process three times. It is set aside so that the others go on.",
        "Report the event's id to the engineers of this project.",
        "The event is released and accepted, or dropped.",
    ),
    Kind(
        "request-parked",
        Owner.DATA,
        Severity.ERROR,
        "Prima's web service refused this request for a reason that repeating cannot cure. It is not sent again.",
        "Mend what the detail names (site file, or data in Prima), then `prima-emarsys release-request KEY`.",
        "The request is released and answered, or has changed.",
    ),
    Kind(
        "item-incomplete",
        Owner.MARKETING,
        Severity.WARNING,
        "An item of the catalogue lacks a title, link, picture or price; the detail says what became of it.",
        "Enter what is missing in Prima.",
        "The item is complete, or gone from Prima.",
    ),
    Kind(
        "item-collision",
        Owner.DATA,
        Severity.ERROR,
        "Several SKUs of Prima would be one item in Emarsys, so no catalogue is sent.",
        "Name the companies of the shop as `emarsys.catalogue.companies`, or tell SKUs apart by `emarsys.sales.item`.",
        "Every SKU has an item of its own.",
    ),
    Kind(
        "item-case",
        Owner.MARKETING,
        Severity.ERROR,
        "Items differ only by capital letters, which Emarsys may take for one. They are kept out of the catalogue.",
        "Correct the codes in Prima.",
        "The codes differ otherwise, or one of them is gone.",
    ),
    Kind(
        "item-unknown",
        Owner.MARKETING,
        Severity.WARNING,
        "Sales data name an item that the catalogue lacks, so Emarsys cannot tell what was bought.",
        "Enter the SKU in Prima, or accept that it is no merchandise.",
        "The catalogue has the item.",
    ),
    Kind(
        "stock-refused",
        Owner.DATA,
        Severity.ERROR,
        "A snapshot of stock is not to be believed (far too short, of another company, or older than the last one), so "
        "nothing was changed: stock stays as the last good one said.",
        "Look at Prima and its web service; the next good snapshot goes through by itself. If the range has really "
        "shrunk so much, `prima-emarsys release stock`.",
        "A good snapshot comes, or this one is released.",
    ),
    Kind(
        "stock-owed",
        Owner.MARKETING,
        Severity.WARNING,
        "More of a SKU is promised or held than there is, or its quantity is below 0. It counts as 0.",
        "Correct stock or allocations in Prima.",
        "The quantity is 0 or more.",
    ),
    Kind(
        "stock-absurd",
        Owner.MARKETING,
        Severity.WARNING,
        "A quantity is so large that it is probably a mistake. It is sent as it is.",
        "Correct it in Prima, or raise `stock.absurd` in the site file.",
        "The quantity is below the limit.",
    ),
    Kind(
        "short-read",
        Owner.DATA,
        Severity.ERROR,
        "A full read of a table returned far fewer rows than the mirror holds. Nothing was taken out.",
        "Check the grants and filters of the reading role; if the rows are really gone, accept the read.",
        "A full read is of the usual size.",
    ),
]

KINDS: dict[str, Kind] = {kind.name: kind for kind in _CATALOGUE}
