"""The world moves: what happened in this Prima since somebody last looked.

Here belongs which moves happen and to whom; the moves themselves belong to `moves`. A tick reads a few hundred rows by
index, whatever the size of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from prima_emarsys.sandbox.world import words
from prima_emarsys.sandbox.world.clock import local
from prima_emarsys.sandbox.world.columns import codes
from prima_emarsys.sandbox.world.moves import COMPANY, Moves, record
from prima_emarsys.sandbox.world.people import code_number
from prima_emarsys.sandbox.world.store import Row, open_world

_TRIES = 200
"""Accounts looked at before a tick gives up finding a fitting one."""
_SAMPLE = 400
"""Recent documents among which a move chooses."""


@dataclass(frozen=True)
class Fact:
    """One thing that happened: its kind, the record that shows it (`entity:company|code|…`), and when (aware)."""

    kind: str
    key: str
    at: datetime


def tick(
    url: str,
    *,
    now: datetime,
    changes: int,
    seed: int,
    kinds: Sequence[str] = (),
    late: timedelta = timedelta(0),
    deletes: bool = False,
) -> list[Fact]:
    """Let `changes` things happen at `now` (aware) in the world at `url`, in one transaction.

    `kinds` names what may happen (default: all of `KINDS` in their usual shares). `late` stamps every row that much
    before `now`, as a long transaction does that commits afterwards. `deletes` adds one order line and one account
    that vanish for good (`DELETES`). Raises `ValueError` for an unknown kind or a naive `now`, `LookupError` if the
    database holds no world.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"no such kind of change: {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    wall = local(now)
    with open_world(url) as store, store.rows() as rows:
        rng = np.random.default_rng([seed, int(now.timestamp())])
        moves = Moves(rows, rng, wall, rows.begin_moves())
        moves.stamp = wall - late
        # Nobody can despatch a quantity of "x".
        scene = _Scene(moves, {key.split("|")[1] for key in store.cases().get("text-where-a-number-belongs", [])})
        facts: list[Fact] = []
        chosen = list(kinds) or list(KINDS)
        weights = np.array([_SHARES[kind] for kind in chosen], dtype=float)
        while len(facts) < changes:
            kind = chosen[int(rng.choice(len(chosen), p=weights / weights.sum()))]
            key = KINDS[kind](scene)
            if key is None:  # nothing waits for it; an order makes it possible later
                kind, key = "order", order(scene)
            facts.append(Fact(kind, key, now))
        if deletes:
            facts += [Fact(kind, delete(scene), now) for kind, delete in DELETES.items()]
        moves.save()
        return facts


class _Scene:
    """Finds accounts and documents to which something may happen, each document once a tick."""

    def __init__(self, moves: Moves, unusable: set[str]) -> None:
        self.moves, self.rows, self.rng = moves, moves.rows, moves.rng
        self._seen = unusable

    def account(self) -> Row:
        """A private shopper's account."""
        for _ in range(_TRIES):
            number = code_number(self.rng.integers(0, self.moves.accounts, 1), self.moves.accounts)
            account = self.rows.one("customer", company=COMPANY, customer_code=codes(number, 10)[0].as_py())
            if account and account["account_type"] == "RETAIL" and account["email"] and not account["erased_at"]:
                return account
        raise LookupError("the world has no private shopper left")

    def documents(self, entity: str, since_days: float, until_days: float = 0) -> list[Row]:
        """Recent documents of company 1 that this tick has not touched, in random order."""
        at = self.moves.at
        found = self.rows.recent(entity, at - timedelta(days=since_days), at - timedelta(days=until_days), _SAMPLE)
        fresh = [row for row in found if row["company"] == COMPANY and row["order_number"] not in self._seen]
        return [fresh[int(index)] for index in self.rng.permutation(len(fresh))]

    def take(self, order_number: str) -> Row | None:
        """The order, which this tick will not touch again."""
        self._seen.add(order_number)
        return self.rows.one("sales_order", company=COMPANY, order_number=order_number)

    def open_orders(self) -> list[Row]:
        """Orders that wait to be despatched."""
        waiting = ("Confirmed", "Picking", "Part Despatched")
        return [row for row in self.documents("sales_order", 21) if row["status"] in waiting]


Move = Callable[[_Scene], str | None]


def order(scene: _Scene) -> str:
    """An order of a known account."""
    return _order(scene, scene.account())


def new_account_order(scene: _Scene) -> str:
    """The main case: a web order without an account code, so a known e-mail gets another account."""
    return _order(scene, scene.moves.open_account(scene.account()))


def new_shopper_order(scene: _Scene) -> str:
    """The first order of a person whom Prima does not know."""
    return _order(scene, scene.moves.open_account())


def _order(scene: _Scene, account: Row) -> str:
    skus = scene.moves.pick_skus(int(scene.rng.integers(1, 4)))
    return record("sales_order", scene.moves.place_order(account, skus))


def despatch(scene: _Scene) -> str | None:
    """All that waits of an order leaves."""
    return _despatch(scene, part=False)


def part_despatch(scene: _Scene) -> str | None:
    """All but one unit leaves."""
    return _despatch(scene, part=True)


