"""The site file: how one real Prima and one real Emarsys account map onto the contract and the rules' settings.

Here belong the models of that YAML file and its loading with errors that a person can act on (file, line, key, what is
wrong, what is allowed). Secrets never stand in it: connections are references to the environment (`${NAME}`), which
`settings.py` resolves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prima_emarsys.contract import ENTITIES, Type
from prima_emarsys.finding import KINDS, Owner

_TRIED = re.compile(r"function-|tagged|(quintiles|thresholds)$")
_REFERENCE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


class SiteError(Exception):
    """The site file cannot be used. The message names file, line, key, what is wrong and what is allowed."""


def _check_reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError("must be a reference to the environment such as ${PRIMA_URL}; a secret never stands in a file")
    return value


def _check_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is no time zone; use a name such as Europe/London")
    return value


def _check_template(*names: str) -> AfterValidator:
    """The text may hold these names in braces, and must hold the last of them."""

    def check(value: str) -> str:
        try:
            found = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            raise ValueError(f"{value!r} is no template: {error}") from None
        if names[-1] not in found or not found <= set(names):
            allowed = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"{value!r} must hold {{{names[-1]}}}, and may hold {allowed} only")
        return value

    return AfterValidator(check)


EnvReference = Annotated[str, AfterValidator(_check_reference)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
OrderTemplate = Annotated[str, _check_template("company", "order_number")]
ItemTemplate = Annotated[str, _check_template("company", "sku")]
LinkTemplate = Annotated[str, _check_template("product")]
CreditTemplate = Annotated[str, _check_template("company", "credit_number")]
TimeZone = Annotated[str, AfterValidator(_check_zone)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DateAndSeconds(_Model):
    """A timestamp that Prima keeps as a date and seconds since midnight in two columns."""

    date: str
    seconds: str


class Element(_Model):
    """One element of an OpenEdge array (extent) column, which SQL reads as one string joined by `;`."""

    extent: str
    element: Annotated[int, Field(ge=1)]


class Constant(_Model):
    """A value that the site's tables do not hold because it is always the same."""

    constant: str


Source = str | DateAndSeconds | Element | Constant | None
"""Where a contract column comes from: a column's name, a pair, an element, a constant, or nowhere (null)."""


class Filter(_Model):
    """Keep only rows for which `column op value` holds. Values are bound, never written into SQL."""

    column: str
    op: Literal["=", "<>", "<", "<=", ">", ">=", "in", "not in"] = "="
    value: str | int | bool | list[str] | list[int]


class EntityMap(_Model):
    """Where one contract entity stands in the site's database. What is not named is as in the contract."""

    table: str | None = None
    db_schema: Annotated[str | None, Field(alias="schema")] = None
    columns: dict[str, Source] = {}
    filters: list[Filter] = []
    words: dict[str, dict[str, str]] = Field(default={}, description="column → site's word → contract's word")
    change: Literal["watermark", "full"] = Field(
        default="watermark",
        description="`watermark` reads rows whose change column moved; `full` reads all rows and compares",
    )
    logical_delete: Filter | None = Field(default=None, description="Rows for which this holds count as deleted")
    absent: bool = Field(default=False, description="The site has no such table; it is read as empty")


def _check_columns(where: str, entity: str, columns: Mapping[str, object]) -> None:
    """Whether an entity is the contract's, and the columns its own. Raises ValueError."""
    if entity not in ENTITIES:
        raise ValueError(f"{where}: no such entity; the contract has {', '.join(ENTITIES)}")
    for column in columns:
        if column not in ENTITIES[entity].column:
            known = ", ".join(ENTITIES[entity].column)
            raise ValueError(f"{where}.columns.{column}: no such column; it has {known}")


def _check_words(where: str, entity: str, words: Mapping[str, Mapping[str, str]]) -> None:
    """Whether words are mapped onto words of the contract. Raises ValueError."""
    contract = ENTITIES[entity].column
    for column, mapped in words.items():
        if column not in contract or not contract[column].words:
            raise ValueError(f"{where}.words.{column}: is no column with a list of words")
        for theirs, ours in mapped.items():
            if ours not in contract[column].words:
                allowed = ", ".join(contract[column].words)
                raise ValueError(f"{where}.words.{column}.{theirs}: {ours!r} is none of: {allowed}")


