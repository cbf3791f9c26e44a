"""The paths under `/sandbox/`, and the same by function: looking at the local Emarsys and setting it up.

Wholly our invention: Emarsys has nothing of the kind. The paths need no credentials, which is why the server binds to
the loopback only.

| Path | Does |
|---|---|
| `GET/PUT/DELETE /sandbox/faults` | the faults that are on · switch on `{"named": ["row-errors"], "faults": [{…}], "seed": 0}` in place of those · all off |
| `GET/DELETE /sandbox/counters` | counts since the start · begin again at nought |
| `GET/PATCH /sandbox/settings` | settings without secrets · change some |
| `GET/POST/DELETE /sandbox/contacts` | contacts by `?by=string_id` · seed `[{string_id: value}]` without any check, doubles included · forget all |
| `POST /sandbox/fields`, `PATCH /sandbox/fields/{string_id}` | add a custom field with `indexed` and `choices` · change these |
| `GET /sandbox/triggers` | who was triggered (`?event=` one event only) |
| `GET /sandbox/mailings` | who was mailed what and when (`?event=` by name, one event only) |
| `GET/POST /sandbox/events` | external events · create one: `{"name": "…", "connected": true}` |
| `PATCH /sandbox/events/{id}` | `{"connected": false}`: nothing listens to the event any more |
| `GET/POST /sandbox/sales/loads` | what became of every sales file · load what was accepted |
| `POST /sandbox/sales/batches` | `{"folder": "…"}`: read and load the new batch files of a folder |
| `GET /sandbox/sales/buyers` | everybody with sales rows: turnover, purchases, `contact` (`null` if invented) |
| `GET /sandbox/sales/rows` | every loaded row |
| `GET /sandbox/catalogue` | the catalogue by item |
| `GET/POST /sandbox/catalogue/files` | what became of every file · `{"place": "…"}`: pull one from a folder or address |
| `GET /sandbox/catalogue/back-in-stock` | items that came back, and who was mailed |
| `GET/POST/DELETE /sandbox/catalogue/waiting` | who waits for what · let `{"item": "…", "external_ids": ["…"]}` wait · nobody |
| `DELETE /sandbox/tokens` | revoke all bearer tokens |
"""  # noqa: E501 (a table row cannot be broken)

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from prima_emarsys.sandbox.emarsys import loads
from prima_emarsys.sandbox.emarsys.account import Account
from prima_emarsys.sandbox.emarsys.counters import Counters
from prima_emarsys.sandbox.emarsys.faults import Fault, Faults
from prima_emarsys.sandbox.emarsys.mailings import mailings
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys.sandbox.emarsys.store import Event
from prima_emarsys.sandbox.emarsys.system_fields import REGISTRATION_DATE
from prima_emarsys.sandbox.emarsys.values import ContactField, Stored, Type

Contact = dict[str, Stored | None]
"""A contact as the sandbox shows it: every field of the account by `string_id`, `None` where unset; and its `id`."""


def all_contacts(account: Account) -> list[Contact]:
    """Every contact, in order of number."""
    names = [(str(one.id), one.string_id) for one in account.store.fields.values()]
    return [
        {"id": str(number)} | {string_id: values.get(name) for name, string_id in names}
        for number, values in account.store.all_contacts()
    ]


def contacts_by(account: Account, by: str) -> dict[str, Contact]:
    """The contacts that have a value in the field `by` (a `string_id`), by that value.

    Raises `ValueError` if several contacts share a value, since one of them would be lost.
    """
    keyed: dict[str, Contact] = {}
    for contact in all_contacts(account):
        value = contact[by]
        if value is None:
            continue
        if value in keyed:
            raise ValueError(f"several contacts have the {by} {value!r}; use all_contacts instead")
        keyed[str(value)] = contact
    return keyed


