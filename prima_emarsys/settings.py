"""One typed settings object: the environment and the site file, put together.

Secrets and addresses come from the environment (or from files that it names, `NAME_FILE`, as container platforms hand
secrets out); everything else from the site file. Nothing is opened here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import SecretStr

from prima_emarsys.site import Site, SiteError, load_site, reference_name

DEFAULT_SITE = Path(__file__).parent / "sandbox.yaml"
"""The default site file: the sandbox's."""


class SettingsError(Exception):
    """The environment lacks something, or holds something unusable. The message names the variable and the cure."""


@dataclass(frozen=True)
class Settings:
    """Everything that a process of this project needs to know. Addresses with credentials are secrets."""

    site: Site
    home: Path
    warehouse_url: SecretStr
    warehouse_memory: str
    ledger_url: SecretStr
    environment: Mapping[str, str] = field(repr=False)

    def secret(self, reference: str) -> SecretStr:
        """The value behind a reference such as `${PRIMA_URL}`. Raises SettingsError if it is not set."""
        return SecretStr(_value(self.environment, reference_name(reference)))

    @property
    def hash_key(self) -> bytes:
        """Key of the ledger's hashes. It belongs to the ledger for life."""
        return _value(self.environment, "PRIMA_EMARSYS_HASH_KEY").encode()

    @property
    def today(self) -> date:
        """The site's calendar day."""
        return datetime.now(UTC).astimezone(self.site.zone).date()


def _value(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    if path := environment.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE names {path}, which cannot be read ({error.strerror}).") from None
    raise SettingsError(f"{name} is not set. Set it, or {name}_FILE to the path of a file that holds it.")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment (default: this process's) and the site file that it names.

    PRIMA_EMARSYS_SITE: path of the site file (default: the sandbox's). PRIMA_EMARSYS_HOME: folder for the embedded
    stores (default `.local`). PRIMA_EMARSYS_WAREHOUSE, PRIMA_EMARSYS_LEDGER: URLs (default: files in that folder).
    PRIMA_EMARSYS_WAREHOUSE_MEMORY: bound for the embedded engine (default 384MB, which
    keeps the whole process below 700 MB). Raises SettingsError.
    """
    given = dict(os.environ if environment is None else environment)
    path = Path(given.get("PRIMA_EMARSYS_SITE") or DEFAULT_SITE)
    try:
        site = load_site(path)
    except SiteError as error:
        raise SettingsError(str(error)) from None
    home = Path(given.get("PRIMA_EMARSYS_HOME") or ".local").absolute()
    return Settings(
        site=site,
        home=home,
        warehouse_url=SecretStr(given.get("PRIMA_EMARSYS_WAREHOUSE") or f"duckdb:///{home / 'warehouse.duckdb'}"),
        warehouse_memory=given.get("PRIMA_EMARSYS_WAREHOUSE_MEMORY") or "384MB",
        ledger_url=SecretStr(given.get("PRIMA_EMARSYS_LEDGER") or f"sqlite:///{home / 'ledger.sqlite'}"),
        environment=given,
    )
