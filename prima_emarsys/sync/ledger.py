"""The ledger of records: what Emarsys should hold, what it acknowledged, and what is on its way.

One row a record of a lane, the latest state only. A record is moved by `stage` (desired), `claim` (on its way) and
`acknowledge`, `defer`, `doubt` or `abandon` (what became of it). Here is nothing that sends (see `deliver`), nothing
about a lane as a whole (see `lanes`), and nothing that decides values (see `plan`).

Promises, at any moment and after any crash:

- every record is in exactly one of six states (`counts`);
- an acknowledged hash is what Emarsys held after the last call for that record. Hence a claim wipes it: a call whose
  reply was lost, followed by the source going back to its earlier value, would else look clean;
- whoever lost its lease changes nothing any more.
"""

from __future__ import annotations

import hmac
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from prima_emarsys.emarsys.outcome import Refusal
from prima_emarsys.finding import Finding, Owner
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.database import Database, LedgerUnusable, batches, insert_ignoring
from prima_emarsys.sync.failpoints import failpoint
from prima_emarsys.sync.payload import carry_over
from prima_emarsys.sync.refusals import DIFFERS, DISPUTES, POISON, POISON_LOSSES, treatment
from prima_emarsys.sync.schema import Utc, meta
from prima_emarsys.sync.schema import lane as lane_table
from prima_emarsys.sync.schema import sync_record as record

T = TypeVar("T")

STAGE_PAGE = 5_000
"""Records staged in one transaction."""

KEY_PAGE = 10_000
"""Keys read in one transaction, so that a long walk blocks no writer."""

FIRST_IN_LINE = datetime(2000, 1, 1, tzinfo=UTC)
"""Since when a record is due that goes before all others; see `Ledger.hasten`."""

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Desired:
    """What Emarsys should hold for one record.

    `values_digest_input` is the canonical JSON of the desired values (`payload.canonical`); `payload` the JSON object
    to send, which may also clear fields.
    """

    key: str
    values_digest_input: bytes
    payload: bytes