class WebRequest(_Model):
    """A read that this site's web service answers, whose rows are one entity of the contract."""

    type: Annotated[str, Field(min_length=1, description="RequestType")]
    rows: str = Field(description="Path of a row's element below the answer's root, such as `Data/Order`")
    data: dict[str, str] = Field(default={}, description="Attributes of the request's `Data` element")
    columns: dict[str, str] = Field(
        description="Column of the contract → attribute of the row's element. `company` is the answer's own"
    )
    words: dict[str, dict[str, str]] = Field(default={}, description="column → site's word → contract's word")


class WebService(_Model):
    """Prima's web service: one XML document in a SOAP string, asked of one or more companies."""

    wsdl: EnvReference = Field(
        default="${PRIMA_WSDL}", description="Address of the WSDL (https, or this machine), or path of a file"
    )
    url: EnvReference | None = Field(
        default=None, description="Address of the service; default is the one that the WSDL names"
    )
    entry_point: Literal["wsomhandler", "comwsomhandler"] = Field(
        default="wsomhandler", description="`wsomhandler` answers for one company; `comwsomhandler` is told which"
    )
    companies: Annotated[list[str], Field(min_length=1)] = Field(
        default=["1"], description="Companies to read; with `wsomhandler` the one that it answers for"
    )
    company_part: str | None = Field(
        default=None, description="Parameter of `comwsomhandler` that holds the company, if its name does not say so"
    )
    user: EnvReference | None = Field(default=None, description="User of a proxy that asks for one (basic)")
    password: EnvReference | None = Field(default=None, description="Its password")
    connect_seconds: Annotated[float, Field(gt=0)] = Field(default=10, description="Longest wait for a connection")
    read_seconds: Annotated[float, Field(gt=0)] = Field(
        default=600, description="Longest silence while an answer is awaited: a whole stock takes minutes"
    )
    call_seconds: Annotated[float, Field(gt=0)] = Field(default=1800, description="Longest that one call may take")
    ranges_from: list[str] = Field(
        default=[], description="Style codes, rising, at which the whole stock is cut into ranges asked for one by one"
    )
    requests: dict[str, WebRequest] = Field(
        default={}, description="Entity of the contract → how it is asked for. `available_stock` is known"
    )

    @model_validator(mode="after")
    def _fits(self) -> WebService:
        if self.entry_point == "wsomhandler" and len(self.companies) > 1:
            raise ValueError("companies: wsomhandler answers for one company; name one, or use comwsomhandler")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        for name, request in self.requests.items():
            where = f"requests.{name}"
            _check_columns(where, name, request.columns)
            missing = [c.name for c in ENTITIES[name].columns if c.required and c.name not in request.columns]
            if missing := [column for column in missing if column != "company"]:
                raise ValueError(f"{where}.columns: required columns come from nowhere: {', '.join(missing)}")
            _check_words(where, name, request.words)
        return self


class PrimaMap(_Model):
    """The Prima side of a site."""

    url: EnvReference = "${PRIMA_URL}"
    db_schema: Annotated[str | None, Field(alias="schema")] = None
    read_uncommitted: bool = Field(default=False, description="Read without row locks; headers and lines may disagree")
    allow_writable_role: bool = Field(default=False, description="Start although the role may write (sandbox only)")
    page_rows: Annotated[int, Field(ge=100, le=200_000)] = 50_000
    overlap: timedelta = Field(default=timedelta(minutes=15), description="Re-read before the high-water mark")
    short_read_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.02, description="A full read that would take out more than this share of a table is refused"
    )
    entities: dict[str, EntityMap] = {}

    webservice: WebService | None = Field(
        default=None,
        description="Prima's web service, if it is read: stock, and what the site declares. Leave out if not",
    )

    @model_validator(mode="after")
    def _names_exist(self) -> PrimaMap:
        for name, entity in self.entities.items():
            where = f"entities.{name}"
            _check_columns(where, name, entity.columns)
            for column, source in entity.columns.items():
                is_moment = ENTITIES[name].column[column].type is Type.TIMESTAMP
                if isinstance(source, DateAndSeconds) and not is_moment:
                    raise ValueError(f"{where}.columns.{column}: date + seconds fit only a timestamp column")
                if source is None and ENTITIES[name].column[column].required:
                    raise ValueError(f"{where}.columns.{column}: is required and must come from somewhere")
            _check_words(where, name, entity.words)
        return self

    def entity(self, name: str) -> EntityMap:
        """The site's map of one entity; names as in the contract where the file says nothing."""
        return self.entities.get(name) or EntityMap(absent=ENTITIES[name].derived)


