"""Any history of orders, changes, lost replies and crashes ends with Emarsys holding exactly what is desired, once.

What a person does is told truthfully: an unknown file arrived, or it did not.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from prima_emarsys.sync import sales_files, upload
from prima_emarsys.sync.doctor import examine
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.sales_files import REFUSED, UNKNOWN, SalesFiles
from prima_emarsys.sync.schema import sales_file
from prima_emarsys.warehouse import open_warehouse
from prima_emarsys_tests.sync.conftest import HASH_KEY, MovedClock
from prima_emarsys_tests.sync.shop import (
    BatchLoad,
    Endpoint,
    Shop,
    a_line,
    accept,
    accept_silently,
    busy,
    lose,
    read,
    refuse,
)

HISTORIES = int(os.environ.get("PRIMA_EMARSYS_TEST_HISTORIES", "40")) // 8
ORDERS, AMOUNTS = ("100", "101", "102"), ("10.00", "4.00", "0.00")
STEPS = [accept, accept_silently, lose, refuse, busy]
POINTS = ["mid_seal", "after_seal", "before_send", "after_send", "before_accept", "after_accept"]


class Killed(BaseException):
    """The process ends here."""


class History(RuleBasedStateMachine):
    """The books on one side, an endpoint that adds up what it is given on the other."""

    endpoint_kind: type[Endpoint] = Endpoint

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = MovedClock()
        self.ledger = Ledger.open(f"sqlite:///{Path(self.folder.name) / 'l.db'}", HASH_KEY, clock=self.clock)
        self.open_engine()
        self.endpoint = self.endpoint_kind()
        self.books: dict[str, dict[str, Any]] = {}
        self.known = {"P1", "P2"}

    def open_engine(self) -> None:
        self.engine = open_warehouse("duckdb://")
        self.shop = Shop(self.engine.__enter__(), self.ledger)

    # -- what happens in the books -----------------------------------------------------------------------------------

    @rule(
        order=st.sampled_from(ORDERS), number=st.sampled_from("12"), price=st.sampled_from(AMOUNTS),
        customer=st.sampled_from(["P1", "P2", "P9"]), item=st.sampled_from(["BOOT", "BOOT", "SHOE"]),
    )  # fmt: skip
    def book(self, order: str, number: str, price: str, customer: str, item: str) -> None:
        """A sale comes, or is amended, perhaps to what it was before; its item may be another one."""
        key = f"{order}|{number}|sale"
        self.books[key] = a_line(key, price, customer=customer, item=item)

    @rule(order=st.sampled_from(ORDERS), number=st.sampled_from("12"), kind=st.sampled_from(["cancellation", "return"]))
    def take_back(self, order: str, number: str, kind: str) -> None:
        """A sale is cancelled, or credited; sometimes before the sale itself is known."""
        sale = self.books.get(f"{order}|{number}|sale")
        key = f"{order}|{number}|{kind}"
        price = -sale["price"] if sale else Decimal("-4.00")
        self.books[key] = a_line(key, str(price), customer=sale["customer"] if sale else "P1")

    @precondition(lambda self: self.books)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """A line goes out of the books: a draft after all, a duplicate that was cancelled."""
        del self.books[data.draw(st.sampled_from(sorted(self.books)))]

    @rule()
    def merge(self) -> None:
        """P2 becomes P1."""
        for line in self.books.values():
            if line["customer"] == "P2":
                line["customer"] = "P1"

    @rule()
    def meet(self) -> None:
        """Emarsys acknowledges the third person."""
        self.shop.know("P9")
        self.known.add("P9")

    @rule()
    def delete_warehouse(self) -> None:
        self.engine.__exit__(None, None, None)
        self.open_engine()

    # -- what happens on the way -------------------------------------------------------------------------------------

    @rule(script=st.lists(st.sampled_from(STEPS), max_size=3), point=st.none() | st.sampled_from(POINTS))
    def run(self, script: list[Any], point: str | None) -> None:
        """A run, in which replies are lost, or which ends at a named point."""
        self.endpoint.script = list(script)
        self.shop.want(*self.books.values())

        def fail(name: str) -> None:
            if name == point:
                raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sales_files, "failpoint", fail)
            patch.setattr(upload, "failpoint", fail)
            try:
                self.shop.send(self.endpoint, rows_per_file=2)
            except Killed:
                self.clock.sleep(600)
        self.endpoint.script = []
        assert {row["customer"] for content in self.endpoint.uploads for row in read(content)} <= self.known

    @rule()
    def decide(self) -> None:
        """A person looks at the page and says what is true."""
        files = SalesFiles(self.ledger)
        contents = self.ledger.read(lambda c: dict(c.execute(sa.select(sales_file.c.id, sales_file.c.content)).all()))
        for file in files.all(UNKNOWN):
            arrived = contents[file.id] in self.endpoint.loaded
            files.resolve(file.name, "arrived" if arrived else "absent", "Ann", "looked")
        for file in files.all(REFUSED):
            files.release(file.name, "Ann", "mended")

    def teardown(self) -> None:
        """Everything settles."""
        try:
            self.meet()
            for _ in range(2):
                self.clock.sleep(600)
                self.run([], None)
                self.decide()
            assert self.endpoint.turnover() == self.shop.desired()
            desired = {key: line["price"] for key, line in self.books.items() if line["price"]}
            assert {key: price for key, price in self.endpoint.by_line().items() if price} == desired
            if not self.endpoint.repeatable:
                assert max(Counter(self.endpoint.loaded).values(), default=1) == 1
            wrong = [check for check in examine(self.ledger) if not check.ok]
            assert wrong == []
        finally:
            self.engine.__exit__(None, None, None)
            self.ledger.close()
            self.folder.cleanup()


class BatchHistory(History):
    """The same by files that replace."""

    endpoint_kind = BatchLoad


@pytest.mark.parametrize("history", [History, BatchHistory])
def test_whatever_happens_emarsys_ends_with_each_line_once(history: type[History]) -> None:
    run_state_machine_as_test(
        history,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=14,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
