"""Who is who: from customer accounts to persons.

A person is the set of accounts that are joined by a merge in Prima or by the same normalised e-mail, in whatever
company; never by a name. A web order without an account code makes a new account, so many accounts a person is the
main case. What becomes of a person in Emarsys belongs to `rules/contacts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import ibis
import ibis.expr.types as ir

from prima_emarsys.site import IdentityRules, InternalRule

Settle = Callable[[ir.Table], ir.Table]
"""Computes an expression once; a rule that goes round in a loop needs it."""

# What a mail server takes in practice (RFC 5321 without quoted local parts), in ASCII after lower-casing.
_LOCAL = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_EMAIL = rf"^{_LOCAL}@({_LABEL}\.)+[a-z][a-z0-9-]*[a-z0-9]$"
_LONGEST_LOCAL, _LONGEST_EMAIL = 64, 254


def account_id(company: ir.StringValue, customer_code: ir.StringValue) -> ir.StringValue:
    """The account's id in every derived table: `company-code`, such as `1-0000012345`."""
    return company + "-" + customer_code


def normalised_email(email: ir.StringValue) -> ir.StringValue:
    """The address as compared and sent: outer blanks removed, lower case. Tags and dots stay: they may differ."""
    return email.strip().lower()


def email_fault(email: ir.StringValue, placeholders: Sequence[str]) -> ir.StringValue:
    """Why a normalised address cannot stand for a person: `missing`, `placeholder`, `invalid`, or null if it can."""
    local_length = email.find("@")
    return ibis.cases(
        (email.isnull() | (email == ""), "missing"),
        (email.isin(list(placeholders)), "placeholder"),
        (~email.re_search(_EMAIL) | (local_length > _LONGEST_LOCAL) | (email.length() > _LONGEST_EMAIL), "invalid"),
        else_=ibis.null("string"),
    )


def _matches(customers: ir.Table, rule: InternalRule) -> ir.BooleanValue:
    conditions: list[ir.BooleanValue] = []
    if rule.account_types:
        conditions.append(customers.account_type.lower().isin([word.lower() for word in rule.account_types]))
    if rule.channels:
        conditions.append(customers.channel.lower().isin([word.lower() for word in rule.channels]))
    if rule.codes:
        conditions.append(customers.customer_code.isin(rule.codes))
    if rule.code_prefixes:
        conditions.append(
            reduce(_either, [customers.customer_code.startswith(prefix) for prefix in rule.code_prefixes])
        )
    if rule.email_domains:
        email = normalised_email(customers.email)
        conditions.append(reduce(_either, [email.endswith("@" + domain.lower()) for domain in rule.email_domains]))
    return reduce(lambda one, other: one & other, conditions).fill_null(False)


def _either(one: ir.BooleanValue, other: ir.BooleanValue) -> ir.BooleanValue:
    return one | other


def accounts(customers: ir.Table, rules: IdentityRules) -> ir.Table:
    """One row an account: what identity needs to know of it.

    Columns: account, company, customer_code, email_key (null unless it can stand for a person), email_fault,
    excluded (name of the rule that keeps the account out of Emarsys, or null), opened_at, surname.
    """
    email = normalised_email(customers.email)
    fault = email_fault(email, rules.placeholder_emails)
    excluded = [(customers.erased_at.notnull(), "erased")]
    excluded += [(_matches(customers, rule), f"internal:{rule.name}") for rule in rules.internal]
    return customers.select(
        account=account_id(customers.company, customers.customer_code),
        company=customers.company,
        customer_code=customers.customer_code,
        email_key=fault.isnull().ifelse(email, ibis.null("string")),
        email_fault=fault,
        excluded=ibis.cases(*excluded, else_=ibis.null("string")),
        opened_at=customers.opened_at,
        surname=customers.surname,
    )


