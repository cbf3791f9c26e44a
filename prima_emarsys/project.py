"""The project put together: settings in, open parts out. The CLI, Dagster's assets and the relay all begin here.

Here belongs how parts are connected for a site; what they do stands in their rooms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import cast

import stamina.instrumentation

from prima_emarsys.contract import ENTITIES, Entity, entities_of
from prima_emarsys.emarsys.auth import OAuthClient, WsseUser
from prima_emarsys.emarsys.catalogue import SETTING, WHAT, CatalogueFolder, CataloguePush, CatalogueSink
from prima_emarsys.emarsys.contacts import Contacts
from prima_emarsys.emarsys.events import Events
from prima_emarsys.emarsys.fields import CreatableType, Fields, NewField
from prima_emarsys.emarsys.folder import Folder
from prima_emarsys.emarsys.sales_data import BatchFiles, HttpUpload
from prima_emarsys.emarsys.transport import Account, Transport
from prima_emarsys.finding import Finding
from prima_emarsys.prima.mirror import Landing, Mirror, Reader
from prima_emarsys.prima.sql import SqlReader
from prima_emarsys.prima.webservice import Access, ParkedFile, WebServiceReader
from prima_emarsys.proof.contacts import ContactsProof, prove_contacts
from prima_emarsys.proof.sales import SalesProof, prove_sales
from prima_emarsys.proof.sales_report import Told, write_report
from prima_emarsys.rules.contacts import Field, site_fields
from prima_emarsys.settings import Settings, SettingsError
from prima_emarsys.site import CatalogueData, EventKind, EventMap, SalesData
from prima_emarsys.steps.attributes import AttributeCounts, score_persons
from prima_emarsys.steps.availability import AvailabilityCounts, update_availability
from prima_emarsys.steps.buyers import Buyers, FirstContacts
from prima_emarsys.steps.catalogue import (
    CatalogueCounts,
    CatalogueSent,
    compose_catalogue,
    plan_catalogue,
    send_catalogue,
)
from prima_emarsys.steps.contacts import ContactCounts, compose_contacts
from prima_emarsys.steps.events import WATCHED, Collected, Collector
from prima_emarsys.steps.persons import PersonsCounts, resolve_persons
from prima_emarsys.steps.predictions import PredictionCounts, predict_value
from prima_emarsys.steps.sales import SalesCounts, book_sales, books_of
from prima_emarsys.steps.sales_data import (
    LinesCounts,
    SalesSent,
    account_currency,
    compose_sales,
    orders_behind,
    plan_sales,
    send_sales,
)
from prima_emarsys.steps.sending import ContactSender, Sent, send_contacts
from prima_emarsys.steps.stock import Sighting, StockCounts, ask_service, look_at_mirror, take_snapshot
from prima_emarsys.steps.triggering import ExternalEvents
from prima_emarsys.sync.audit import write_audit
from prima_emarsys.sync.deliver import Policy, deliver
from prima_emarsys.sync.drain import Drained, drain
from prima_emarsys.sync.exceptions import observe, open_exceptions
from prima_emarsys.sync.lanes import CONTACTS
from prima_emarsys.sync.ledger import Ledger
from prima_emarsys.sync.outbox import Outbox, lane_of
from prima_emarsys.sync.people import People
from prima_emarsys.sync.periods import Periods
from prima_emarsys.sync.plan import Route
from prima_emarsys.sync.sales_files import SalesFiles
from prima_emarsys.sync.sales_plan import Planned, mirror_sealed
from prima_emarsys.sync.upload import Sink
from prima_emarsys.warehouse import Warehouse, open_warehouse

_ABOUT_SALES = ("prima/orders", "prima/returns", "core/sales", "emarsys/sales_data", "sales/files", "proof/sales")
"""Scopes of the exceptions that the report on sales lists."""

# Retries are counted in the ledger; stamina's own line would print a call's arguments.
stamina.instrumentation.set_on_retry_hooks([])


_EVENT_GRACE_SECONDS = 2.0
"""Wait before an event is sent again whose reply was lost. A late write does no harm: its id is processed once."""
STOCK_TABLES = (ENTITIES["warehouse"], ENTITIES["stock"])
"""What SQL reads of stock."""
_AVAILABLE = ENTITIES["available_stock"]


class Project:
    """One site's connections, opened when first needed. Close it to give them back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.site = settings.site
        self._open_warehouse: Warehouse | None = None

    # -- parts -------------------------------------------------------------------------------------------------------

    @contextmanager
    def warehouse(self) -> Iterator[Warehouse]:
        """The warehouse, for as short a time as possible: the embedded engine is exclusive between processes.

        A block within a block has the same connection.
        """
        if self._open_warehouse is not None:
            yield self._open_warehouse
            return
        url = self.settings.warehouse_url.get_secret_value()
        with open_warehouse(url, memory=self.settings.warehouse_memory) as warehouse:
            self._open_warehouse = warehouse
            try:
                yield warehouse
            finally:
                self._open_warehouse = None

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, created if it is missing."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        return Ledger.open(
            self.settings.ledger_url.get_secret_value(),
            self.settings.hash_key,
            environment=self.site.site,
            owners=self.site.owners,
        )

    @cached_property
    def prima(self) -> SqlReader:
        """The reader of Prima; refuses a role that may write, unless the site file allows it."""
        reader = SqlReader(self.settings.secret(self.site.prima.url).get_secret_value(), self.site)
        reader.probe()
        return reader

    @cached_property
    def watched_prima(self) -> SqlReader:
        """A reader for the sensor, which only looks at change marks: without the probe."""
        return SqlReader(self.settings.secret(self.site.prima.url).get_secret_value(), self.site)

    @cached_property
    def webservice(self) -> WebServiceReader:
        """The reader of Prima's web service. Raises SettingsError if the site file has none."""
        service = self.site.prima.webservice
        if service is None:
            raise SettingsError("The site file has no prima.webservice; add it to read Prima's web service.")
        named = {
            name: self.settings.secret(reference).get_secret_value()
            for name in ("wsdl", "url", "user")
            if (reference := getattr(service, name))
        }
        access = Access(
            **named,
            password=self.settings.secret(service.password) if service.password else None,
            entry_point=service.entry_point,
            company_part=service.company_part,
            connect_seconds=service.connect_seconds,
            read_seconds=service.read_seconds,
            call_seconds=service.call_seconds,
        )
        return WebServiceReader(access, self.site, self.settings.home / "webservice", self.parked_requests)

    def reader_of(self, entity: Entity) -> Reader:
        """The web service for what it serves, SQL for everything else."""
        return self.webservice if self._is_asked_for(entity) else self.prima

    def _is_asked_for(self, entity: Entity) -> bool:
        return self.site.prima.webservice is not None and self.webservice.serves(entity)

    @cached_property
    def parked_requests(self) -> ParkedFile:
        """Requests that Prima's web service refused for good."""
        return ParkedFile(self.settings.home / "webservice" / "parked.json")

    @cached_property
    def emarsys(self) -> Transport:
        """The signed-in way to Emarsys, for work in bulk."""
        return self._transport(urgent=False)

    @cached_property
    def urgent_emarsys(self) -> Transport:
        """The same for what cannot wait: it may use the share of the rate that bulk work leaves."""
        return self._transport(urgent=True)

    def _transport(self, *, urgent: bool) -> Transport:
        site = self.site.emarsys
        client, secret = self.settings.secret(site.client).get_secret_value(), self.settings.secret(site.secret)
        if site.api == "v2":
            credentials: OAuthClient | WsseUser = WsseUser(username=client, secret=secret)
        else:
            token = {"token_url": self.settings.secret(site.token_url).get_secret_value()} if site.token_url else {}
            credentials = OAuthClient(client_id=client, client_secret=secret, **token)
        url = {"url": self.settings.secret(site.url).get_secret_value()} if site.url else {}
        account = Account(credentials=credentials, deadline=site.call_deadline_seconds, **url)
        return Transport(account, urgent=urgent)

    @cached_property
    def contact_fields(self) -> tuple[Field, ...]:
        """The attributes that this site sends. Raises SettingsError if the site file names one that does not exist."""
        try:
            return site_fields(self.site.emarsys.fields)
        except ValueError as error:
            raise SettingsError(str(error)) from None

    @cached_property
    def route(self) -> Route:
        """Attribute → field id in this Emarsys account; custom fields that are missing are created if allowed.

        Raises `FieldsUnusable`, which says for each field what is wrong and what to ask Emarsys for.
        """
        fields = Fields(self.emarsys)
        custom = {
            one.string_id: NewField(f"Prima {one.name.replace('_', ' ')}", cast(CreatableType, one.storage.value))
            for one in self.contact_fields
            if not one.system and self.site.emarsys.create_fields
        }
        key = self.site.emarsys.key_field
        found = fields.resolve([key, *(one.string_id for one in self.contact_fields)], custom)
        fields.require_index(found[key])
        return Route(found[key].id, {one.name: found[one.string_id].id for one in self.contact_fields})

    @cached_property
    def countries(self) -> dict[str, str]:
        """Country code → choice id in this Emarsys account."""
        return Fields(self.emarsys).country_ids()

    @cached_property
    def sales_sink(self) -> Sink | None:
        """The way by which sales data reach Emarsys; None if the site file switches it off."""
        site = self.site.emarsys.sales
        try:
            if site.sink == "http":
                url, token = self.settings.secret(site.url).get_secret_value(), self.settings.secret(site.token)
                return HttpUpload(url, token, deadline=site.call_deadline_seconds)
            if site.sink == "files":
                return BatchFiles(self._folder(site))
        except ValueError as error:
            raise SettingsError(f"emarsys.sales: {error}") from None
        return None

    @cached_property
    def catalogue_sink(self) -> CatalogueSink | None:
        """The way by which the catalogue reaches Emarsys; None if the site file switches it off."""
        site = self.site.emarsys.catalogue
        try:
            if site.sink == "http":
                url, token = self.settings.secret(site.url).get_secret_value(), self.settings.secret(site.token)
                deadline = site.call_deadline_seconds
                return CataloguePush(HttpUpload(url, token, deadline=deadline, what=WHAT, setting=SETTING))
            if site.sink == "files":
                return CatalogueFolder(self._folder(site), site.file)
        except ValueError as error:
            raise SettingsError(f"emarsys.catalogue: {error}") from None
        return None

    def _folder(self, site: SalesData | CatalogueData) -> Folder:
        secrets = {
            name: self.settings.secret(reference)
            for name, reference in (("password", site.password), ("private_key", site.private_key))
            if reference
        }
        return Folder(self.settings.secret(site.folder).get_secret_value(), **secrets, host_key=site.host_key)

    @cached_property
    def event_kinds(self) -> dict[EventKind, EventMap]:
        """The order events that this site has switched on."""
        return {kind: one for kind, one in self.site.emarsys.events.items() if one is not None}

    @cached_property
    def outbox(self) -> Outbox:
        """The events in the ledger."""
        return Outbox(self.ledger)

    @cached_property
    def collector(self) -> Collector:
        """What writes order events into the outbox."""
        buyers = Buyers(self.prima, People(self.ledger), self.site.identity)
        return Collector(self.prima, self.outbox, buyers, self.event_kinds, self.site.sales)

    @cached_property
    def external_events(self) -> ExternalEvents:
        """The site's external events in this Emarsys account."""
        contacts = Contacts(self.urgent_emarsys)
        return ExternalEvents(Events(self.urgent_emarsys), contacts, self.route.key_field, self.event_kinds)

    def close(self) -> None:
        """Give back what was opened."""
        for name in ("ledger", "prima", "watched_prima", "webservice"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def latest_marks(self, subject: str) -> dict[str, str]:
        """How far Prima itself has got, by table of the subject. The web service tells nothing of that."""
        tables = [entity for entity in entities_of(subject) if not self._is_asked_for(entity)]
        if subject == "stock":
            tables = [] if self._is_asked_for(_AVAILABLE) else list(STOCK_TABLES)
        return {entity.name: str(self.watched_prima.latest(entity) or "") for entity in tables}

    def release_request(self, key: str, by: str, note: str) -> bool:
        """Let a parked request of Prima's web service be sent again. Audited. False if none of that key is parked."""
        if self.parked_requests.find(key) is None:
            return False
        ledger = self.ledger
        ledger.write(lambda connection: write_audit(connection, ledger, by, "release-request", key, note))
        return self.parked_requests.release(key)

    # -- flows -------------------------------------------------------------------------------------------------------

    def read(self, subject: str, *, sweep: bool = False) -> list[Landing]:
        """Bring the mirror of one subject (`customers`, `orders`, `returns` …) up to date with Prima."""
        with self.warehouse() as warehouse:
            landings = self._land(warehouse, entities_of(subject), sweep=sweep)
        observe(self.ledger, f"prima/{subject}", [finding for landing in landings for finding in landing.findings])
        return landings

    def stock(self, *, sweep: bool = False) -> StockCounts:
        """Take a snapshot of what can be sold, by the web service or by SQL, and believe it or refuse it."""
        now = self.ledger.clock()
        asked = self._ask_for_stock(now) if self._is_asked_for(_AVAILABLE) else None
        with self.warehouse() as warehouse:
            sighting = asked or look_at_mirror(warehouse, self._land(warehouse, STOCK_TABLES, sweep=sweep), now)
            counts = take_snapshot(warehouse, self.ledger, sighting, self.site.stock, now)
        observe(self.ledger, "prima/stock", counts.findings)
        return counts

    def _ask_for_stock(self, now: datetime) -> Sighting:
        try:
            return ask_service(self.webservice, now)
        finally:
            observe(self.ledger, "prima/webservice", [parked.finding for parked in self.parked_requests.all()])

    def availability(self, *, whole: bool = False) -> AvailabilityCounts:
        """Bring `core/availability` up to date with the stock that is believed, for the site's day."""
        with self.warehouse() as warehouse:
            return update_availability(warehouse, self.site.stock, self.settings.today, whole=whole)

    def catalogue(self) -> CatalogueCounts:
        """Bring the desired items of the catalogue up to date, for the site's day."""
        with self.warehouse() as warehouse:
            counts = compose_catalogue(warehouse, self.site, self.settings.today)
        observe(self.ledger, "emarsys/catalogue", counts.findings)
        return counts

    def send_catalogue(self) -> CatalogueSent:
        """Send the catalogue if it differs from what was sent."""
        if self.catalogue_sink is None:
            with self.warehouse() as warehouse:
                return CatalogueSent(plan_catalogue(warehouse), "emarsys.catalogue.sink is `none` in the site file")
        return send_catalogue(self.warehouse, self.ledger, self.catalogue_sink, self.site.emarsys.catalogue)

    def persons(self, *, whole: bool = False) -> PersonsCounts:
        """Bring `core/persons` up to date."""
        with self.warehouse() as warehouse:
            counts = resolve_persons(warehouse, People(self.ledger), self.site.identity, whole=whole)
        observe(self.ledger, "core/persons", counts.findings)
        return counts

    def sales(self, *, whole: bool = False) -> SalesCounts:
        """Bring `core/sales` up to date."""
        with self.warehouse() as warehouse:
            counts = book_sales(warehouse, self.site.sales, whole=whole)
        observe(self.ledger, "core/sales", counts.findings)
        return counts

    def attributes(self, *, whole: bool = False) -> AttributeCounts:
        """Bring `emarsys/rfm_clv` up to date for the site's day."""
        with self.warehouse() as warehouse:
            return score_persons(warehouse, self.site.attributes, self.settings.today, whole=whole)

    def predict(self) -> PredictionCounts:
        """Bring `emarsys/predicted_value` up to date for the site's day."""
        with self.warehouse() as warehouse:
            return predict_value(warehouse, self.settings.today)

    def compose(self, *, whole: bool = False) -> ContactCounts:
        """Bring the desired contacts up to date."""
        with self.warehouse() as warehouse:
            counts = compose_contacts(warehouse, self.contact_fields, self.countries, self.settings.today, whole=whole)
        observe(self.ledger, "emarsys/contacts", counts.findings)
        return counts

    def send(self, *, settle_seconds: float = 0.0) -> Sent:
        """Send every contact that differs from what Emarsys acknowledged."""
        limits, sender = self.site.emarsys.volume, ContactSender(Contacts(self.emarsys), self.route)
        return send_contacts(
            self.warehouse, self.ledger, sender, self.route, limits, self._policy, settle_seconds=settle_seconds
        )

    @property
    def _policy(self) -> Policy:
        """How contacts are sent."""
        site = self.site.emarsys
        return Policy(
            batch=site.contacts_per_call,
            parallel=site.parallel,
            lease=2 * site.call_deadline_seconds,
            grace=site.in_doubt_seconds,
        )

    def retry_contact(self, key: str, by: str, note: str) -> None:
        """Send one refused contact again as it is, now. Audited."""
        self.ledger.release(CONTACTS, [key], by, note)
        self.ledger.hasten(CONTACTS, [key])
        sender = ContactSender(Contacts(self.emarsys), self.route)
        deliver(self.ledger, CONTACTS, sender, self._policy, stock=self.ledger.hastened())

    def sales_lines(self, *, whole: bool = False) -> LinesCounts:
        """Bring the desired lines of sales data up to date."""
        with self.warehouse() as warehouse:
            counts = compose_sales(warehouse, self.site.emarsys.sales, whole=whole)
        observe(self.ledger, "emarsys/sales_data", counts.findings)
        return counts

    def plan_sales(self) -> Planned:
        """What sales data would be sent now. Valid while the warehouse is open; sends nothing."""
        with self.warehouse() as warehouse:
            mirror_sealed(warehouse, SalesFiles(self.ledger))
            return plan_sales(warehouse, self.ledger, self.site.emarsys.sales, self.settings.today)

    def send_sales(self) -> SalesSent:
        """Put the lines that are not sealed yet into files, and send what is sealed."""
        if self.sales_sink is None:
            with self.warehouse():
                return SalesSent(self.plan_sales().plan, held="emarsys.sales.sink is `none` in the site file")
        return send_sales(self.warehouse, self.ledger, self.sales_sink, self.site.emarsys.sales, self.settings.today)

    def collect_events(self) -> Collected:
        """Write down what happened to orders in Prima since it was last looked at."""
        return sum(self.collector.collect(), Collected())

    def event_marks(self) -> dict[str, str]:
        """How far Prima itself has got, by entity whose rows show order events."""
        return {name: str(self.watched_prima.latest(ENTITIES[name]) or "") for name in WATCHED}

    def event_findings(self) -> list[Finding]:
        """What waits for a person before order events can go; of missing names, as far as they were looked up."""
        names = self.external_events.findings if "external_events" in self.__dict__ else []
        return [*names, *(finding for kind in EventKind for finding in self.outbox.findings(lane_of(kind)))]

    def drain_events(
        self, *, patient: bool = True, settle_seconds: float = 0.0, resting: Collection[str] = ()
    ) -> Drained:
        """Send the order events that may go, and before them the contacts that they need.

        `patient`: waits for a lane that another process works, and for a rate limit; else it leaves both to the next
        call. `settle_seconds` and `resting`: see `drain`.
        """
        site = self.site.emarsys
        policy = Policy(parallel=2, lease=2 * site.call_deadline_seconds, grace=_EVENT_GRACE_SECONDS)
        if not patient:
            policy = replace(policy, lane_wait=0.0, short_wait=0.0)
        fresh = self.external_events.look(again=bool(self.outbox.parked()))
        if fresh:
            observe(self.ledger, "events/names", self.external_events.findings)
        return drain(
            self.ledger,
            self.external_events.senders,
            ContactSender(Contacts(self.urgent_emarsys), self.route),
            self._first_contacts,
            {kind: one.oldest for kind, one in self.event_kinds.items()},
            policy,
            contact_policy=replace(policy, batch=site.contacts_per_call, grace=site.in_doubt_seconds),
            missing=self.external_events.missing,
            names_are_fresh=fresh,
            resting=resting,
            until_settled_for=settle_seconds,
        )

    def _first_contacts(self, keys: Sequence[str]) -> dict[str, str]:
        """Stage the contacts of buyers whom the ledger could not send; returns person → rule of those never sent."""
        first = FirstContacts(
            self.prima,
            self.ledger,
            self.route,
            self.contact_fields,
            self.countries,
            self.site.identity,
            self.settings.today,
        )
        return first.stage(keys)

    def prove(self) -> ContactsProof:
        """Read Emarsys back and compare it with the desired contacts."""
        contacts = Contacts(self.emarsys)
        held = contacts.query(self.route.key_field, list(self.route.fields.values()))
        personal = frozenset(field.name for field in self.contact_fields if field.personal)
        with self.warehouse() as warehouse:
            proof = prove_contacts(warehouse, self.ledger, held, self.route, personal)
        observe(self.ledger, "proof/contacts", proof.findings)
        return proof

    def prove_sales(self) -> SalesProof:
        """Compare Prima's books with what Emarsys accepted, and freeze the periods that Prima has closed."""
        settings = self.site.emarsys.sales
        with self.warehouse() as warehouse:
            proof = prove_sales(
                warehouse,
                self.ledger,
                books_of(Mirror(warehouse)),
                settings,
                account_currency(warehouse, settings),
                self.settings.today,
                behind=lambda: orders_behind(warehouse),
            )
        observe(self.ledger, "proof/sales", proof.findings)
        return proof

    def report_sales(self, folder: Path) -> tuple[SalesProof, list[Path]]:
        """Prove sales, and write what was found into the folder, for finance: a page, and CSV files."""
        with self.warehouse() as warehouse:
            proof = self.prove_sales()
            cases = [case for case in open_exceptions(self.ledger) if case.scope in _ABOUT_SALES]
            now, periods = datetime.now(self.site.zone), Periods(self.ledger).active()
            told = Told(self.site.site, now, self.site.emarsys.sales.vat, periods, cases)
            return proof, write_report(folder, warehouse, proof, told)

    def _land(self, warehouse: Warehouse, entities: Iterable[Entity], *, sweep: bool) -> list[Landing]:
        landings = []
        for entity in entities:
            reader = self.reader_of(entity)
            # The web service tells no changes: every read is a whole one, and only a sweep sees what is gone.
            whole = sweep or self._is_asked_for(entity)
            share = self.site.prima.short_read_share
            landings.append(Mirror(warehouse).land(reader, entity.name, sweep=whole, short_share=share))
        return landings