@dataclass(frozen=True)
class Staged:
    """Records staged, each counted once; their sum is the number of records given."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    """The same as acknowledged: nothing was written."""
    still_dirty: int = 0
    """The same as staged before, and not acknowledged yet."""
    repeated: int = 0
    """The key came again in the same page; the last one counts."""

    def __add__(self, other: Staged) -> Staged:
        return Staged(
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.still_dirty + other.still_dirty,
            self.repeated + other.repeated,
        )


@dataclass(frozen=True)
class Claim:
    """Records leased to one sender until they are acknowledged, deferred, doubted, abandoned, or the lease ends."""

    lane: str
    token: str
    records: Mapping[str, bytes]
    doubtful: frozenset[str] = frozenset()
    """Keys whose last call ended unknown: an answer for them counts only after a read-back."""
    attempts: int = 0
    """The most failed calls that any of the records has behind it."""
    whole: bool = field(default=True, repr=False)

    def part(self, keys: Iterable[str]) -> Claim:
        """The claim on some of its records."""
        chosen = {key: self.records[key] for key in keys}
        return replace(self, records=chosen, doubtful=self.doubtful & chosen.keys(), whole=False)


@dataclass(frozen=True)
class Acknowledged:
    """What an acknowledgement changed. `lost`: the lease was gone, so nothing was changed for these."""

    acknowledged: int
    quarantined: int
    again: int
    """Refused in a way that a repeat cures; due again."""
    lost: int


@dataclass(frozen=True)
class Quarantined:
    """A record that waits for a person."""

    key: str
    code: str
    text: str
    owner: str
    since: datetime


@dataclass(frozen=True)
class Counts:
    """Every record of a lane in exactly one place."""

    acknowledged: int
    dirty: int
    leased: int
    in_doubt: int
    quarantined: int
    filtered: Mapping[str, int]
    """By rule."""
    oldest_dirty: timedelta | None
    """How long Emarsys has been behind for the record that waits longest (not quarantined, not filtered)."""

    @property
    def total(self) -> int:
        """All records of the lane."""
        places = (self.acknowledged, self.dirty, self.leased, self.in_doubt, self.quarantined)
        return sum(places) + sum(self.filtered.values())


# -- the states as SQL, in the order in which the first that holds counts ------------------------------------------

IS_LEASED = record.c.lease_token.is_not(None)
IS_FILTERED = record.c.filtered_rule.is_not(None)
IS_QUARANTINED = record.c.quarantine_code.is_not(None)
IS_SETTLED = record.c.acked_hash == record.c.desired_hash
IS_IN_DOUBT = record.c.in_doubt_until.is_not(None)

STATE = sa.case(
    (IS_LEASED, "leased"),
    (IS_FILTERED, "filtered"),
    (IS_QUARANTINED, "quarantined"),
    (IS_SETTLED, "acknowledged"),
    (IS_IN_DOUBT, "in_doubt"),
    else_="dirty",
)

# Word for word the condition of the index `ix_sync_record_due`, so that both databases use it.
_CLAIMABLE = sa.and_(
    record.c.payload.is_not(None),
    record.c.lease_token.is_(None),
    record.c.quarantine_code.is_(None),
    record.c.filtered_rule.is_(None),
)

_NO_LEASE: dict[str, Any] = {"lease_token": None, "lease_until": None, "inflight_hash": None}
_NO_QUARANTINE: dict[str, Any] = {
    "quarantine_code": None,
    "quarantine_text": None,
    "quarantine_owner": None,
    "quarantine_since": None,
}
_UNMOVED = record.c.desired_hash == record.c.inflight_hash


class Ledger:
    """The open ledger. Safe to use from several threads and several processes at once."""

    _latest_due: datetime | None = None
    """Only records due by then are claimed; None: all that are due."""

    def __init__(self, database: Database, hash_key: bytes, clock: Clock, owners: Mapping[str, Owner]) -> None:
        self.database = database
        self.clock = clock
        self.owners = owners
        self._hash_key = hash_key

    # -- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        url: str,
        hash_key: bytes,
        *,
        create: bool = True,
        environment: str | None = None,
        clock: Clock | None = None,
        busy_timeout: float = 30.0,
        journal: str = "delete",
        owners: Mapping[str, Owner] | None = None,
    ) -> Self:
        """Open the ledger at `url`, bring an older one up to date, and make a new one if `create`.

        `hash_key` keys every hash, so that a stolen ledger does not give away values by guessing; it belongs to the
        ledger for life. `environment` (for example `production`) is written at creation and compared afterwards.
        Without a `clock` the database's own clock is used, so that several machines agree. `owners` (kind of exception
        → owner) is the site's own division of work.

        Raises `LedgerUnusable` for a ledger that is missing (`create=False`), damaged, not writable, of another
        environment, of another hash key, or of newer software.
        """
        if len(hash_key) < 16:
            raise LedgerUnusable("the ledger's hash key is shorter than 16 bytes; take 32 random bytes and keep them")
        database = Database(url, busy_timeout=busy_timeout, journal=journal)
        try:
            database.upgrade(create=create)
            ledger = cls(database, hash_key, clock or _database_clock(database), owners or {})
            ledger._introduce(environment)
        except BaseException:
            database.close()
            raise
        return ledger

    def _introduce(self, environment: str | None) -> None:
        """Write down, or compare, what the ledger is; and find out at once whether it can be written."""
        check = self.digest(b"the ledger's hash key")

        def introduce(connection: Connection) -> dict[str, str]:
            first = {"ledger_id": str(uuid.uuid4()), "environment": environment or "", "hash_key_check": check}
            for name, value in first.items():
                insert_ignoring(connection, meta, {"name": name, "value": value})
            connection.execute(sa.delete(meta).where(meta.c.name == "last_opened"))
            connection.execute(sa.insert(meta).values(name="last_opened", value=self.clock().isoformat()))
            return {row.name: row.value for row in connection.execute(sa.select(meta))}

        known = self.write(introduce)
        if known["hash_key_check"] != check:
            raise LedgerUnusable(
                "the ledger was made with another hash key, so every record would look changed; give it that key"
            )
        if environment is not None and known["environment"] != environment:
            raise LedgerUnusable(
                f"the ledger belongs to the environment {known['environment']!r}, and this is {environment!r};"
                " give each environment a ledger of its own"
            )

    def close(self) -> None:
        """Give the database's connections back."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one writing transaction; see `Database.write`."""
        return self.database.write(work)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction that takes no write lock; see `Database.read`."""
        return self.database.read(work)

    # -- desired -------------------------------------------------------------------------------------------------

    def digest(self, values: bytes, mapping_version: str = "") -> str:
        """Keyed hash (HMAC-SHA-256, base64url) of canonical JSON and the mapping that made it."""
        digest = hmac.digest(self._hash_key, mapping_version.encode() + b"\n" + values, "sha256")
        return urlsafe_b64encode(digest).rstrip(b"=").decode()

    def stage(self, lane: str, records: Iterable[Desired], mapping_version: str) -> Staged:
        """Write down what Emarsys should hold; committed page by page.

        A record that is the same as before is not written. A new desired state releases a quarantined or filtered
        record, and takes over what an unacknowledged payload still owes (`payload.carry_over`). Staging again after a
        crash continues where it was.
        """
        staged = Staged()
        self.write(lambda connection: know_lane(connection, lane))
        for page in batches(records, STAGE_PAGE):
            staged += self._stage_page(lane, page, mapping_version)
        failpoint("after_stage")
        return staged

    def _stage_page(self, lane: str, page: list[Desired], mapping_version: str) -> Staged:
        desired = {one.key: (one, self.digest(one.values_digest_input, mapping_version)) for one in page}

        def work(connection: Connection) -> Staged:
            # One stager a lane at a time, so that two never insert the same new key.
            connection.execute(sa.select(lane_table.c.lane).where(lane_table.c.lane == lane).with_for_update())
            known = _known(connection, lane, list(desired))
            now = self.clock()
            moved: list[Incoming] = []
            new = unchanged = still_dirty = 0
            for key, (one, digest) in desired.items():
                row = known.get(key)
                if row is None:
                    new += 1
                    moved.append((key, digest, one.payload))
                elif digest != row.desired_hash or row.filtered_rule is not None:
                    moved.append((key, digest, _owing(row, one.payload)))
                elif row.acked_hash == digest:
                    unchanged += 1
                else:
                    still_dirty += 1
                    if row.payload is None:  # its acknowledgement was withdrawn
                        moved.append((key, digest, one.payload))
            if moved:
                _put(connection, lane, moved, mapping_version, now)
            failpoint("mid_stage")
            changed = len(desired) - new - unchanged - still_dirty
            return Staged(new, changed, unchanged, still_dirty, len(page) - len(desired))

        return self.write(work)

    def filter(self, lane: str, rules: Mapping[str, str]) -> int:
        """Mark records (key → rule) as not to be sent; staging one makes it sendable again. Returns how many changed.

        What is on its way already ends as it ends. What may have reached Emarsys stays known, so that a later payload
        can clear it.
        """
        self.write(lambda connection: know_lane(connection, lane))

        def work(page: list[tuple[str, str]]) -> Callable[[Connection], int]:
            def filter_page(connection: Connection) -> int:
                connection.execute(sa.select(lane_table.c.lane).where(lane_table.c.lane == lane).with_for_update())
                known = _known(connection, lane, [key for key, _ in page])
                ruled = {key: row.filtered_rule for key, row in known.items()}
                moved: list[Incoming] = [(key, rule, None) for key, rule in page if ruled.get(key) != rule]
                if moved:
                    _put_filtered(connection, lane, moved, self.clock())
                return len(moved)

            return filter_page

        return sum(self.write(work(page)) for page in batches(rules.items(), STAGE_PAGE))

    # -- on its way ----------------------------------------------------------------------------------------------

    def claim(self, lane: str, limit: int = 1_000, lease: timedelta = timedelta(minutes=2)) -> Claim | None:
        """Lease up to `limit` due records, those that wait longest first; None if none is due.

        A record whose lease was lost three times goes alone and last: if it is the one that ends the process, the
        others still go.
        """
        token = secrets.token_hex(8)
        until = self.clock() + lease
        due_by = self._latest_due or self.clock()

        def claim_some(connection: Connection) -> Claim | None:
            healthy = record.c.lease_losses < POISON_LOSSES
            rows = connection.execute(_claim(lane, healthy, limit, token, due_by, until)).all()
            if not rows:
                rows = connection.execute(_claim(lane, sa.not_(healthy), 1, token, due_by, until)).all()
            if not rows:
                return None
            return Claim(
                lane,
                token,
                {row.key: row.payload for row in rows},
                frozenset(row.key for row in rows if row.in_doubt_until is not None),
                max(row.attempts for row in rows),
            )

        claim = self.write(claim_some)
        failpoint("after_claim")
        return claim

    def hasten(self, lane: str, keys: Iterable[str]) -> int:
        """Let these records go before all others of the lane, as soon as they may go at all; returns how many.

        For the next attempt only: what fails then takes its turn again.
        """

        def work(page: list[str]) -> Callable[[Connection], int]:
            due = sa.and_(record.c.next_attempt_at > FIRST_IN_LINE, record.c.next_attempt_at <= self.clock())
            where = sa.and_(record.c.lane == lane, _CLAIMABLE, due)
            values = {"next_attempt_at": FIRST_IN_LINE}
            return lambda connection: _change(connection, sa.and_(where, _among(connection, page)), values)

        return sum(self.write(work(page)) for page in batches(keys, KEY_PAGE))

    def extend(self, claim: Claim, lease: timedelta) -> bool:
        """Prolong the lease; False if any of the records is no longer held, and then nothing may be sent."""
        until = self.clock() + lease
        return self._change_held(claim, lease_until=until) == len(claim.records)

    def acknowledge(self, claim: Claim, accepted: Iterable[str], refused: Mapping[str, Refusal]) -> Acknowledged:
        """Write down what Emarsys accepted and what it refused. Changes nothing for a lease that was lost.

        An accepted record whose desired state moved meanwhile stays dirty. A refused one waits for a person, unless
        it moved meanwhile, or a repeat is known to cure the refusal.
        """
        accepted = list(accepted)
        now = self.clock()
        part = claim if len(accepted) == len(claim.records) else claim.part(accepted)

        def work(connection: Connection) -> Acknowledged:
            acknowledged = _change(connection, _held(part), _acknowledged(now)) if accepted else 0
            quarantined = again = 0
            for key, refusal in sorted(refused.items()):
                held = _held(claim.part([key]))
                stands = sa.and_(held, _refusal_stands(refusal))
                set_aside = _change(connection, stands, _refused(now) | _quarantine(refusal.code, refusal.text, now))
                again += 0 if set_aside else _change(connection, held, _refused(now))
                quarantined += set_aside
            failpoint("before_ack_commit")
            lost = len(accepted) + len(refused) - acknowledged - quarantined - again
            return Acknowledged(acknowledged, quarantined, again, lost)

        result = self.write(work)
        failpoint("after_ack")
        return result

    def defer(self, claim: Claim, until: datetime, *, counts_attempt: bool) -> int:
        """Give the records back, certainly not applied, to be sent again from `until` on. Returns how many."""
        return self._change_held(
            claim,
            next_attempt_at=_later_of(record.c.in_doubt_until, sa.literal(until, Utc)),
            attempts=record.c.attempts + int(counts_attempt),
            **_NO_LEASE,
        )

    def doubt(self, claim: Claim, grace: timedelta, *, differs: bool = False) -> int:
        """Give the records back, perhaps applied: not sent again before `grace` has passed, and then read back.

        `differs`: Emarsys accepted them, but a read-back found other values. The third time that is no late write any
        more, and the record waits for a person. Returns how many records were given back.
        """
        now = self.clock()
        values = {
            "next_attempt_at": now + grace,
            "in_doubt_until": now + grace,
            "may_have_reached": True,
            "disputes": record.c.disputes + int(differs),
            **_NO_LEASE,
        }
        set_aside = values | _quarantine(DIFFERS, "Emarsys accepts the record and then holds other values", now)
        given_up = sa.and_(_UNMOVED, record.c.disputes + 1 >= DISPUTES) if differs else sa.false()

        def work(connection: Connection) -> int:
            waiting = _change(connection, sa.and_(_held(claim), given_up), set_aside) if differs else 0
            return waiting + _change(connection, _held(claim), values)

        return self.write(work)

    def abandon(self, claim: Claim) -> int:
        """Give the records back as if the lease had ended: the sender failed in a way that nobody foresaw."""
        return self._lose(_held(claim))

    def expire_leases(self, lane: str) -> int:
        """Take back what a dead sender left: due again, in doubt. Returns how many records."""
        return self._lose(sa.and_(record.c.lane == lane, IS_LEASED, record.c.lease_until <= self.clock()))

    def _lose(self, where: sa.ColumnElement[bool]) -> int:
        """Give back records whose lease ended without an answer; one that was sent alone is set aside."""
        now = self.clock()
        alone = sa.and_(where, record.c.lease_losses >= POISON_LOSSES, _UNMOVED)
        values = {
            "lease_losses": record.c.lease_losses + 1,
            "in_doubt_until": now,
            "next_attempt_at": now,
            "may_have_reached": True,
            **_NO_LEASE,
        }
        set_aside = values | _quarantine(POISON, "sending it alone ended the process", now)
        return self.write(lambda c: _change(c, alone, set_aside) + _change(c, where, values))

    def _change_held(self, claim: Claim, **values: Any) -> int:
        return self.write(lambda connection: _change(connection, _held(claim), values))

    def hastened(self) -> Ledger:
        """This ledger as a sender sees it who sends hastened records and no others."""
        return _Hastened(self.database, self._hash_key, self.clock, self.owners)

    # -- reading -------------------------------------------------------------------------------------------------

    def settled(self, lane: str, keys: Iterable[str] | None = None) -> Iterator[str]:
        """Keys, in order, that Emarsys acknowledged as they should be; of `keys` only, if given."""
        return self._keys(lane, sa.and_(IS_SETTLED, sa.not_(IS_FILTERED)), keys)

    def acknowledged(self, lane: str, keys: Iterable[str]) -> Iterator[str]:
        """Those of `keys`, in order, that Emarsys acknowledged, be it in an earlier state than desired now."""
        return self._keys(lane, record.c.acked_hash.is_not(None), keys)

    def unsettled(self, lane: str) -> Iterator[str]:
        """Keys, in order, that should be sent and are not acknowledged: dirty, leased, in doubt or quarantined."""
        unsettled = sa.or_(record.c.acked_hash.is_(None), record.c.acked_hash != record.c.desired_hash)
        return self._keys(lane, sa.and_(unsettled, sa.not_(IS_FILTERED)), None)

    def of_mapping(self, lane: str, mapping_version: str) -> Iterator[str]:
        """Keys, in order, of records staged last under this mapping, filtered ones aside."""
        return self._keys(lane, sa.and_(record.c.mapping_version == mapping_version, sa.not_(IS_FILTERED)), None)

    def _keys(self, lane: str, condition: sa.ColumnElement[bool], keys: Iterable[str] | None) -> Iterator[str]:
        select = sa.select(record.c.key).where(record.c.lane == lane, condition).order_by(record.c.key)
        if keys is not None:
            for page in batches(keys, KEY_PAGE):
                yield from self.read(lambda c, page=page: _column(c, select, _among(c, page)))
            return
        last = ""
        pages = select.limit(KEY_PAGE)
        while page := self.read(lambda connection, last=last: _column(connection, pages, record.c.key > last)):
            yield from page
            last = page[-1]

    def quarantined(self, lane: str) -> list[Quarantined]:
        """The records that wait for a person, in key order."""
        select = (
            sa.select(
                record.c.key,
                record.c.quarantine_code,
                record.c.quarantine_text,
                record.c.quarantine_owner,
                record.c.quarantine_since,
            )
            .where(record.c.lane == lane, STATE == "quarantined")
            .order_by(record.c.key)
        )
        return self.read(lambda connection: [Quarantined(*row) for row in connection.execute(select)])

    def findings(self, lane: str) -> Iterator[Finding]:
        """What its owners must do about the records that wait for a person."""
        for one in self.quarantined(lane):
            yield Finding(treatment(one.code).kind, one.key, f"{one.code}: {one.text}", Owner(one.owner))

    def filtered(self, lane: str, *, acknowledged: bool = False) -> dict[str, str]:
        """Key → rule of the records that are not sent; with `acknowledged` only those that Emarsys once took."""
        select = sa.select(record.c.key, record.c.filtered_rule).where(record.c.lane == lane, IS_FILTERED)
        select = select.order_by(record.c.key)
        if acknowledged:
            select = select.where(record.c.acked_hash.is_not(None))
        return self.read(lambda connection: {row.key: row.filtered_rule for row in connection.execute(select)})

    def counts(self, lane: str) -> Counts:
        """Where the lane's records are."""
        select = (
            sa.select(STATE, record.c.filtered_rule, sa.func.count(), sa.func.min(record.c.first_dirty_at))
            .where(record.c.lane == lane)
            .group_by(STATE, record.c.filtered_rule)
        )
        places = dict.fromkeys(("acknowledged", "dirty", "leased", "in_doubt", "quarantined"), 0)
        filtered: dict[str, int] = {}
        oldest: datetime | None = None
        for state, rule, number, since in self.read(lambda connection: connection.execute(select).all()):
            if state == "filtered":
                filtered[rule] = number
                continue
            places[state] += number
            if since is not None and state != "quarantined":
                oldest = min(oldest or since, since)
        return Counts(**places, filtered=filtered, oldest_dirty=oldest and self.clock() - oldest)

    def next_due(self, lane: str) -> datetime | None:
        """When the next record becomes due, or the next lease ends; None if nothing waits."""
        due = sa.select(sa.func.min(record.c.next_attempt_at)).where(record.c.lane == lane, _CLAIMABLE)
        if self._latest_due is not None:
            due = due.where(record.c.next_attempt_at <= self._latest_due)
        ends = sa.select(sa.func.min(record.c.lease_until)).where(record.c.lane == lane, IS_LEASED)
        moments = self.read(lambda connection: (connection.scalar(due), connection.scalar(ends)))
        return min((moment for moment in moments if moment is not None), default=None)

    # -- by a person, or by the proof ----------------------------------------------------------------------------

    def clear_acknowledgement(self, lane: str, keys: Iterable[str] | None, by: str, note: str) -> int:
        """Withdraw acknowledgements, since Emarsys holds something else; of the whole lane if `keys` is None.

        The records are due again as soon as they are staged. Withdrawing all is also what makes a ledger true that
        was restored from a backup. Returns how many were withdrawn; audited.
        """

        def clear(connection: Connection, chosen: sa.ColumnElement[bool]) -> int:
            return withdraw_acknowledgement(connection, sa.and_(record.c.lane == lane, chosen), self.clock())

        return self._by_a_person(lane, keys, by, note, "clear-acknowledgement", clear)

    def release(self, lane: str, keys: Iterable[str] | None, by: str, note: str) -> int:
        """Let quarantined records be sent again as they are; all of the lane if `keys` is None. Audited."""

        def let_go(connection: Connection, chosen: sa.ColumnElement[bool]) -> int:
            where = sa.and_(record.c.lane == lane, IS_QUARANTINED, chosen)
            fresh = {"attempts": 0, "disputes": 0, "lease_losses": 0, "next_attempt_at": self.clock()}
            return _change(connection, where, fresh | _NO_QUARANTINE)

        return self._by_a_person(lane, keys, by, note, "release", let_go)

    def _by_a_person(
        self,
        lane: str,
        keys: Iterable[str] | None,
        by: str,
        note: str,
        what: str,
        act: Callable[[Connection, sa.ColumnElement[bool]], int],
    ) -> int:
        pages = None if keys is None else list(batches(keys, KEY_PAGE))

        def work(connection: Connection) -> int:
            choices = [sa.true()] if pages is None else [_among(connection, page) for page in pages]
            number = sum(act(connection, choice) for choice in choices)
            write_audit(connection, self, by, what, lane, f"{note} ({number} records)")
            return number

        return self.write(work)


