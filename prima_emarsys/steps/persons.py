"""`core/persons`: which accounts are which person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Mirror
from prima_emarsys.rules import identity
from prima_emarsys.site import IdentityRules
from prima_emarsys.steps.progress import Cursor, Progress
from prima_emarsys.warehouse import Warehouse

LINKS = pa.schema([("account", pa.string()), ("person_key", pa.string()), ("reason", pa.string())])
PERSONS = pa.schema([("person_key", pa.string()), ("account", pa.string()), ("created_at", pa.timestamp("us", "UTC"))])
_HASHED = pa.schema([("account", pa.string()), ("email_hash", pa.string())])
_STORED = LINKS.append(pa.field("is_lead", pa.bool_()))


class PersonKeys(Protocol):
    """What only the ledger remembers: which key was given to whom. `sync.people.People` is one."""

    def email_hashes(self, emails: Iterable[str | None]) -> list[str | None]:
        """A keyed hash of each normalised address."""
        ...

    def links(self, accounts: Iterable[str] | None) -> pa.Table:
        """account, person_key, reason, email_hash for these accounts (None: all)."""
        ...

    def persons(self, keys: Iterable[str] | None) -> pa.Table:
        """person_key, account (its founder), created_at for these keys (None: all)."""
        ...

    def remember(self, links: pa.Table) -> int:
        """Store new or changed links, and the persons that they name for the first time; returns how many are new."""
        ...


@dataclass
class PersonsCounts:
    """Counts of one run. accounts = linked + excluded (by rule)."""

    whole: bool
    accounts: int = 0
    linked: int = 0
    persons: int = 0
    new_persons: int = 0
    touched: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list, repr=False)


def resolve_persons(
    warehouse: Warehouse, keys: PersonKeys, rules: IdentityRules, *, whole: bool = False
) -> PersonsCounts:
    """Bring `core.accounts` and `core.persons` up to date with the mirror.

    `core.accounts`: as `identity.accounts` makes it, all accounts. `core.persons`: account, person_key, reason,
    is_lead, one row for each account that is not excluded.
    """
    mirror, progress = Mirror(warehouse), Progress(warehouse)
    cursor = None if whole else progress.cursor("persons")
    load = mirror.latest_load()
    merged = warehouse.settle(identity.merge_steps(mirror.live("customer_merge")))
    warehouse.ensure("core.persons", _STORED)
    counts = PersonsCounts(whole=cursor is None)
    affected = None
    if cursor is None:
        warehouse.write("core.accounts", identity.accounts(mirror.live("customer"), rules))
    else:
        affected = _affected(warehouse, mirror, rules, merged, cursor.at)
    if affected is None or warehouse.count(affected):
        _renew(warehouse, keys, merged, affected, cursor, load, counts)
    else:
        progress.move("persons", load)
    _count(warehouse, counts)
    counts.findings = _findings(warehouse, rules, identity.merge_loops(merged, warehouse.settle))
    return counts


def _renew(
    warehouse: Warehouse,
    keys: PersonKeys,
    merged: ir.Table,
    affected: ir.Table | None,
    cursor: Cursor | None,
    load: int,
    counts: PersonsCounts,
) -> None:
    """Find the persons of the affected accounts (None: of all) anew, and move the cursor to landing `load`."""
    accounts, stored = warehouse.table("core.accounts"), warehouse.table("core.persons")
    mirror, progress = Mirror(warehouse), Progress(warehouse)
    if affected is None:
        concerned, before = accounts, stored
        remembered, persons = warehouse.settle(keys.links(None)), warehouse.settle(keys.persons(None))
    else:
        affected, links = _with_carriers(stored, affected, keys, warehouse)
        concerned = accounts.semi_join(affected, "account")
        before = warehouse.settle(stored.semi_join(affected, "account"))
        founded = warehouse.read(affected.select(key=identity.person_key(affected.account)))["key"].to_pylist()
        persons = warehouse.settle(keys.persons({*links["person_key"].to_pylist(), *founded}))
        remembered = warehouse.settle(links)
    wanted = warehouse.settle(concerned.filter(concerned.excluded.isnull()))
    steps = warehouse.settle(_concerning(affected, _between_persons(merged, accounts)))
    members = warehouse.settle(identity.components(wanted, steps, warehouse.settle))
    kept = warehouse.settle(identity.keep_keys(members, remembered, persons, wanted, warehouse.settle))
    leads = identity.lead_accounts(kept, wanted, steps).mutate(is_lead=True)
    after = warehouse.settle(
        kept.left_join(leads.select("account", "is_lead"), "account").select(
            "account", "person_key", "reason", is_lead=ibis._.is_lead.fill_null(False)
        )
    )
    told = after.left_join(_email_hashes(warehouse, keys, wanted), "account").select(*remembered.columns)
    changed = told.difference(remembered)
    # Keys first: once the ledger remembers them, repeating the rest gives the same keys.
    counts.new_persons = sum(map(keys.remember, warehouse.batches(changed)))
    moved = after.difference(before).union(before.difference(after))
    touched = warehouse.settle(moved.select("person_key").union(_changed_persons(mirror, cursor, after)).distinct())
    with warehouse.transaction():
        progress.touch(touched)
        if affected is None:
            warehouse.write("core.persons", after)
        else:
            warehouse.replace("core.persons", after, gone=affected, on=["account"])
        progress.move("persons", load)
    counts.touched = warehouse.count(touched)


def _email_hashes(warehouse: Warehouse, keys: PersonKeys, accounts: ir.Table) -> ir.Table:
    """account, email_hash of the accounts with a usable e-mail: by it, a buyer is known before the next run is."""
    addressed = accounts.filter(accounts.email_key.notnull()).select("account", "email_key")
    parts = [
        pa.table([part["account"], pa.array(keys.email_hashes(part["email_key"].to_pylist()), pa.string())], _HASHED)
        for part in warehouse.batches(addressed)
    ]
    return warehouse.settle(pa.concat_tables([_HASHED.empty_table(), *parts]))


def _between_persons(merged: ir.Table, accounts: ir.Table) -> ir.Table:
    """The merges that name no excluded account: one that does joins nobody."""
    excluded = accounts.filter(accounts.excluded.notnull()).account
    return merged.filter(~merged.loser.isin(excluded), ~merged.survivor.isin(excluded))


def _concerning(affected: ir.Table | None, steps: ir.Table) -> ir.Table:
    """The merges of these accounts (None: all)."""
    if affected is None:
        return steps
    return steps.filter(steps.loser.isin(affected.account) | steps.survivor.isin(affected.account))


def _changed_persons(mirror: Mirror, cursor: Cursor | None, after: ir.Table) -> ir.Table:
    """Persons one of whose accounts or addresses has new details."""
    if cursor is None:
        return after.select("person_key")
    changed = [
        table.select(account=identity.account_id(table.company, table.customer_code))
        for table in (mirror.above("customer", cursor.at), mirror.above("customer_address", cursor.at))
    ]
    return after.semi_join(ibis.union(*changed, distinct=True), "account").select("person_key")


def _with_carriers(
    stored: ir.Table, affected: ir.Table, keys: PersonKeys, warehouse: Warehouse
) -> tuple[ir.Table, pa.Table]:
    """`affected` with whoever carries or founded a key that the ledger knows as theirs, and the links of all of them.

    An account that comes back may bring a key along which others carry by now, or which rests with its founder.
    """
    while True:
        links = keys.links(warehouse.read(affected)["account"].to_pylist())
        held = warehouse.settle(links).person_key
        concerned = stored.filter(stored.person_key.isin(held) | identity.person_key(stored.account).isin(held))
        carriers = concerned.select("account").anti_join(affected, "account")
        more = warehouse.read(carriers)
        if not more.num_rows:
            return affected, links
        affected = warehouse.settle(affected.union(ibis.memtable(more), distinct=True))


def _affected(warehouse: Warehouse, mirror: Mirror, rules: IdentityRules, merged: ir.Table, at: int) -> ir.Table:
    """Accounts whose person may have changed since landing `at`: a closed set. Column: account.

    Every new tie has a changed account or a changed merge at one end, and every old tie lies within a person as it was;
    so the changed accounts, those that share an address or a merge with them, and all accounts of the persons that
    these belonged to or founded contain whatever can move. `core.accounts` is brought up to date on the way.
    """
    customers = mirror.above("customer", at)
    merges = mirror.above("customer_merge", at)
    addresses = mirror.above("customer_address", at)
    stored = warehouse.table("core.accounts")
    renewed = warehouse.settle(identity.accounts(customers.filter(~customers.gone), rules))
    changed = warehouse.settle(
        ibis.union(
            customers.select(account=identity.account_id(customers.company, customers.customer_code)),
            addresses.select(account=identity.account_id(addresses.company, addresses.customer_code)),
            merges.select(account=identity.account_id(merges.company, merges.customer_code)),
            merges.select(account=identity.account_id(merges.company, merges.merged_into_code)),
            distinct=True,
        )
    )
    moved = changed.semi_join(
        customers.select(account=identity.account_id(customers.company, customers.customer_code)), "account"
    )
    warehouse.replace("core.accounts", renewed, gone=moved, on=["account"])
    sharing = stored.semi_join(renewed.filter(renewed.email_key.notnull()), "email_key").select("account")
    merged_away = merged.semi_join(changed, merged.survivor == changed.account).select(account="loser")
    merged_into = merged.semi_join(changed, merged.loser == changed.account).select(account="survivor")
    near = warehouse.settle(ibis.union(changed, sharing, merged_away, merged_into, distinct=True))
    persons = warehouse.table("core.persons")
    belonged = persons.semi_join(near, "account").select("person_key")
    founded = near.select(person_key=identity.person_key(near.account))
    same_person = persons.semi_join(belonged.union(founded, distinct=True), "person_key").select("account")
    return warehouse.settle(near.union(same_person, distinct=True))


def _count(warehouse: Warehouse, counts: PersonsCounts) -> None:
    accounts, persons = warehouse.table("core.accounts"), warehouse.table("core.persons")
    by_rule = accounts.filter(accounts.excluded.notnull()).group_by("excluded").agg(accounts=ibis._.count())
    counts.excluded = {
        row["excluded"]: row["accounts"] for row in warehouse.read(by_rule.order_by("excluded")).to_pylist()
    }
    totals = warehouse.read(persons.agg(linked=ibis._.count(), persons=ibis._.person_key.nunique())).to_pylist()[0]
    counts.linked, counts.persons = totals["linked"], totals["persons"]
    counts.accounts = counts.linked + sum(counts.excluded.values())


def _findings(warehouse: Warehouse, rules: IdentityRules, loops: ir.Table) -> list[Finding]:
    accounts = warehouse.table("core.accounts")
    shared = warehouse.read(identity.shared_mailboxes(accounts, rules.shared_mailbox_names))
    found = []
    if shared.num_rows:
        persons = warehouse.table("core.persons").select("account", "person_key")
        named = accounts.semi_join(warehouse.settle(shared), "email_key").inner_join(persons, "account")
        keys = dict(
            (row["email_key"], row["person_key"])
            for row in warehouse.read(named.group_by("email_key").agg(person_key=ibis._.person_key.min())).to_pylist()
        )
        for row in shared.to_pylist():
            detail = f"{row['accounts']} accounts under {row['surnames']} surnames use one address"
            found.append(Finding("shared-mailbox", f"person|{keys.get(row['email_key'], '?')}", detail))
    for account in warehouse.read(loops.order_by("account"))["account"].to_pylist():
        found.append(Finding("merge-loop", f"customer|{account.replace('-', '|', 1)}", "its merges run in a circle"))
    return found