class InternalRule(_Model):
    """Accounts that never reach Emarsys. All conditions that are given must hold; the name is shown in every count."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    account_types: list[str] = []
    channels: list[str] = []
    code_prefixes: list[str] = []
    codes: list[str] = []
    email_domains: list[str] = []

    @model_validator(mode="after")
    def _has_a_condition(self) -> InternalRule:
        if not (self.account_types or self.channels or self.code_prefixes or self.codes or self.email_domains):
            raise ValueError(f"rule {self.name!r} has no condition and would exclude everybody")
        return self


class IdentityRules(_Model):
    """How accounts become persons."""

    internal: list[InternalRule] = []
    placeholder_emails: list[str] = Field(
        default=["test@test.com", "noemail@noemail.com", "none@none.com", "na@na.com"],
        description="Addresses that stand for 'none given' and never join accounts",
    )
    shared_mailbox_names: Annotated[int, Field(ge=2)] = Field(
        default=4, description="An address used under at least this many surnames is reported as shared"
    )


class SalesRules(_Model):
    """What counts as a sale."""

    excluded_order_types: list[str] = Field(
        default=[], description="Orders of these types are no sales (staff issue …)"
    )
    excluded_products: list[str] = Field(default=[], description="Style codes that are no merchandise (vouchers …)")


class StockRules(_Model):
    """When a snapshot of stock is believed, and when a SKU counts as available."""

    missing_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.20, description="A snapshot that lacks more than this share of a company's SKUs is refused"
    )
    vanished_after: Annotated[int, Field(ge=1)] = Field(
        default=3, description="Good snapshots in a row that lack a SKU before it counts as out"
    )
    back_at: Annotated[int, Field(ge=1)] = Field(
        default=1, description="Units from which a SKU that was out is available again"
    )
    out_at: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Units at or below which a SKU is out; between this and `back_at` it stays what it was"
    )
    absurd: Annotated[int, Field(ge=1)] = Field(
        default=100_000, description="A quantity above this is reported: it is probably a mistake"
    )
    snapshots_kept: Annotated[int, Field(ge=2, le=10_000)] = Field(
        default=500, description="Snapshots whose counts and moves are kept"
    )
    reread_seconds: Annotated[int, Field(ge=10)] = Field(
        default=900, description="The stock sensor reads stock again after this, also where Prima tells no change"
    )

    @model_validator(mode="after")
    def _limits_follow(self) -> StockRules:
        if self.out_at >= self.back_at:
            raise ValueError("back_at must be above out_at")
        return self


class FixedThresholds(_Model):
    """RFM by fixed limits, as Emarsys's own scores are. Four rising limits make five scores."""

    method: Literal["thresholds"]
    recency_days: tuple[int, int, int, int]
    frequency_orders: tuple[int, int, int, int]
    monetary_net: tuple[Decimal, Decimal, Decimal, Decimal]

    @model_validator(mode="after")
    def _rise(self) -> FixedThresholds:
        for name in ("recency_days", "frequency_orders", "monetary_net"):
            limits = getattr(self, name)
            if list(limits) != sorted(set(limits)):
                raise ValueError(f"{name}: the four limits must rise, got {list(limits)}")
        return self


class Quintiles(_Model):
    """RFM by five groups of equal size, each measure on its own; 5 is best; ties are broken by person key."""

    method: Literal["quintiles"] = "quintiles"