class _Hastened(Ledger):
    _latest_due = FIRST_IN_LINE


def withdraw_acknowledgement(connection: Connection, where: sa.ColumnElement[bool], now: datetime) -> int:
    """Write down that Emarsys does not hold what it acknowledged of the records that `where` names."""
    values = {
        "acked_hash": None,
        "acked_at": None,
        "may_have_reached": True,
        "next_attempt_at": now,
        "first_dirty_at": sa.func.coalesce(record.c.first_dirty_at, sa.literal(now, Utc)),
    }
    return _change(connection, sa.and_(where, record.c.acked_hash.is_not(None)), values)


# -- statements ------------------------------------------------------------------------------------------------------


def _database_clock(database: Database) -> Clock:
    """This machine's clock, corrected once by the database server's, which all machines share."""
    if database.name == "sqlite":
        return lambda: datetime.now(UTC)
    theirs = sa.select(sa.func.clock_timestamp())
    offset = database.read(lambda connection: connection.execute(theirs).scalar_one()) - datetime.now(UTC)
    return lambda: datetime.now(UTC) + offset


def know_lane(connection: Connection, lane: str) -> None:
    """Make the lane's row, unless it is there."""
    insert_ignoring(connection, lane_table, {"lane": lane, "breaker_window": "", "breaker_open_seconds": 0})