def merge_steps(merges: ir.Table) -> ir.Table:
    """The merges in force: each account that gave way, once, with the account it gave way to last.

    Columns: loser, survivor (account ids). An undone merge is out; a merge into itself is no merge.
    """
    latest = ibis.row_number().over(
        group_by=[merges.company, merges.customer_code], order_by=[merges.merged_at.desc(), merges.merged_into_code]
    )
    in_force = merges.filter(merges.unmerged_at.isnull(), merges.customer_code != merges.merged_into_code)
    return (
        in_force.mutate(place=latest)
        .filter(ibis._.place == 0)
        .select(
            loser=account_id(ibis._.company, ibis._.customer_code),
            survivor=account_id(ibis._.company, ibis._.merged_into_code),
        )
    )


def components(accounts: ir.Table, steps: ir.Table, settle: Settle) -> ir.Table:
    """Group accounts that are joined by e-mail or merge.

    `accounts` as made by `accounts()`, without the excluded; `steps` as made by `merge_steps()`.
    Returns account, root (the least account of its group), email_key, gave_way (whether a merge moved it on). An
    account that only a merge knows, since Prima dropped it, is a member too.

    First all accounts of one address become one hub; then the least hub is passed along the merges, jumping to its own
    hub's hub, until nothing changes: rounds grow with the logarithm of the longest chain.
    """
    known = accounts.select("account", "email_key")
    named = steps.select(account=steps.loser).union(steps.select(account=steps.survivor), distinct=True)
    dropped = named.anti_join(known, "account").mutate(email_key=ibis.null("string"))
    nodes = known.union(dropped)
    by_address = nodes.filter(nodes.email_key.notnull()).group_by("email_key").agg(hub=ibis._.account.min())
    hubs = settle(
        nodes.left_join(by_address, "email_key").select(
            account=nodes.account, email_key=nodes.email_key, hub=ibis.coalesce(by_address.hub, nodes.account)
        )
    )
    losers, survivors = hubs.view(), hubs.view()
    ties = (
        steps.inner_join(losers, steps.loser == losers.account)
        .inner_join(survivors, steps.survivor == survivors.account)
        .select(one=losers.hub, other=survivors.hub)
        .filter(ibis._.one != ibis._.other)
    )
    edges = settle(ties.union(ties.select(one=ties.other, other=ties.one), distinct=True))
    labels = settle(edges.select(hub=edges.one, label=edges.one).distinct())
    while True:
        heard = (
            edges.inner_join(labels, edges.other == labels.hub).group_by(hub=edges.one).agg(least=labels.label.min())
        )
        passed = settle(labels.inner_join(heard, "hub").select(labels.hub, label=ibis.least(labels.label, heard.least)))
        ahead = passed.view()
        jumped = settle(passed.inner_join(ahead, passed.label == ahead.hub).select(hub=passed.hub, label=ahead.label))
        changed = jumped.inner_join(labels, "hub").filter(jumped.label != labels.label).count().execute()
        labels = jumped
        if not changed:
            break
    moved = steps.select(account=steps.loser, gave_way=True)
    return (
        hubs.left_join(labels, "hub")
        .drop("hub_right")
        .left_join(moved, "account")
        .select(
            "account",
            "email_key",
            root=ibis.coalesce(ibis._.label, ibis._.hub),
            gave_way=ibis._.gave_way.fill_null(False),
        )
    )


def merge_loops(steps: ir.Table, settle: Settle) -> ir.Table:
    """Accounts from which following the merges never ends. They are one person all the same. Column: account."""
    walk = settle(steps.select(account=steps.loser, at=steps.survivor))
    rounds = max(1, int(walk.count().execute()).bit_length())
    for _ in range(rounds):
        ahead = walk.view()
        walk = settle(
            walk.left_join(ahead, walk.at == ahead.account).select(
                account=walk.account, at=ibis.coalesce(ahead.at, walk.at)
            )
        )
    return walk.semi_join(steps, walk.at == steps.loser).select("account")


def person_key(account: ir.StringValue) -> ir.StringValue:
    """The key of the person that this account founds: `P` + account id. Stable for ever, never reused."""
    return ibis.literal("P") + account