class AttributeRules(_Model):
    """RFM, lifetime value and lifecycle settings."""

    rfm: Annotated[Quintiles | FixedThresholds, Field(discriminator="method")] = Quintiles()
    active_days: Annotated[int, Field(ge=1)] = 90
    inactive_days: Annotated[int, Field(ge=2)] = 365
    refunded_orders_count: bool = Field(
        default=False, description="Whether an order that was wholly returned still counts in frequency"
    )

    @model_validator(mode="after")
    def _stages_follow(self) -> AttributeRules:
        if self.inactive_days <= self.active_days:
            raise ValueError("inactive_days must be above active_days")
        return self


class VolumeLimits(_Model):
    """A plan above these shares is held until a person releases it."""

    updates_share: Annotated[float, Field(gt=0, le=1)] = 0.20
    creates_share: Annotated[float, Field(gt=0)] = 0.50
    removals_share: Annotated[float, Field(gt=0, le=1)] = 0.02
    ignore_below: Annotated[int, Field(ge=0)] = 1_000


class SalesData(_Model):
    """Sales data for Emarsys: the way there, and what its rows say.

    What a row says (`vat`, `currency`, `rates`, order ids, items) is settled before the first load. Changing it later
    sends an adjustment of every line that it concerns, which the volume guard holds until a person releases it.
    """

    sink: Literal["none", "http", "files"] = Field(
        default="none",
        description="`http` uploads files (additive: nothing may be sent twice); `files` writes whole orders for batch "
        "loads (each replaces the order's last image); `none` computes what would be sent",
    )
    url: EnvReference = Field(
        default="${EMARSYS_SALES_URL}", description="With `http`: the sales data source's address"
    )
    token: EnvReference = Field(default="${EMARSYS_SALES_TOKEN}", description="With `http`: its bearer token")
    folder: EnvReference = Field(
        default="${EMARSYS_SALES_FOLDER}", description="With `files`: a folder, or `sftp://user@host/folder`"
    )
    password: EnvReference | None = Field(default=None, description="With `files` by SFTP: the password")
    private_key: EnvReference | None = Field(default=None, description="With `files` by SFTP: the private key (PEM)")
    host_key: str | None = Field(
        default=None, description="With `files` by SFTP: the server's public key, such as `ssh-ed25519 AAAA…`; required"
    )
    vat: Literal["incl", "excl"] = Field(default="incl", description="Whether a row's price is with VAT or without")
    currency: Currency | None = Field(
        default=None, description="The Emarsys account's currency. Required where companies keep books in several"
    )
    rates: dict[Currency, Annotated[Decimal, Field(gt=0)]] = Field(
        default={}, description="Base currency of a company → the account's currency for one unit of it"
    )
    order_id: OrderTemplate = Field(default="{order_number}", description="Order id; may also hold `{company}`")
    credit_id: CreditTemplate = Field(
        default="credit-{credit_number}", description="Order id of a credit note without an order"
    )
    item: ItemTemplate = Field(
        default="{sku}",
        description="Item of a SKU (style, all matrix levels) in sales data and catalogue; may also hold `{company}`",
    )
    charge_items: dict[str, str | None] = Field(
        default={}, description="Charge code → item; null keeps the charge out. Default: `charge-CODE`"
    )
    goodwill_item: str | None = Field(default="goodwill", description="Item of money given back for no goods")
    rows_per_file: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Orders are kept together, so that a file may be longer by an order"
    )
    rows_per_run: Annotated[int, Field(ge=1)] = Field(
        default=250_000, description="Rows that one run puts into files at most; the next goes on. Tames a first load"
    )
    files_per_minute: Annotated[int, Field(ge=1, le=600, description="Files that leave in a minute at most.")] = 60
    call_deadline_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=120, description="Longest that one upload may take"
    )
    adjusted_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.02, description="A plan that would adjust more than this share of the lines sent waits for a person"
    )
    ignore_below: Annotated[int, Field(ge=0)] = Field(
        default=1_000, description="With fewer lines sent than this no plan is held"
    )
    unknown_hours: Annotated[float, Field(gt=0)] = Field(
        default=24, description="A file of unknown fate that is older than this turns a check red"
    )
    waiting_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.005, description="More than this share of net sales waiting for a person turns `proof/sales` red"
    )