Incoming = tuple[str, str, bytes | None]
"""One record on its way into the table: key, hash (or rule), JSON object."""


def _incoming(connection: Connection, rows: list[Incoming]) -> sa.FromClause:
    """`rows` as a table (key, digest, content) that travels as one parameter: a page costs one statement."""
    if connection.dialect.name == "postgresql":
        keys, digests, contents = zip(*rows, strict=True)
        arrays = (
            sa.literal(list(keys), ARRAY(sa.Text)),
            sa.literal(list(digests), ARRAY(sa.Text)),
            sa.literal(list(contents), ARRAY(sa.LargeBinary)),
        )
        return sa.func.unnest(*arrays).table_valued("key", "digest", "content").render_derived(name="incoming")
    page = orjson.dumps([(key, digest, content and content.decode()) for key, digest, content in rows]).decode()
    each = sa.func.json_each(page).table_valued("value", name="page")
    key, digest, content = (sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(3))
    return sa.select(
        key.label("key"), digest.label("digest"), sa.cast(content, sa.LargeBinary).label("content")
    ).subquery("incoming")


def _among(connection: Connection, keys: list[str]) -> sa.ColumnElement[bool]:
    """Whether a record's key is one of `keys`, which travel as one parameter."""
    if connection.dialect.name == "postgresql":
        return record.c.key == sa.func.any(sa.literal(keys, ARRAY(sa.Text)))
    each = sa.func.json_each(orjson.dumps(keys).decode()).table_valued("value")
    return record.c.key.in_(sa.select(each.c.value))


