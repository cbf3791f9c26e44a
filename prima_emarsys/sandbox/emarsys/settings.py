"""What can be set on the local Emarsys: credentials, limits, and our answers to what the documents leave open.

No behaviour lives here. A setting whose comment says *our choice* stands for a question that no source settles;
check it on a real account before relying on it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prima_emarsys.sandbox.emarsys.store import PERSON_KEY


class Settings(BaseModel):
    """Settings of one local account. Times are in seconds, sizes in bytes. Secrets are public and fixed by default."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    client_id: str = "sandbox-client"
    client_secret: str = Field(default="sandbox-client-secret", repr=False)
    wsse_user: str = "sandbox001"
    wsse_secret: str = Field(default="sandbox-wsse-secret", repr=False)
    merchant_id: str = Field(default="1f3d5b79a8c6e402", pattern="[0-9a-f]{16}")
    """Names the account on the sales data and catalogue paths."""
    sales_token: str = Field(default="sandbox-sales-token", repr=False)
    catalogue_token: str = Field(default="sandbox-catalogue-token", repr=False)
    """That it differs from the sales data source's is our choice."""
    token_lifetime: int = 3600
    clock_tolerance: int = 300

    rate_limit: int = 1000
    """Calls of one API user in one window. The window opens with its first call."""
    rate_window: float = 60.0

    closed_endpoints: frozenset[str] = frozenset()
    """Names of endpoints (`contact.update`, `event.trigger`, …) that answer 403, as without permission."""
    merge_enabled: bool = False
    """`contact/merge` is in the vendor's older collection and gone from the current one."""

    # Bytes as powers of ten, the stricter reading of "8 MB": a client that passes here passes there. Our choice.
    create_bytes: int = 10_000_000
    update_bytes: int = 8_000_000
    trigger_bytes: int = 1_000_000
    other_bytes: int = 10_000_000

    interactions_bytes: int = 100_000
    """Of one contact's event data. Above it, data goes to automation and e-mail, and not to Interactions."""
    sales_bytes: int = 100_000_000
    """Of a sales file as it is sent; no limit is published. Our choice."""
    catalogue_bytes: int = 100_000_000
    """Of a catalogue file as it is pushed; the limit of a manual upload. Our choice."""

    too_large_status: int = 413
    """Status of a body above the size limit; the documents give the limit only. Our choice."""
    throttled_body: Literal["envelope", "text"] = "envelope"
    """Body of a 429: the envelope with code 7003, or the gateway's plain text. Our choice."""
    unknown_list_status: int = 400
    """Status of code 2020 (unknown `contact_list_id`). Our choice."""
    refuse_replayed_nonce: bool = False
    """Whether a WSSE nonce that was seen within the clock tolerance is refused. Our choice."""
    invalid_row: Literal["reject", "store-valid-fields"] = "reject"
    """What happens to the other fields of a row whose one value is refused with 2007. Our choice."""
    repeated_key: Literal["last-wins", "first-wins"] = "last-wins"
    """Two rows of one key in a batch: both are applied in order, or only the first is. Our choice."""
    over_long_text: Literal["refuse", "truncate"] = "refuse"
    """Text above the field's length (60 or 255 characters): 2007, or cut. Our choice."""
    large_event_data: Literal["mail-only", "refuse"] = "mail-only"
    """Whether event data that is too large for Interactions is accepted all the same, or refused with 5008."""
    getdata_without_fields: Literal["none", "all"] = "none"
    """Sources disagree on what `getdata` returns when no fields are named."""
    field_slots: int = 300
    """Number of custom fields an account can hold; no figure is published. Our choice."""

    customer_field: str = PERSON_KEY
    """The agreed external-id field by string id, which needs an index: what the sales file's `customer` holds, and by
    which those who wait for an item are named."""
    sales_load_after: float | None = None
    """When an uploaded file is loaded: this long after it was accepted, or only by command. Emarsys loads daily."""
