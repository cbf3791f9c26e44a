"""Running the local Emarsys: in a thread for tests, as a process for the command line; on the loopback only.

Replies go out in one write each: uvloop joins the header and the body that uvicorn writes in one turn of its loop.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prima_emarsys.sandbox.emarsys import admin, loads
from prima_emarsys.sandbox.emarsys.account import Account
from prima_emarsys.sandbox.emarsys.app import create_app
from prima_emarsys.sandbox.emarsys.catalogue import BackInStock, CatalogueReport
from prima_emarsys.sandbox.emarsys.counters import Counters
from prima_emarsys.sandbox.emarsys.faults import Faults
from prima_emarsys.sandbox.emarsys.mailings import Mailing, mailings
from prima_emarsys.sandbox.emarsys.mischief import TRANSPORT
from prima_emarsys.sandbox.emarsys.sales import Buyer, LoadReport, Sale
from prima_emarsys.sandbox.emarsys.settings import Settings
from prima_emarsys.sandbox.emarsys.store import Store, Trigger
from prima_emarsys.sandbox.emarsys.values import ContactField, Stored, Type

PersonKey = Literal["indexed", "unindexed", "absent"]


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, which also lets a fault reach the transport."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[typeddict-item]  # an extension of ours


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on the loopback; `ValueError` for any other address. Port 0 takes a free one."""
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback:
        raise ValueError(f"the sandbox has open admin paths and binds to the loopback only, not to {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((str(address), port))
    return listening


def _server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=_Connection,
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def serve(
    folder: Path, port: int, settings: Settings | None = None, *, host: str = "127.0.0.1",
    person_key: PersonKey = "indexed",
) -> None:  # fmt: skip
    """Serve the account in `folder` until the process is told to end."""
    with closing(listen(host, port)) as listening, closing(Store(folder, person_key)) as store:
        _server(create_app(store, settings)).run(sockets=[listening])


class LocalEmarsys:
    """A local Emarsys in a thread, on a free port: `with LocalEmarsys(folder) as emarsys: emarsys.url`.

    State stays in `folder`; a second one on the same folder, after the first has ended, goes on where it stopped.
    """

    def __init__(
        self, folder: Path, settings: Settings | None = None, *, person_key: PersonKey = "indexed", port: int = 0
    ) -> None:
        """`person_key` decides for a fresh account whether `prima_person_key` exists and has an index."""
        self._folder = folder
        self._settings = settings or Settings()
        self._person_key: PersonKey = person_key
        self._port = port

    def __enter__(self) -> Self:
        self._bind()
        self._store = Store(self._folder, self._person_key)
        self._app = create_app(self._store, self._settings)
        self._account: Account = self._app.state.account
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._store.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens for a while: connections are refused, and those that stand are closed."""
        self._stop()
        self._bind()  # A bound socket that does not listen refuses, and keeps the port.
        try:
            yield
        finally:
            self._start()

    def _bind(self) -> None:
        self._listening = listen("127.0.0.1", self._port)
        self._port = self._listening.getsockname()[1]

    def _start(self) -> None:
        self._listening.listen(128)
        self._server = _server(self._app)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listening]}, name="local-emarsys", daemon=True
        )
        self._thread.start()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listening.close()

    @property
    def url(self) -> str:
        """Base address, in place of `https://api.emarsys.net`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def token_url(self) -> str:
        """Where bearer tokens come from, in place of `https://auth.emarsys.net/oauth2/token`."""
        return f"{self.url}/oauth2/token"

    @property
    def client_id(self) -> str:
        """The OAuth 2 client for `/api/v3`."""
        return self.settings.client_id

    @property
    def client_secret(self) -> str:
        """Its secret."""
        return self.settings.client_secret

    @property
    def wsse_user(self) -> str:
        """The WSSE user for `/api/v2`."""
        return self.settings.wsse_user

    @property
    def wsse_secret(self) -> str:
        """Its secret."""
        return self.settings.wsse_secret

    @property
    def sales_url(self) -> str:
        """Base address of `/hapi/merchant/{merchant_id}/…`, in place of `https://admin.scarabresearch.com`."""
        return self.url

    @property
    def merchant_id(self) -> str:
        """The account's name on the sales data and catalogue paths: 16 hex digits."""
        return self.settings.merchant_id

    @property
    def sales_token(self) -> str:
        """The bearer token of the sales data source."""
        return self.settings.sales_token

    @property
    def catalogue_token(self) -> str:
        """The bearer token for pushing the catalogue."""
        return self.settings.catalogue_token

    @property
    def settings(self) -> Settings:
        """The settings; assigning to one of them takes effect with the next call."""
        return self._account.settings

    @property
    def counters(self) -> Counters:
        """What has happened since the start."""
        return self._account.counters

    @property
    def faults(self) -> Faults:
        """The faults that are on; assign `Faults(…)`, `Faults.named("lost-replies")`, or `Faults()` for none."""
        return self._account.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._account.faults = faults

    def revoke_tokens(self) -> None:
        """End all bearer tokens given out so far."""
        self._account.gate.revoke_tokens()

    def contacts(self, by: str = "prima_person_key") -> dict[str, admin.Contact]:
        """What Emarsys holds, by the value of the field `by`; contacts without one are left out.

        Every field by `string_id`, `None` where unset. `ValueError` if several contacts share a value.
        """
        return admin.contacts_by(self._account, by)

    def all_contacts(self) -> list[admin.Contact]:
        """Every contact, in order of number."""
        return admin.all_contacts(self._account)

    def seed(self, contacts: Iterable[Mapping[str, Stored | None]]) -> list[int]:
        """Put contacts into the store by `string_id`, with no check; each is new, doubles included."""
        return admin.seed(self._account, contacts)

    def add_field(
        self, string_id: str, application_type: Type = "shorttext", *, name: str | None = None, indexed: bool = False,
        choices: Mapping[str, str] | None = None,
    ) -> ContactField:  # fmt: skip
        """Add a custom field of any type, as Emarsys support could."""
        return admin.add_field(self._account, string_id, application_type, name=name, indexed=indexed, choices=choices)

    def change_field(
        self, string_id: str, *, indexed: bool | None = None, choices: Mapping[str, str] | None = None
    ) -> ContactField:
        """Give a field an index or take it off, or replace its choices."""
        return admin.change_field(self._account, string_id, indexed=indexed, choices=choices)

    def field_id(self, string_id: str) -> int:
        """The number of a field."""
        return next(one.id for one in self._store.fields.values() if one.string_id == string_id)

    def triggers(self, event: int | None = None) -> list[Trigger]:
        """Who was triggered, oldest first; of one event or of all."""
        return self._store.triggers(event)

    def mailings(self, event: str | None = None) -> list[Mailing]:
        """Who was mailed what and when, oldest first; for one event (by name) or for all."""
        return mailings(self._account, event)

    def add_event(self, name: str, *, connected: bool = True) -> int:
        """Create an external event, as marketing would; its number. `ValueError` if the name is taken."""
        return admin.add_event(self._account, name, connected=connected).id

    def connect_event(self, event: int, connected: bool) -> None:
        """Say whether a program listens to an event; triggering one without is refused with 5005."""
        self._store.connect_event(event, connected)

    def load_sales(self) -> list[LoadReport]:
        """The load step: load every sales file that was accepted; what became of each, oldest first."""
        return loads.load(self._account)

    def load_batches(self, folder: Path) -> list[LoadReport]:
        """Read and load the complete batch files of a folder that are new; what became of each."""
        return loads.read_folder(self._account, folder)

    def load_reports(self) -> list[LoadReport]:
        """What became of every sales file, the waiting ones included, oldest first."""
        return self._account.sales.reports()

    def sales(self) -> list[Sale]:
        """Every loaded sales row, in the order of loading."""
        return self._account.sales.sales()

    def buyers(self) -> list[Buyer]:
        """Everybody with sales rows, contacts first, then those whom Emarsys had to invent."""
        return self._account.sales.buyers()

    def turnover(self) -> dict[str, Decimal]:
        """Turnover, net of refunds, by the identifier under which a buyer's rows came."""
        return {identifier: buyer.turnover for buyer in self.buyers() for identifier in buyer.identifiers}

    def pull_catalogue(self, place: str | Path) -> CatalogueReport:
        """Fetch a catalogue and take it in: of a local folder the newest complete file, or any address of `fsspec`."""
        return self._account.catalogue.pull(place, self.settings)

    def catalogue(self) -> dict[str, dict[str, str]]:
        """The catalogue by item: what was sent, empty values left out."""
        return self._account.catalogue.items()

    def catalogue_reports(self) -> list[CatalogueReport]:
        """What became of every catalogue file, pulled or pushed, oldest first."""
        return self._account.catalogue.reports()

    def wait_for(self, item: str, *external_ids: str) -> None:
        """Let contacts wait for an item: they are mailed once when it is back, if they have opt-in 1."""
        self._account.catalogue.wait_for(item, external_ids)

    def waiting(self) -> Mapping[str, list[str]]:
        """Who waits for what, by item."""
        return self._account.catalogue.waiting()

    def back_in_stock(self) -> list[BackInStock]:
        """Every item whose `available` turned from false to true, oldest first, and who was mailed."""
        return self._account.catalogue.back_in_stock()

    def forget_contacts(self) -> None:
        """Remove all contacts, the revenue of each, and the record of triggered events; fields and events stay."""
        self._store.forget_contacts()
