"""A local Emarsys: the account's HTTP APIs on the loopback, for demonstrations, tests and measurements.

What belongs here: what a client of Emarsys can see on the wire (authentication, envelope, limits, fields, contacts,
external events, sales data and catalogue), and what Emarsys makes of these files, kept in one SQLite file. What does
not: any behaviour that a client cannot observe, and anything of the product itself. Some modules are wholly our own
invention and have no counterpart at Emarsys: `faults` and `mischief` (switches for everything that goes wrong between
two systems), `counters` and `admin` (`/sandbox/`). Where Emarsys's documents leave a question open, the answer is a
setting in `settings` or stands in the module's docstring, marked as our choice.

How it is used, in a test or a demonstration (`server.LocalEmarsys`; the same by HTTP in `admin`):

    with LocalEmarsys(folder) as emarsys:
        # Where clients go: the core API, its tokens; the sales data upload, with a token of its own.
        emarsys.url, emarsys.token_url, emarsys.client_id, emarsys.client_secret
        emarsys.sales_url, emarsys.merchant_id, emarsys.sales_token
        # POST {sales_url}/hapi/merchant/{merchant_id}/sales-data/api, `Authorization: bearer {sales_token}`

        # Accepted is not loaded: the load step judges row by row.
        emarsys.load_sales()  # [LoadReport]: status, rows, loaded, rejects (line, reason), sha256
        emarsys.load_batches(folder)  # the same for complete *.csv and *.csv.gz of a folder: orders replace
        emarsys.load_reports()  # of every file, the waiting ones ("In Progress") included
        emarsys.settings.sales_load_after = 0.5  # or loaded by itself, so long after acceptance
        emarsys.turnover()  # {identifier as sent: Decimal}, net of refunds
        emarsys.buyers()  # [Buyer]: contact (None: invented), identifiers, turnover, purchases
        emarsys.sales()  # [Sale]: every loaded row

        # Events: what marketing set up, and who was mailed what, when (to the microsecond).
        number = emarsys.add_event("order_confirmed")
        emarsys.connect_event(number, connected=False)  # no program listens: 5005
        emarsys.mailings("order_confirmed")  # [Mailing]: at, event, contact, external_id, trigger_id, data

        # The catalogue: pulled (or POST …/hapi/merchant/{merchant_id}/catalog/api with `catalogue_token`), as a whole.
        emarsys.wait_for("SKU-1", "P1", "P2")  # contacts by external id; a mail ends the wait and needs opt-in 1
        emarsys.pull_catalogue(place)  # a folder (its newest complete file), a file, or any address of fsspec
        emarsys.catalogue()  # {item: {column: text}}
        emarsys.back_in_stock()  # [BackInStock]: at, item, mailed
        emarsys.catalogue_reports()

        # What goes wrong, on which paths (`faults`); sales data is struck by patterns that begin with "hapi" only.
        emarsys.faults = Faults(Fault(kind="drop", applied=True, path="hapi/*/sales-data/api", calls=1))
        emarsys.faults = Faults(Fault(kind="reset", path="hapi/*/sales-data/api"))  # while the body is on its way
        emarsys.faults = Faults(Fault(kind="poison", keys=frozenset({"W123"}), path="hapi/*/sales-data/api"))  # 400
        with emarsys.down(): ...  # connections are refused
"""