def seed(account: Account, contacts: Iterable[Mapping[str, Stored | None]]) -> list[int]:
    """Put contacts into the store as they are, by `string_id` and with no check; each is new, doubles included."""
    numbers_by_name = {one.string_id: one.id for one in account.store.fields.values()}
    today = time.strftime("%Y-%m-%d", time.gmtime())
    with account.store.transaction():
        added = []
        for contact in contacts:
            values = {str(numbers_by_name[name]): value for name, value in contact.items() if value}
            added.append((account.store.next_contact(), {str(REGISTRATION_DATE): today} | values))
        account.store.add(added)
        keys = [
            (key, values[name], number)
            for key, name in account.store.indexed_fields()
            for number, values in added
            if name in values
        ]
        account.store.rekey([], keys)
    return [number for number, _ in added]


def add_field(
    account: Account, string_id: str, application_type: Type = "shorttext", *, name: str | None = None,
    indexed: bool = False, choices: Mapping[str, str] | None = None,
) -> ContactField:  # fmt: skip
    """Add a custom field of any type, as Emarsys support could."""
    new = ContactField(0, name or string_id, string_id, application_type, indexed=indexed, choices=choices or {})
    return account.store.add_field(new)


def change_field(
    account: Account, string_id: str, *, indexed: bool | None = None, choices: Mapping[str, str] | None = None
) -> ContactField:
    """Give a field an index or take it off, or replace its choices. Raises `KeyError` for an unknown field."""
    found = next((one for one in account.store.fields.values() if one.string_id == string_id), None)
    if found is None:
        raise KeyError(string_id)
    changed = replace(
        found,
        indexed=found.indexed if indexed is None else indexed,
        choices=found.choices if choices is None else choices,
    )
    account.store.change_field(changed)
    return changed


def add_event(account: Account, name: str, *, connected: bool = True) -> Event:
    """Create an external event, as marketing would. Raises `ValueError` if the name is taken."""
    if (event := account.store.add_event(name, connected)) is None:
        raise ValueError(f"there is an external event {name!r}")
    return event


class _FaultsWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    named: list[str] = []
    faults: list[Fault] = []
    seed: int = 0


class _FieldWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    string_id: str
    name: str | None = None
    application_type: Type = "shorttext"
    indexed: bool = False
    choices: dict[str, str] = Field(default_factory=dict)


class _FieldChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    indexed: bool | None = None
    choices: dict[str, str] | None = None


class _EventWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    connected: bool = True


class _EventChange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    connected: bool


class _PullWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    place: str


class _WaitWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    item: str
    external_ids: list[str]


class _FolderWanted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    folder: Path