def _known(connection: Connection, lane: str, keys: list[str]) -> dict[str, Any]:
    """What staging must know of the records that are there already; they are locked."""
    select = (
        sa.select(
            record.c.key,
            record.c.desired_hash,
            record.c.acked_hash,
            record.c.payload,
            record.c.lease_token,
            record.c.may_have_reached,
            record.c.filtered_rule,
        )
        .where(record.c.lane == lane, _among(connection, keys))
        .order_by(record.c.key)
        .with_for_update()
    )
    return {row.key: row for row in connection.execute(select)}


def _column(connection: Connection, select: sa.Select[tuple[str]], condition: sa.ColumnElement[bool]) -> list[str]:
    return [row.key for row in connection.execute(select.where(condition))]


def _owing(row: Any, payload: bytes) -> bytes:
    """`payload`, and what the record's unacknowledged payload still owes Emarsys."""
    if row.payload is None:
        return payload
    reached = row.may_have_reached or row.lease_token is not None
    return carry_over(row.payload, payload, may_have_reached=reached)


def _put(connection: Connection, lane: str, rows: list[Incoming], mapping_version: str, now: datetime) -> None:
    """Write down a desired state: of records that the ledger has never held, and of records that moved.

    What is back at the acknowledged state owes nothing: a claim would have wiped the acknowledged hash. What waited
    for a person, or for nothing, is due at once; what waits for Emarsys goes on waiting; doubt is respected always.
    """
    incoming = _incoming(connection, rows)
    insert = _insert(
        connection,
        incoming,
        lane,
        now,
        {
            "desired_hash": incoming.c.digest,
            "payload": incoming.c.content,
            "mapping_version": sa.literal(mapping_version),
            "first_dirty_at": sa.literal(now, Utc),
        },
    )
    given = insert.excluded
    clean = sa.func.coalesce(record.c.acked_hash == given.desired_hash, sa.false())
    fresh = sa.or_(record.c.payload.is_(None), IS_QUARANTINED, IS_FILTERED)
    due = sa.case((fresh, given.next_attempt_at), else_=record.c.next_attempt_at)
    since = sa.func.coalesce(record.c.first_dirty_at, given.first_dirty_at)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["lane", "key"],
            set_={
                "desired_hash": given.desired_hash,
                "mapping_version": given.mapping_version,
                "payload": sa.case((clean, None), else_=given.payload),
                "next_attempt_at": _later_of(record.c.in_doubt_until, due),
                "first_dirty_at": sa.case((clean, None), else_=since),
                "attempts": sa.case((fresh, 0), else_=record.c.attempts),
                "lease_losses": sa.case((fresh, 0), else_=record.c.lease_losses),
                "disputes": 0,
                "filtered_rule": None,
                **_NO_QUARANTINE,
            },
        )
    )


