"""Orders, cancellations, returns, credits, merges, crashes and lost replies in any order, and back to earlier values:
once everything is settled, the turnover that the local Emarsys computes is Prima's net.

The steps, the ledger, the uploads over HTTP and the local Emarsys are the real ones; Prima's books are written by hand.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pydantic import SecretStr

from prima_emarsys.emarsys.sales_data import HttpUpload
from prima_emarsys.rules.reconciliation import NOT_YET_DUE, ROUNDING
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.server import LocalEmarsys
from prima_emarsys.sync import sales_files, upload
from prima_emarsys.sync.exceptions import mark, open_exceptions
from prima_emarsys.sync.failpoints import SALES_POINTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import REFUSED, UNKNOWN, SalesFiles
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.proof.firm import Firm
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock

HISTORIES = int(os.environ.get("PRIMA_EMARSYS_TEST_HISTORIES", "40")) // 20
ORDERS, AMOUNTS, CUSTOMERS = ("100", "101", "102"), ("10.00", "4.00", "0.00"), ("A", "B")
UPLOAD = "hapi/*/sales-data/api"
FAULTS = {
    "none": [],
    "row 5: the reply is lost after the file was taken in": [Fault(kind="drop", applied=True, path=UPLOAD, calls=1)],
    "row 6: the connection breaks within the body": [Fault(kind="reset", path=UPLOAD, calls=1)],
    "row 11: HTTP 500": [Fault(kind="500", path=UPLOAD, calls=1)],
    "row 18: no body comes back": [Fault(kind="empty", applied=True, path=UPLOAD, calls=1)],
}


class Killed(BaseException):
    """The process ends here."""


class History(RuleBasedStateMachine):
    """Prima's books on one side, the local Emarsys on the other."""

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.clock = MovedClock()
        ledger = Ledger.open(f"sqlite:///{folder / 'l.db'}", HASH_KEY, clock=self.clock)
        warehouse = self.stack.enter_context(open_warehouse("duckdb://"))
        self.firm = Firm(warehouse, self.stack.enter_context(ledger))
        self.emarsys = self.stack.enter_context(LocalEmarsys(folder / "emarsys"))
        address = f"{self.emarsys.sales_url}/hapi/merchant/{self.emarsys.merchant_id}/sales-data/api"
        self.firm.sink = HttpUpload(address, SecretStr(self.emarsys.sales_token), deadline=10)
        self.orders: dict[str, str] = {}
        for code in CUSTOMERS:
            self.firm.customer(code)
        self.book("100", ["10.00"], "A")
        self.run("none", None)

    # -- what happens in Prima ---------------------------------------------------------------------------------------

    @rule(
        order=st.sampled_from(ORDERS), values=st.lists(st.sampled_from(AMOUNTS), min_size=1, max_size=2),
        customer=st.sampled_from(CUSTOMERS),
    )  # fmt: skip
    def book(self, order: str, values: list[str], customer: str) -> None:
        """An order comes, or is amended, perhaps to what it was before."""
        self.orders[order] = customer
        self.firm.order(order, *values, customer_code=customer)

    @rule(order=st.sampled_from(ORDERS), status=st.sampled_from(["cancelled", "despatched"]))
    def cancel(self, order: str, status: str) -> None:
        """An order is cancelled, or was not after all."""
        if order in self.orders:
            head = {"order_number": order, "customer_code": self.orders[order], "channel": "WEB", "status": status}
            self.firm.prima.put("sales_order", head | {"cancelled_at": date(2026, 3, 5)})

    @rule(order=st.sampled_from(ORDERS))
    def give_back(self, order: str) -> None:
        """The first line of an order comes back."""
        self.firm.prima.put("customer_return", {"return_number": f"R{order}", "order_number": order})

    @rule(
        order=st.sampled_from(ORDERS), value=st.sampled_from(AMOUNTS[:2]),
        status=st.sampled_from(["finalised", "finalised", "draft"]), day=st.sampled_from([date(2026, 4, 2), None]),
    )  # fmt: skip
    def credit(self, order: str, value: str, status: str, day: date | None) -> None:
        """A credit note is finalised, or not after all; sometimes before its order is known, sometimes undated."""
        self.firm.credit(f"K{order}", order, value, day, status=status)

    @rule(back=st.booleans())
    def merge(self, back: bool) -> None:
        """B becomes A, or is itself again."""
        row = {"customer_code": "B", "merged_into_code": "A", "unmerged_at": date(2026, 5, 2) if back else None}
        self.firm.prima.put("customer_merge", row)

    # -- what happens on the way -------------------------------------------------------------------------------------

    @rule(fault=st.sampled_from(sorted(FAULTS)), point=st.none() | st.sampled_from(SALES_POINTS))
    def run(self, fault: str, point: str | None) -> None:
        """A run, in which a reply is lost, or which ends at a named point."""

        def fail(name: str) -> None:
            if name == point:
                raise Killed

        self.firm.compute()
        self.firm.know("P1-A", "P1-B")
        self.emarsys.faults = Faults(*FAULTS[fault])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sales_files, "failpoint", fail)
            patch.setattr(upload, "failpoint", fail)
            try:
                self.firm.send(rows_per_file=2, ignore_below=1_000_000)
            except Killed:
                self.clock.sleep(600)
        self.emarsys.faults = Faults()

    @rule()
    def decide(self) -> None:
        """People look at Emarsys and at Prima, and say what is true."""
        self.emarsys.load_sales()
        loaded = {sale.custom["s_line"] for sale in self.emarsys.sales()}
        files = SalesFiles(self.firm.ledger)
        for file, lines in zip(unknown := files.all(UNKNOWN), files.lines(one.id for one in unknown), strict=True):
            [first, *_] = lines
            arrived = f"{first['line_key']}/{first['version']}" in loaded
            files.resolve(file.name, "arrived" if arrived else "absent", "Ann", "looked")
        for file in files.all(REFUSED):
            files.release(file.name, "Ann", "mended")
        for case in open_exceptions(self.firm.ledger):
            if case.kind == "refund-above-sale":
                mark(self.firm.ledger, case.id, "accepted", "Ann", "it is right")

    def teardown(self) -> None:
        """Everything settles: missing orders come, credit notes get their dates, files are decided."""
        try:
            for order in ORDERS:
                if order not in self.orders:
                    self.book(order, ["4.00"], "A")
                self.credit(order, "4.00", "finalised", date(2026, 4, 2))
            for _ in range(2):
                self.clock.sleep(600)
                self.run("none", None)
                self.decide()
            self.run("none", None)
            self.emarsys.load_sales()
            proof = self.firm.prove()
            assert proof.holds
            assert {one.cause for one in proof.causes} <= {NOT_YET_DUE, ROUNDING}, proof.causes
            turnover = sum(self.emarsys.turnover().values(), Decimal("0.00"))
            assert turnover == proof.totals["accepted"] == proof.totals["orders"] + proof.totals["refunds"]
            assert all(one.detail.startswith("a return waits") for one in proof.causes if one.cause == NOT_YET_DUE)
            assert [buyer for buyer in self.emarsys.buyers() if not set(buyer.identifiers) <= {"P1-A", "P1-B"}] == []
        finally:
            self.stack.close()


def test_whatever_happens_the_turnover_in_emarsys_ends_as_primas_net() -> None:
    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=9,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