def _despatch(scene: _Scene, *, part: bool) -> str | None:
    for waiting in scene.open_orders():
        taken = scene.take(waiting["order_number"])
        if taken and (gone := scene.moves.despatch(taken, part=part)):
            return record("despatch", gone)
    return None


def line_cancelled(scene: _Scene) -> str | None:
    """A line of a confirmed order is cancelled."""
    for waiting in scene.open_orders():
        taken = scene.take(waiting["order_number"])
        for line in scene.moves.lines(taken) if taken else []:
            if taken and (cancelled := scene.moves.cancel_line(taken, line)):
                return record("sales_order_line", cancelled)
    return None


def order_cancelled(scene: _Scene) -> str | None:
    """A whole order is cancelled before anything left."""
    for waiting in scene.open_orders():
        if waiting["status"] == "Part Despatched":
            continue
        taken = scene.take(waiting["order_number"])
        if taken and scene.moves.cancel_order(taken):
            return record("sales_order", taken)
    return None


def return_receipted(scene: _Scene) -> str | None:
    """Goods come back and are receipted."""
    for gone in scene.documents("despatch", 45, 5) or scene.documents("despatch", 60):
        taken = scene.take(gone["order_number"])
        if taken and (came := scene.moves.receive_return(taken)):
            return record("customer_return", came)
    return None


def credit_finalised(scene: _Scene) -> str | None:
    """A receipted return is credited."""
    for came in scene.documents("customer_return", 30):
        taken = scene.take(came["order_number"])
        lines = scene.rows.find("credit_note_line", company=COMPANY, order_number=came["order_number"])
        if taken and came["return_number"] not in {line["return_number"] for line in lines}:
            value = scene.moves.worth(came)
            return record("credit_note", scene.moves.credit(taken["customer_code"], value, order=taken, came=came))
    return None


def merge(scene: _Scene) -> str:
    """An account gives way to another; its latest order moves along."""
    survivor = scene.account()
    for recent in scene.documents("sales_order", 60):
        loser = scene.rows.one("customer", company=COMPANY, customer_code=recent["customer_code"])
        if loser and loser["customer_code"] != survivor["customer_code"] and loser["account_type"] == "RETAIL":
            taken = scene.take(recent["order_number"])
            return record("customer_merge", scene.moves.merge(loser, survivor, [taken] if taken else []))
    return record("customer_merge", scene.moves.merge(scene.moves.open_account(survivor), survivor))


def email_changed(scene: _Scene) -> str:
    """Another address of the same person."""
    account = scene.account()
    email = f"new.{account['customer_code']}.{scene.rng.integers(10**6)}@{scene.rng.choice(words.MAIL_DOMAINS)}"
    return record("customer", scene.moves.change_account(account, email=email))


def name_changed(scene: _Scene) -> str:
    """Another surname."""
    account = scene.account()
    surname = str(scene.rng.choice([word for word in words.SURNAMES if word != account["surname"]]))
    name = f"{account['forename']} {surname}"
    return record("customer", scene.moves.change_account(account, surname=surname, account_name=name))


def phone_removed(scene: _Scene) -> str:
    """The person wants no calls."""
    return record("customer", scene.moves.change_account(scene.account(), phone=None, mobile=None))


def address_changed(scene: _Scene) -> str:
    """The person moved house."""
    return record("customer_address", scene.moves.move_house(scene.account()))


def became_internal(scene: _Scene) -> str:
    """The account turns out to be a colleague's."""
    return record("customer", scene.moves.change_account(scene.account(), account_type="STAFF", channel="STAFF"))


def goods_in(scene: _Scene) -> str | None:
    """Goods arrive in the distribution centre."""
    stock = scene.moves.goods_in(scene.moves.pick_skus(1)[0], int(scene.rng.integers(1, 25)))
    return record("stock", stock) if stock else None


def _delete_line(scene: _Scene) -> str:
    for waiting in scene.documents("sales_order", 60):
        lines = scene.moves.lines(waiting)
        if len(lines) > 1:
            scene.rows.remove("sales_order_line", lines[-1] | {"changed_at": scene.moves.stamp})
            return record("sales_order_line", lines[-1])
    raise LookupError("no recent order has two lines, so none can lose one")


def _delete_account(scene: _Scene) -> str:
    account = scene.account()
    scene.rows.remove("customer", account | {"changed_at": scene.moves.stamp})
    return record("customer", account)


KINDS: dict[str, Move] = {
    move.__name__.replace("_", "-"): move
    for move in (
        order,
        new_account_order,
        new_shopper_order,
        despatch,
        part_despatch,
        line_cancelled,
        order_cancelled,
        return_receipted,
        credit_finalised,
        merge,
        email_changed,
        name_changed,
        phone_removed,
        address_changed,
        became_internal,
        goods_in,
    )
}
"""What can happen, by name."""

_SHARES = dict.fromkeys(KINDS, 2) | {
    "order": 12,
    "new-account-order": 18,
    "new-shopper-order": 10,
    "despatch": 20,
    "return-receipted": 6,
    "credit-finalised": 6,
    "goods-in": 8,
    "became-internal": 1,
    "merge": 1,
}

DELETES: dict[str, Callable[[_Scene], str]] = {"order-line-deleted": _delete_line, "customer-deleted": _delete_account}
"""What can vanish."""