def routes(account: Account) -> list[BaseRoute]:
    """The routes below `/sandbox`."""

    def faults(request: Request, body: bytes) -> Any:
        if request.method == "PUT":
            wanted = _FaultsWanted.model_validate_json(body)
            named = Faults.named(*wanted.named)
            account.faults = Faults(*named.active, *wanted.faults, seed=wanted.seed)
        elif request.method == "DELETE":
            account.faults = Faults()
        return {"seed": account.faults.seed, "faults": [one.model_dump(mode="json") for one in account.faults.active]}

    def counters(request: Request, _: bytes) -> Any:
        if request.method == "DELETE":
            account.counters = Counters()
        return account.counters.as_dict()

    def settings(request: Request, body: bytes) -> Any:
        if request.method == "PATCH":
            wanted = Settings.model_validate(account.settings.model_dump() | orjson.loads(body))
            account.settings = wanted
        return account.settings.model_dump(
            mode="json", exclude={"client_secret", "wsse_secret", "sales_token", "catalogue_token"}
        )

    def contacts(request: Request, body: bytes) -> Any:
        if request.method == "POST":
            return {"ids": seed(account, orjson.loads(body))}
        if request.method == "DELETE":
            account.store.forget_contacts()
        by = request.query_params.get("by")
        return contacts_by(account, by) if by else all_contacts(account)

    def fields(_: Request, body: bytes) -> Any:
        wanted = _FieldWanted.model_validate_json(body)
        return asdict(add_field(account, **wanted.model_dump()))

    def one_field(request: Request, body: bytes) -> Any:
        change = _FieldChange.model_validate_json(body)
        return asdict(change_field(account, request.path_params["string_id"], **change.model_dump()))

    def triggers(request: Request, _: bytes) -> Any:
        event = request.query_params.get("event")
        return [asdict(one) for one in account.store.triggers(int(event) if event else None)]

    def mailed(request: Request, _: bytes) -> Any:
        return mailings(account, request.query_params.get("event"))

    def events(request: Request, body: bytes) -> Any:
        if request.method == "POST":
            wanted = _EventWanted.model_validate_json(body)
            return add_event(account, wanted.name, connected=wanted.connected)
        return account.store.events()

    def one_event(request: Request, body: bytes) -> Any:
        number = request.path_params["number"]
        account.store.connect_event(number, _EventChange.model_validate_json(body).connected)
        return asdict(event) if (event := account.store.event(number)) else None

    def sales_loads(request: Request, _: bytes) -> Any:
        return loads.load(account) if request.method == "POST" else account.sales.reports()

    def sales_batches(_: Request, body: bytes) -> Any:
        return loads.read_folder(account, _FolderWanted.model_validate_json(body).folder)

    def sales_buyers(_: Request, __: bytes) -> Any:
        return account.sales.buyers()

    def sales_rows(_: Request, __: bytes) -> Any:
        return account.sales.sales()

    def catalogue(_: Request, __: bytes) -> Any:
        return account.catalogue.items()

    def catalogue_files(request: Request, body: bytes) -> Any:
        if request.method == "POST":
            return account.catalogue.pull(_PullWanted.model_validate_json(body).place, account.settings)
        return account.catalogue.reports()

    def back_in_stock(_: Request, __: bytes) -> Any:
        return account.catalogue.back_in_stock()

    def waiting(request: Request, body: bytes) -> Any:
        if request.method == "POST":
            wanted = _WaitWanted.model_validate_json(body)
            account.catalogue.wait_for(wanted.item, wanted.external_ids)
        elif request.method == "DELETE":
            account.catalogue.forget_waiting()
        return account.catalogue.waiting()

    def tokens(_: Request, __: bytes) -> Any:
        account.gate.revoke_tokens()
        return {}

    return [
        _route("/faults", faults, "GET", "PUT", "DELETE"),
        _route("/counters", counters, "GET", "DELETE"),
        _route("/settings", settings, "GET", "PATCH"),
        _route("/contacts", contacts, "GET", "POST", "DELETE"),
        _route("/fields", fields, "POST"),
        _route("/fields/{string_id}", one_field, "PATCH"),
        _route("/triggers", triggers, "GET"),
        _route("/mailings", mailed, "GET"),
        _route("/events", events, "GET", "POST"),
        _route("/events/{number:int}", one_event, "PATCH"),
        _route("/sales/loads", sales_loads, "GET", "POST"),
        _route("/sales/batches", sales_batches, "POST"),
        _route("/sales/buyers", sales_buyers, "GET"),
        _route("/sales/rows", sales_rows, "GET"),
        _route("/catalogue", catalogue, "GET"),
        _route("/catalogue/files", catalogue_files, "GET", "POST"),
        _route("/catalogue/back-in-stock", back_in_stock, "GET"),
        _route("/catalogue/waiting", waiting, "GET", "POST", "DELETE"),
        _route("/tokens", tokens, "DELETE"),
    ]


def _route(path: str, handle: Callable[[Request, bytes], Any], *methods: str) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            content, status = handle(request, await request.body()), 200
        except (ValidationError, ValueError, KeyError, OSError) as error:
            content, status = {"error": f"{type(error).__name__}: {error}"}, 400
        return Response(orjson.dumps(content, default=_plain), status, media_type="application/json")

    return Route(path, endpoint, methods=list(methods))


def _plain(value: object) -> object:
    """JSON for what orjson does not know: amounts as text, so that they stay exact; counters as objects."""
    return str(value) if isinstance(value, Decimal) else dict(value)  # type: ignore[call-overload]