def keep_keys(members: ir.Table, links: ir.Table, persons: ir.Table, accounts: ir.Table, settle: Settle) -> ir.Table:
    """Give each group its person key: the oldest key that it already has, else a new one from its first account.

    `links` (account, person_key) and `persons` (person_key, account: its founder, created_at) are what the ledger
    remembers. A key goes with its founder; if Prima dropped the founder, with the least account that still carries it.
    Returns account, person_key, reason (`own`, `merge` or `e-mail`), root. When two groups become one, the older key
    wins and the younger rests; when one becomes two, the founder's side keeps the key, and a founder that leaves again
    takes up the key that rested: it is the same person. Nobody else takes it up while the founder is there.
    """
    founded = persons.select("person_key", "created_at", founder="account")
    carried = settle(
        links.select("account", "person_key")
        .union(persons.select("account", "person_key"), distinct=True)
        .inner_join(members.select("account", "root"), "account")
        .inner_join(founded, "person_key")
        .select("account", "person_key", "root", "created_at", "founder")
    )
    claims = carried.mutate(
        rank=ibis.row_number().over(
            group_by=carried.person_key,
            order_by=[(carried.account == carried.founder).ifelse(0, 1), carried.account],
        )
    ).filter(ibis._.rank == 0)
    oldest = settle(
        claims.mutate(
            place=ibis.row_number().over(group_by=claims.root, order_by=[claims.created_at, claims.person_key])
        )
        .filter(ibis._.place == 0)
        .select("root", "person_key")
    )
    opened = accounts.select("account", "opened_at")
    aged = members.left_join(opened, "account").select(members.account, members.root, opened.opened_at)
    ranked = aged.mutate(
        place=ibis.row_number().over(
            group_by=aged.root, order_by=[aged.opened_at.isnull().ifelse(1, 0), aged.opened_at, aged.account]
        )
    )
    founders = settle(ranked.filter(ranked.place == 0).select(ranked.root, new_key=person_key(ranked.account)))
    sizes = members.filter(members.email_key.notnull()).group_by("email_key").agg(sharing=ibis._.count())
    return (
        members.left_join(oldest, "root")
        .drop("root_right")
        .left_join(founders, "root")
        .drop("root_right")
        .left_join(sizes, "email_key")
        .select(
            "account",
            "root",
            person_key=ibis.coalesce(ibis._.person_key, ibis._.new_key),
            reason=ibis.cases((ibis._.gave_way, "merge"), (ibis._.sharing > 1, "e-mail"), else_="own"),
        )
    )


def lead_accounts(persons: ir.Table, accounts: ir.Table, steps: ir.Table) -> ir.Table:
    """The account that speaks for a person: its name, address and e-mail are sent.

    Prima still has it (if it has any), it has not given way in a merge, has a usable e-mail if any has, and was opened
    last. Columns: person_key, account.
    """
    candidates = (
        persons.select("person_key", "account")
        .left_join(accounts.select("account", "company", "email_key", "opened_at"), "account")
        .left_join(steps.select(account="loser", gave_way=True), "account")
        .select("person_key", "account", "company", "email_key", "opened_at", "gave_way")
    )
    order = [
        candidates.company.isnull().ifelse(1, 0),
        candidates.gave_way.notnull().ifelse(1, 0),
        candidates.email_key.isnull().ifelse(1, 0),
        candidates.opened_at.isnull().ifelse(1, 0),
        candidates.opened_at.desc(),
        candidates.account.desc(),
    ]
    return (
        candidates.mutate(place=ibis.row_number().over(group_by=candidates.person_key, order_by=order))
        .filter(ibis._.place == 0)
        .select("person_key", "account")
    )


def shared_mailboxes(accounts: ir.Table, names: int) -> ir.Table:
    """Addresses used under at least `names` different surnames: kept as one contact, and reported.

    Columns: email_key, surnames (count), accounts (count).
    """
    surname = accounts.surname.strip().lower()
    return (
        accounts.filter(accounts.email_key.notnull(), accounts.excluded.isnull())
        .mutate(name=surname)
        .group_by("email_key")
        .agg(surnames=ibis._.name.nunique(), accounts=ibis._.count())
        .filter(ibis._.surnames >= names)
    )
