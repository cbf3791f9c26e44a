"""The operators' handbook: a page for each owner of exceptions, made of the catalogue of kinds.

`python -m prima_emarsys.handbook FOLDER` writes the pages; a test says that the committed ones are what this module
makes. What a kind means and what to do about it stands in the catalogue; here stands only the day of each owner.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from prima_emarsys.finding import KINDS, Kind, Owner, Severity


@dataclass(frozen=True)
class _Page:
    """What is particular to one owner."""

    title: str
    reason: str
    """Why this owner and no other."""
    routine: tuple[str, ...]
    """A day's work, in order."""


_PAGES = {
    Owner.FINANCE: _Page(
        "Finance",
        "Amounts in Emarsys are only as right as the orders, returns and credit notes in Prima. You own what concerns "
        "money: references that lead nowhere, refunds above their sale, orders that cannot be counted.",
        (
            "Open the asset `proof/exceptions` in Dagster: the check `finance` is green, or says what waits too long.",
            "List yours, those with money at stake first to decide: `prima-emarsys exceptions --owner finance`.",
            "Correct the record in Prima. The exception closes itself with the next read; nobody needs to be told.",
            "Where Prima is right as it is, say so: `prima-emarsys exceptions accept NUMBER --by NAME --note WHY`. "
            "It stays accepted until the amount changes.",
            "At the month's end, keep the list with the period: `prima-emarsys exceptions export --owner finance`.",
        ),
    ),
    Owner.MARKETING: _Page(
        "Marketing",
        "You own what only somebody who works in Emarsys can see or set: external events and programs, files whose "
        "arrival is in doubt, duplicates, and plans that would change far more than usual.",
        (
            "Open the asset `proof/exceptions` in Dagster: the check `marketing` is green, or tells what is late.",
            "A held plan comes first, because nothing is sent while it waits: `prima-emarsys plan contacts` shows what "
            "would change. Release it, or ask the data team.",
            "A file of unknown fate comes next: look on the Sales Data page of Emarsys, then say whether it arrived.",
            "List the rest: `prima-emarsys exceptions --owner marketing`.",
            "Segments are fuelled by true data when `proof/contacts` is green.",
        ),
    ),
    Owner.CUSTOMER_SERVICE: _Page(
        "Customer service",
        "You own what concerns a person's record in Prima: addresses that cannot be right, accounts that are merged in "
        "a circle, mailboxes that many share.",
        (
            "Open the asset `proof/exceptions` in Dagster: the check `customer-service` is green, or says what waits "
            "too long.",
            "List yours, those that wait longest first: `prima-emarsys exceptions --owner customer-service`. No name "
            "and no address is shown; the record is the account's code in Prima.",
            "Correct the account in Prima. The exception closes itself with the next read.",
            "What is right as it is (a family with one mailbox) is accepted: "
            "`prima-emarsys exceptions accept NUMBER --by NAME --note WHY`.",
            "What is not yours goes on: `prima-emarsys exceptions assign NUMBER OWNER --by NAME --note WHY`.",
        ),
    ),
    Owner.DATA: _Page(
        "Data engineers",
        "You own what concerns the two systems and the way between them: rows that break the contract, words that the "
        "site file does not know, refusals by Emarsys, lanes that have stopped.",
        (
            "Open the asset `proof/exceptions` in Dagster: the check `data` is green, or says what waits too long.",
            "A stopped lane comes first: do what it says, then `prima-emarsys resume LANE --by NAME --note WHY`.",
            "`prima-emarsys doctor` must find nothing wrong.",
            "List the rest: `prima-emarsys exceptions --owner data`. Many of one kind usually have one cause, in the "
            "site file or in a grant.",
            "After a mend, send one record again: `prima-emarsys exceptions retry NUMBER --by NAME --note WHY`.",
        ),
    ),
}

_STATES = """An exception is **open** until somebody says **acknowledged** (I work on it) or **accepted** (we live with
it, until it changes). It is **resolved** by itself as soon as the record is right, or by hand. It opens once, however
often its check finds it, and its number stays. Whoever decides gives a name and a note; both are kept in the audit log.
An **error** that waits longer than the site allows (`overdue_hours` in the site file) turns its owner's check red.
"""


def pages() -> dict[str, str]:
    """File name → Markdown."""
    return {f"{owner.value}.md": _page(owner, page) for owner, page in _PAGES.items()}


def _page(owner: Owner, page: _Page) -> str:
    kinds = [kind for kind in KINDS.values() if kind.owner == owner]
    ordered = sorted(kinds, key=lambda kind: (kind.severity is not Severity.ERROR, kind.name))
    lines = [
        f"# {page.title}",
        "",
        page.reason,
        "",
        "Made from the catalogue of kinds (`prima_emarsys/finding.py`). Where a site gives a kind to another owner, "
        "its site file says so under `owners`.",
        "",
        "## Every day",
        "",
        *(f"{place}. {step}" for place, step in enumerate(page.routine, 1)),
        "",
        "## What the states mean",
        "",
        _STATES,
        "## What can wait for you",
        "",
    ]
    for kind in ordered:
        lines += _section(kind)
    return "\n".join(lines).rstrip() + "\n"


def _section(kind: Kind) -> list[str]:
    return [
        f"### {kind.name}",
        "",
        f"*{kind.severity.capitalize()}*",
        "",
        kind.meaning,
        "",
        f"- **What to do.** {kind.what_to_do}",
        f"- **It closes when:** {kind.closes_when}",
        "",
    ]


def main(folder: Path) -> None:
    """Write the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