class CatalogueData(_Model):
    """The product catalogue for Emarsys, one item a SKU: always the whole of it, in one file."""

    sink: Literal["none", "files", "http"] = Field(
        default="none",
        description="`files` puts it where Emarsys pulls it from; `http` pushes it; `none` computes what would go",
    )
    folder: EnvReference = Field(
        default="${EMARSYS_CATALOGUE_FOLDER}", description="With `files`: a folder, or `sftp://user@host/folder`"
    )
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+\.csv(\.gz)?$")] = Field(
        default="catalogue.csv", description="With `files`: its name; `.gz` at the end packs it"
    )
    password: EnvReference | None = Field(default=None, description="With `files` by SFTP: the password")
    private_key: EnvReference | None = Field(default=None, description="With `files` by SFTP: the private key (PEM)")
    host_key: str | None = Field(
        default=None, description="With `files` by SFTP: the server's public key, such as `ssh-ed25519 AAAA…`; required"
    )
    url: EnvReference = Field(default="${EMARSYS_CATALOGUE_URL}", description="With `http`: the catalogue's address")
    token: EnvReference = Field(default="${EMARSYS_CATALOGUE_TOKEN}", description="With `http`: its bearer token")
    call_deadline_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=120, description="Longest that one push may take"
    )
    companies: list[str] = Field(
        default=[], description="Companies whose goods the shop shows. Default: all, which must not share an item"
    )
    price_list: str | None = Field(
        default=None, description="The price list that shoppers pay by. Required where there are several"
    )
    link: LinkTemplate | None = Field(
        default=None, description="Address of a style that Prima has none of, with `{product}`; without, it is kept out"
    )
    without_image: Literal["send", "exclude"] = Field(
        default="send", description="What becomes of an item without a picture; either way marketing is told"
    )
    removals_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.05, description="A file that would take more than this share of the items out waits for a person"
    )
    flips_share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.30, description="So does one that would turn `available` of more than this share of the items"
    )
    ignore_below: Annotated[int, Field(ge=0)] = Field(
        default=1_000, description="With fewer items than this in Emarsys no file is held"
    )


class EventKind(StrEnum):
    """A fact about an order that Emarsys hears of at once."""

    ORDER_CONFIRMED = "order-confirmed"
    ORDER_PART_DESPATCHED = "order-part-despatched"
    ORDER_DESPATCHED = "order-despatched"
    ORDER_PART_CANCELLED = "order-part-cancelled"
    ORDER_CANCELLED = "order-cancelled"
    RETURN_RECEIPTED = "return-receipted"
    CREDIT_FINALISED = "credit-note-finalised"


class EventMap(_Model):
    """How facts of one kind reach Emarsys."""

    name: Annotated[str, Field(min_length=1, description="Name of the external event in Emarsys")]
    purpose: Literal["transactional", "marketing"] = Field(
        default="transactional", description="`marketing` goes only to contacts whose opt-in in Emarsys is yes"
    )
    oldest: Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=14))] = Field(
        default=timedelta(days=2), description="An older fact is withheld and never sent late; at most 14 days"
    )