def _put_filtered(connection: Connection, lane: str, rows: list[Incoming], now: datetime) -> None:
    """Write down that a rule keeps records from being sent."""
    incoming = _incoming(connection, rows)
    insert = _insert(connection, incoming, lane, now, {"filtered_rule": incoming.c.digest})
    reached = sa.or_(record.c.may_have_reached, IS_LEASED)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["lane", "key"],
            set_={
                "filtered_rule": insert.excluded.filtered_rule,
                "payload": sa.case((reached, record.c.payload), else_=None),
                "first_dirty_at": None,
                **_NO_QUARANTINE,
            },
        )
    )


def _insert(
    connection: Connection, incoming: sa.FromClause, lane: str, now: datetime, values: dict[str, sa.ColumnElement[Any]]
) -> postgresql.Insert | sqlite.Insert:
    values = {
        "lane": sa.literal(lane),
        "key": incoming.c.key,
        "lease_losses": sa.literal(0),
        "attempts": sa.literal(0),
        "disputes": sa.literal(0),
        "next_attempt_at": sa.literal(now, Utc),
        "may_have_reached": sa.false(),
        **values,
    }
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    # Without a WHERE, SQLite would take ON CONFLICT for the condition of a join.
    return insert(record).from_select(list(values), sa.select(*values.values()).where(sa.text("true")))


