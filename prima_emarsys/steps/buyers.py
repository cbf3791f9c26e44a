"""Buyers: whose contact an order event is about, and that contact, before the next run of the persons has looked.

By the rules of that run (`identity.accounts`, `identity.lead_accounts`, `contacts.compose`), applied to a handful of
rows that are read from Prima at once, in an engine in memory; nothing here waits for the warehouse. What is found out
is what the ledger remembers: the next run finds the keys given here, keeps them, and sends the contact with all that
it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import ibis
import pyarrow as pa

from prima_emarsys.contract import ENTITIES, Entity
from prima_emarsys.rules import identity
from prima_emarsys.rules.contacts import SCORED, Field, compose
from prima_emarsys.site import IdentityRules
from prima_emarsys.steps.predictions import PREDICTED
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.ledger import Desired, Ledger
from prima_emarsys.sync.payload import canonical
from prima_emarsys.sync.people import People
from prima_emarsys.sync.plan import FIRST_CONTACT, LANE, Route
from prima_emarsys.warehouse import open_warehouse

_ACCOUNT = ("company", "customer_code")
_UNSCORED = pa.schema([("person_key", pa.string()), *((one.name, pa.string()) for one in SCORED)])
_ENGINE = {"url": "duckdb://", "memory": "64MB"}


class Lookup(Protocol):
    """What is needed of a reader of Prima; `SqlReader` is one."""

    def matching(self, entity: Entity, names: Sequence[str], wanted: Iterable[tuple[str, ...]]) -> pa.Table:
        """The good rows whose columns `names` hold one of the `wanted` combinations."""
        ...


@dataclass(frozen=True)
class Buyer:
    """The person to whom an account belongs, or the rule that keeps the account out of Emarsys."""

    key: str | None = None
    rule: str | None = None


class Buyers:
    """Finds the persons of accounts; an account that no run has seen yet is joined to a person, or founds one."""

    def __init__(self, prima: Lookup, people: People, rules: IdentityRules) -> None:
        self._prima, self._people, self._rules = prima, people, rules

    def of(self, accounts: Iterable[str]) -> dict[str, Buyer]:
        """Account → its buyer. An account that Prima does not have is left out."""
        wanted = sorted(set(accounts))
        links = self._people.links(wanted).to_pylist()
        found = {link["account"]: Buyer(key=link["person_key"]) for link in links}
        new = [account for account in wanted if account not in found]
        return found | (self._meet(new) if new else {})

    def _meet(self, new: Sequence[str]) -> dict[str, Buyer]:
        """Give a person to accounts that the ledger does not know: by e-mail, else their own."""
        customers = self._prima.matching(ENTITIES["customer"], _ACCOUNT, _codes(new))
        if not customers.num_rows:
            return {}
        with open_warehouse(**_ENGINE) as engine:
            rows = engine.read(identity.accounts(engine.settle(customers), self._rules)).to_pylist()
        # The oldest account founds, as in `identity.keep_keys`.
        rows.sort(key=lambda row: (row["opened_at"] is None, row["opened_at"] or 0, row["account"]))
        hashes = self._people.email_hashes(row["email_key"] for row in rows)
        known = self._people.by_email({one for one in hashes if one})
        found: dict[str, Buyer] = {}
        links = []
        for row, email_hash in zip(rows, hashes, strict=True):
            account, own = row["account"], f"P{row['account']}"
            if row["excluded"] is not None:
                found[account] = Buyer(rule=row["excluded"])
                continue
            key = known.setdefault(email_hash, own) if email_hash else own
            found[account] = Buyer(key=key)
            reason = "own" if key == own else "e-mail"
            links.append({"account": account, "person_key": key, "reason": reason, "email_hash": email_hash})
        if links:
            self._people.remember(pa.Table.from_pylist(links))
        failpoint("after_founding")
        return found


class FirstContacts:
    """Stages contacts that an event waits for and that the ledger could not send: who it is, without what it bought."""

    def __init__(
        self,
        prima: Lookup,
        ledger: Ledger,
        route: Route,
        fields: tuple[Field, ...],
        countries: Mapping[str, str],
        rules: IdentityRules,
        today: date,
    ) -> None:
        self._prima, self._ledger, self._route, self._rules = prima, ledger, route, rules
        self._fields = tuple(one for one in fields if one.personal)
        self._countries, self._today = countries, today

    def stage(self, keys: Sequence[str]) -> dict[str, str]:
        """Stage the contacts of these persons; returns person → rule for those who are not sent at all.

        They are staged under a mapping of their own, so that the next plan sends each of them whole, whatever the
        warehouse believes to have been acknowledged.
        """
        links = People(self._ledger).accounts(keys).select(["account", "person_key"])
        wanted = list(_codes(links["account"].to_pylist()))
        customers, addresses, merges = (
            self._prima.matching(ENTITIES[name], _ACCOUNT, wanted)
            for name in ("customer", "customer_address", "customer_merge")
        )
        with open_warehouse(**_ENGINE) as engine:
            people = engine.settle(customers)
            accounts = engine.settle(identity.accounts(people, self._rules))
            excluded = engine.read(accounts.filter(accounts.excluded.notnull()).select("account", "excluded"))
            sent = engine.settle(accounts.filter(accounts.excluded.isnull()))
            persons = engine.settle(engine.settle(links).semi_join(sent, "account"))
            leads = identity.lead_accounts(persons, sent, engine.settle(identity.merge_steps(engine.settle(merges))))
            composed = compose(
                leads.mutate(accounts=ibis.literal(1)),
                sent,
                people,
                engine.settle(addresses),
                engine.settle(_UNSCORED.empty_table()),
                engine.settle(PREDICTED.empty_table()),
                fields=self._fields,
                countries=self._countries,
                as_of=self._today,
                settle=engine.settle,
            )
            contacts = engine.read(composed.contacts).to_pylist()
            without = {row["person_key"]: row["rule"] for row in engine.read(composed.excluded).to_pylist()}
        self._ledger.stage(LANE, [self._desired(contact) for contact in contacts], FIRST_CONTACT)
        rules = dict(zip(*excluded.to_pydict().values(), strict=True))
        person_rules = {
            link["person_key"]: rules[link["account"]] for link in links.to_pylist() if link["account"] in rules
        }
        there = {contact["person_key"] for contact in contacts}
        return {key: without.get(key) or person_rules.get(key, "gone-from-prima") for key in keys if key not in there}

    def _desired(self, contact: Mapping[str, str | None]) -> Desired:
        values = {str(self._route.key_field): contact["person_key"]} | {
            str(self._route.fields[one.name]): contact[one.name]
            for one in self._fields
            if contact[one.name] is not None
        }
        content = canonical(values)
        return Desired(str(contact["person_key"]), content, content)


def _codes(accounts: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """`company-code` apart; a company holds no hyphen."""
    return (tuple(account.split("-", 1)) for account in accounts)
