"""The catalogue of asset checks: what each promises, and whether a failure stops what follows.

Every check is evaluated in its asset's own step, where the table is open, so that it costs no step of its own. Blocking
ones stop the rest of their run, and keep `emarsys/contacts` from sending in any later run until they pass again.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from prima_emarsys.finding import Owner

_CATALOGUE: dict[str, list[tuple[str, bool, str]]] = {
    **{
        f"prima/{subject}": [
            ("contract", True, "Every stored row keeps the contract: the schemas of the door, asked of the mirror."),
            ("complete", True, "The last full read was not suspiciously short. A short one takes nothing out."),
            ("quarantine", False, "No row of Prima had to be set aside for breaking the contract."),
        ]
        for subject in ("customers", "orders", "returns", "products")
    },
    "prima/stock": [
        ("contract", True, "Every stored row keeps the contract: the schemas of the door, asked of the mirror."),
        (
            "snapshot",
            True,
            "The last snapshot was one to be believed: not far shorter than the last good one, of the "
            "same companies, and not older. One that was not changes nothing.",
        ),
        ("quarantine", False, "No row of Prima had to be set aside for breaking the contract."),
        ("quantities", False, "No quantity is below 0, promised more than once, or absurdly large."),
    ],
    "core/availability": [
        ("follows_stock", True, "Every SKU that is believed to be stocked is available or out, and no other is."),
    ],
    "core/persons": [
        ("no_internal_account", True, "No internal or erased account is part of a person."),
        ("every_account_placed", True, "Each account is one person's, or excluded by a named rule."),
        ("identity_exceptions", False, "No merge runs in a circle and no mailbox is shared by many names."),
    ],
    "core/sales": [
        ("ties_to_prima", True, "Sales, charges and credits in the signed ledger tie to Prima, to the fourth decimal."),
        ("sales_exceptions", False, "Every return and credit has its order, and no line is refunded above its sale."),
    ],
    "emarsys/rfm_clv": [
        ("ties_to_sales", True, "Net value over all persons ties to the signed ledger, to the penny."),
    ],
    # Not blocking: a model that is not to be believed is not used, and no contact should wait for a better one.
    "emarsys/predicted_value": [
        ("model_is_sound", False, "The week has a model, and its parameters are finite and plausible."),
        ("holdout_is_met", False, "A fit on the first part of the history foretells the rest, within a quarter."),
    ],
    "emarsys/contacts": [
        ("every_person_composed", False, "Each person is a desired contact, or excluded by a named rule."),
        ("every_contact_explained", False, "Each desired contact is acknowledged, or waits for a named reason."),
        ("nothing_held", False, "The volume guard holds no plan and the lane is not stopped."),
        ("contact_exceptions", False, "Every value could be sent, and no e-mail address is unusable."),
    ],
    "emarsys/sales_data": [
        ("order_ids_unique", True, "Every order of Prima has an order id of its own in Emarsys."),
        ("no_invented_buyers", False, "Every buyer that a file names is a contact that Emarsys acknowledged."),
        ("no_file_waits_long", False, "No file of unknown fate, or refused, has waited longer than the site allows."),
        ("nothing_held", False, "The volume guard holds no plan and the lane is not stopped."),
        ("sales_data_exceptions", False, "Every order id is one that an integer can hold."),
    ],
    "emarsys/catalogue": [
        ("items_unique", True, "Every item of the catalogue is one SKU of Prima."),
        ("prices", False, "Every SKU of the shop has a price above 0."),
        ("items_of_sales_known", False, "The catalogue has every item that sales data name."),
        (
            "nothing_held",
            False,
            "The volume guard holds no file, the lane is not stopped, and the last file was taken.",
        ),
        ("catalogue_exceptions", False, "Every item has a title, a link and a picture, and a code of its own."),
    ],
    "emarsys/events": [
        ("no_event_waits_long", False, "No event that could go has waited for more than two minutes."),
        ("told_in_time", False, "Of the last hour's events, 95 % were accepted ten seconds after Prima's commit."),
        ("nothing_held", False, "No lane of events is stopped, nor that of contacts."),
        ("event_exceptions", False, "Every external event exists, and no event waits for a person."),
    ],
    "proof/contacts": [
        ("emarsys_equals_desired", False, "Read back, Emarsys holds exactly the desired contacts."),
    ],
    "proof/sales": [
        ("causes_add_up", False, "Every penny by which a day differs has its cause, on both clocks."),
        ("little_waits_for_people", False, "What differs and waits for a person is within the site's tolerance."),
        ("closed_periods_stand", False, "Nothing was posted into a closed period, or changed in it, since it closed."),
    ],
    "proof/exceptions": [
        (owner.name.lower(), False, f"No error has waited for {owner.value} longer than the site allows.")
        for owner in Owner
    ],
}


def checks_of(asset: str) -> list[dg.AssetCheckSpec]:
    """The check specs of an asset such as `prima/customers`."""
    key = dg.AssetKey(asset.split("/"))
    return [
        dg.AssetCheckSpec(name, asset=key, description=promise, blocking=blocking)
        for name, blocking, promise in _CATALOGUE[asset]
    ]


def blocking_checks(assets: Iterable[str]) -> list[dg.AssetCheckKey]:
    """Keys of the blocking checks of these assets."""
    return [spec.key for asset in assets for spec in checks_of(asset) if spec.blocking]