def _change(connection: Connection, where: sa.ColumnElement[bool], values: Mapping[str, Any]) -> int:
    """Update the records that `where` names; returns how many.

    In PostgreSQL they are locked in key order first: two multi-row updates in heap order would deadlock.
    """
    if connection.dialect.name == "postgresql":
        locked = sa.select(sa.literal(1)).select_from(record).where(where)
        connection.execute(locked.order_by(record.c.lane, record.c.key).with_for_update())
    return connection.execute(sa.update(record).where(where).values(dict(values))).rowcount


def _claim(
    lane: str, which: sa.ColumnElement[bool], limit: int, token: str, due_by: datetime, until: datetime
) -> sa.UpdateBase:
    due = (
        sa.select(record.c.key)
        .where(record.c.lane == lane, _CLAIMABLE, record.c.next_attempt_at <= due_by, which)
        .order_by(record.c.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return (
        sa.update(record)
        .where(record.c.lane == lane, record.c.key.in_(sa.select(due.c.key)))
        .values(
            acked_hash=None,
            acked_at=None,
            inflight_hash=record.c.desired_hash,
            lease_token=token,
            lease_until=until,
        )
        .returning(record.c.key, record.c.payload, record.c.in_doubt_until, record.c.attempts)
    )


def _held(claim: Claim) -> sa.ColumnElement[bool]:
    """The claim's records that the claim still holds."""
    held = record.c.lease_token == claim.token
    return held if claim.whole else sa.and_(held, record.c.lane == claim.lane, record.c.key.in_(list(claim.records)))


def _acknowledged(now: datetime) -> dict[str, Any]:
    done = sa.or_(_UNMOVED, IS_FILTERED)
    return {
        "acked_hash": record.c.inflight_hash,
        "acked_at": now,
        "payload": sa.case((done, None), else_=record.c.payload),
        "first_dirty_at": sa.case((done, None), else_=sa.literal(now, Utc)),
        "may_have_reached": sa.not_(_UNMOVED),
        "in_doubt_until": None,
        "attempts": 0,
        "disputes": 0,
        "lease_losses": 0,
        "next_attempt_at": now,
        **_NO_LEASE,
    }


def _refusal_stands(refusal: Refusal) -> sa.ColumnElement[bool]:
    """Whether a refused record must wait for a person: it is still what was sent, and a repeat cures nothing."""
    unmoved = sa.and_(_UNMOVED, sa.not_(IS_FILTERED))
    return sa.and_(unmoved, record.c.disputes + 1 >= DISPUTES) if treatment(refusal.code).repeats else unmoved


def _refused(now: datetime) -> dict[str, Any]:
    return {"disputes": record.c.disputes + 1, "in_doubt_until": None, "next_attempt_at": now, **_NO_LEASE}


def _quarantine(code: str, text: str, now: datetime) -> dict[str, Any]:
    return {
        "quarantine_code": code,
        "quarantine_text": text[:500],
        "quarantine_owner": str(treatment(code).owner),
        "quarantine_since": now,
    }


def _later_of(
    moment: sa.ColumnElement[datetime | None], other: sa.ColumnElement[datetime]
) -> sa.ColumnElement[datetime]:
    """The later of two moments, of which the first may be null."""
    return sa.case((moment > other, moment), else_=other)