class EmarsysMap(_Model):
    """The Emarsys side of a site."""

    api: Literal["v3", "v2"] = Field(default="v3", description="v3 signs in by OAuth2, v2 by WSSE (ends with 2026)")
    url: EnvReference | None = Field(default=None, description="Base address; default is the vendor's")
    token_url: EnvReference | None = None
    client: EnvReference = Field(default="${EMARSYS_CLIENT_ID}", description="OAuth client id, or WSSE user name")
    secret: EnvReference = "${EMARSYS_CLIENT_SECRET}"  # noqa: S105 (a reference, not a secret)
    key_field: str = Field(default="prima_person_key", description="string id of the indexed key field")
    create_fields: bool = Field(default=True, description="Create custom fields that are missing")
    fields: dict[str, str | None] = Field(
        default={},
        description="attribute → string id in Emarsys; null keeps it out. Default: Emarsys's own, else prima_NAME",
    )
    contacts_per_call: Annotated[int, Field(ge=1, le=1_000, description="Contacts in one call.")] = 1_000
    parallel: Annotated[int, Field(ge=1, le=8)] = 3
    call_deadline_seconds: Annotated[float, Field(gt=0, le=300)] = 60
    in_doubt_seconds: Annotated[float, Field(ge=0)] = 120
    volume: VolumeLimits = VolumeLimits()
    sales: SalesData = SalesData()
    catalogue: CatalogueData = CatalogueData()
    events: dict[EventKind, EventMap | None] = Field(
        default={}, description="kind of fact → external event; null, or not named: this kind is off"
    )


_OVERDUE_HOURS = {Owner.FINANCE: 48, Owner.MARKETING: 24, Owner.CUSTOMER_SERVICE: 72, Owner.DATA: 24}


class Site(_Model):
    """One site file, whole."""

    site: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", description="Name of the site and environment")]
    time_zone: TimeZone = "Europe/London"
    prima: PrimaMap = PrimaMap()
    identity: IdentityRules = IdentityRules()
    sales: SalesRules = SalesRules()
    attributes: AttributeRules = AttributeRules()
    stock: StockRules = StockRules()
    emarsys: EmarsysMap = EmarsysMap()
    owners: dict[str, Owner] = Field(default={}, description="kind of exception → owner, where it differs")

    overdue_hours: dict[Owner, Annotated[int, Field(ge=1)]] = Field(
        default=_OVERDUE_HOURS, description="owner → hours after which an error that waits turns the owner's check red"
    )

    @model_validator(mode="after")
    def _kinds_exist(self) -> Site:
        for kind in self.owners:
            if kind not in KINDS:
                raise ValueError(f"owners.{kind}: no such kind of exception; there are {', '.join(KINDS)}")
        return self

    @field_validator("overdue_hours")
    @classmethod
    def _every_owner_has_hours(cls, given: dict[Owner, int]) -> dict[Owner, int]:
        return _OVERDUE_HOURS | given

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)


def load_site(path: Path) -> Site:
    """Read and check a site file. Raises `SiteError` that lists every fault with its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SiteError(f"{path}: cannot be read ({error.strerror}). Name another with PRIMA_EMARSYS_SITE.") from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SiteError(f"{where}: is no valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(data, dict):
        raise SiteError(f"{path}: must be a mapping that begins with `site: name`")
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        faults = [_say(path, tree, fault) for fault in error.errors(include_url=False, include_input=False)]
        raise SiteError("\n".join(dict.fromkeys(faults))) from None


def _say(path: Path, tree: yaml.Node | None, fault: Any) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    # Which of several models was tried stands in the location, too; the file does not have it.
    location = [part for part in fault["loc"] if not (isinstance(part, str) and _TRIED.match(part))]
    # A check over a whole section says itself where it looked (`entities.customer.columns.x: …`).
    if match := re.match(r"((?:\w[\w-]*\.)+[\w-]+): ", message):
        location += match[1].split(".")
        message = message[match.end() :]
    if fault["type"] == "extra_forbidden":
        message = "is no known setting here; see docs/site-file.md"
    line = _line_of(tree, location)
    return f"{path}:{line}: {'.'.join(map(str, location)) or 'site file'}: {message}"


def _line_of(node: yaml.Node | None, location: list[Any]) -> int:
    line = 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if str(key.value) == str(part)]
            if not found:
                break
            line, node = _line(found[0][0], line), found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            line, node = _line(node.value[part], line), node.value[part]
        else:
            break
    return line


def _line(node: yaml.Node, otherwise: int) -> int:
    return node.start_mark.line + 1 if node.start_mark else otherwise


def reference_name(reference: str) -> str:
    """`${PRIMA_URL}` → `PRIMA_URL`."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ValueError(f"{reference!r} is no reference to the environment")
    return match[1]
