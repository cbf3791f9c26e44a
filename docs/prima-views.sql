-- Views by which a database speaks the contract. Generated from prima_emarsys/contract.py.
-- In each view put the site's own columns in the places of CAST(NULL AS ...), a FROM in the place of its
-- comment, and take out WHERE 1 = 0. As they stand the views can be created and are empty. For SQL Server
-- write DATETIME2 for TIMESTAMP; Oracle and OpenEdge need a FROM at once (dual, SYSPROGRESS.SYSCALCTABLE).
-- The reading role needs SELECT on these views and nothing else.

-- A company of the installation.
-- Key: company.
CREATE VIEW "company" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(255)) AS "name",
        -- text: Name.
    CAST(NULL AS VARCHAR(60)) AS "base_currency",
        -- code, required: Currency of the books, ISO 4217.
    CAST(NULL AS VARCHAR(60)) AS "country",
        -- code: ISO 3166 alpha-2.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A customer account. A person may have many: a web order without an account code makes a new one.
-- Key: company, customer_code.
CREATE VIEW "customer" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "customer_code",
        -- code, required: Account code; often ten digits with leading zeros.
    CAST(NULL AS VARCHAR(255)) AS "account_name",
        -- text, personal: Name of the account (a firm's name for trade).
    CAST(NULL AS VARCHAR(255)) AS "title",
        -- text, personal: Mr, Mrs …
    CAST(NULL AS VARCHAR(255)) AS "forename",
        -- text, personal: Given name.
    CAST(NULL AS VARCHAR(255)) AS "surname",
        -- text, personal: Family name.
    CAST(NULL AS VARCHAR(255)) AS "email",
        -- text, personal: E-mail as entered. Not unique.
    CAST(NULL AS VARCHAR(255)) AS "phone",
        -- text, personal: Telephone.
    CAST(NULL AS VARCHAR(255)) AS "mobile",
        -- text, personal: Mobile telephone.
    CAST(NULL AS DATE) AS "date_of_birth",
        -- date, personal: Date of birth.
    CAST(NULL AS VARCHAR(255)) AS "gender",
        -- text, personal: As entered: M, F, Male, Female …
    CAST(NULL AS VARCHAR(60)) AS "account_type",
        -- code: The site's own type of account (retail, trade, staff …).
    CAST(NULL AS VARCHAR(60)) AS "channel",
        -- code: Sales channel in which the account was opened.
    CAST(NULL AS VARCHAR(60)) AS "currency",
        -- code: Currency of the account, ISO 4217.
    CAST(NULL AS SMALLINT) AS "is_trade",
        -- flag: Business-to-business account.
    CAST(NULL AS TIMESTAMP) AS "opened_at",
        -- timestamp: When the account was opened.
    CAST(NULL AS TIMESTAMP) AS "erased_at",
        -- timestamp: When the person's erasure was carried out in Prima.
    CAST(NULL AS SMALLINT) AS "receive_email",
        -- flag: May be e-mailed. Yes, no, or never asked (unknown).
    CAST(NULL AS TIMESTAMP) AS "receive_email_at",
        -- timestamp: When that answer (email) was last given, if known.
    CAST(NULL AS SMALLINT) AS "receive_mail",
        -- flag: May be sent post. Yes, no, or never asked (unknown).
    CAST(NULL AS TIMESTAMP) AS "receive_mail_at",
        -- timestamp: When that answer (mail) was last given, if known.
    CAST(NULL AS SMALLINT) AS "receive_text",
        -- flag: May be sent text messages. Yes, no, or never asked (unknown).
    CAST(NULL AS TIMESTAMP) AS "receive_text_at",
        -- timestamp: When that answer (text) was last given, if known.
    CAST(NULL AS SMALLINT) AS "receive_phone",
        -- flag: May be telephoned. Yes, no, or never asked (unknown).
    CAST(NULL AS TIMESTAMP) AS "receive_phone_at",
        -- timestamp: When that answer (phone) was last given, if known.
    CAST(NULL AS SMALLINT) AS "receive_mobile",
        -- flag: May be called on the mobile. Yes, no, or never asked (unknown).
    CAST(NULL AS TIMESTAMP) AS "receive_mobile_at",
        -- timestamp: When that answer (mobile) was last given, if known.
    CAST(NULL AS SMALLINT) AS "rent_details",
        -- flag: Details may be passed on to others (list rental).
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A numbered address of an account; a trade account's offices are these.
-- Key: company, customer_code, address_number.
CREATE VIEW "customer_address" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "customer_code",
        -- code, required: Account.
    CAST(NULL AS VARCHAR(60)) AS "address_number",
        -- code, required: Number of the address within the account.
    CAST(NULL AS VARCHAR(60)) AS "address_type",
        -- word, required: What the address is for. One of: invoice, delivery.
    CAST(NULL AS VARCHAR(255)) AS "addressee",
        -- text, personal: For the attention of.
    CAST(NULL AS VARCHAR(255)) AS "line_1",
        -- text, personal: Address line 1.
    CAST(NULL AS VARCHAR(255)) AS "line_2",
        -- text, personal: Address line 2.
    CAST(NULL AS VARCHAR(255)) AS "line_3",
        -- text, personal: Address line 3.
    CAST(NULL AS VARCHAR(255)) AS "line_4",
        -- text, personal: Address line 4.
    CAST(NULL AS VARCHAR(255)) AS "line_5",
        -- text, personal: Address line 5.
    CAST(NULL AS VARCHAR(255)) AS "line_6",
        -- text, personal: Address line 6.
    CAST(NULL AS VARCHAR(255)) AS "city",
        -- text, personal: Town or city, if the site keeps it apart from the lines.
    CAST(NULL AS VARCHAR(60)) AS "postcode",
        -- code, personal: Postcode as entered.
    CAST(NULL AS VARCHAR(60)) AS "country",
        -- code: ISO 3166 alpha-2.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- An account was merged into another. Undone merges keep their row.
-- Key: company, customer_code, merged_at.
CREATE VIEW "customer_merge" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "customer_code",
        -- code, required: The account that gave way.
    CAST(NULL AS VARCHAR(60)) AS "merged_into_code",
        -- code, required: The account that survives.
    CAST(NULL AS TIMESTAMP) AS "merged_at",
        -- timestamp, required: When the accounts were merged.
    CAST(NULL AS TIMESTAMP) AS "unmerged_at",
        -- timestamp: When the merge was undone.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A sales order's header.
-- Key: company, order_number.
CREATE VIEW "sales_order" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code, required: Order number.
    CAST(NULL AS VARCHAR(60)) AS "customer_code",
        -- code, required: Account that ordered.
    CAST(NULL AS VARCHAR(60)) AS "status",
        -- word, required: Where the order stands, after the site's mapping. One of: held, confirmed, part despatched, despatched, invoiced, cancelled.
    CAST(NULL AS VARCHAR(60)) AS "order_type",
        -- code: The site's type of order (web, mail order, staff …).
    CAST(NULL AS VARCHAR(60)) AS "channel",
        -- code: Sales channel.
    CAST(NULL AS VARCHAR(60)) AS "source_media",
        -- code: What brought the order in (campaign code).
    CAST(NULL AS VARCHAR(60)) AS "currency",
        -- code, required: Order currency, ISO 4217.
    CAST(NULL AS DECIMAL(18,8)) AS "exchange_rate",
        -- rate: Base currency per unit of order currency on the order; 1 for the base currency.
    CAST(NULL AS SMALLINT) AS "prices_include_vat",
        -- flag: Whether the order was priced with VAT.
    CAST(NULL AS TIMESTAMP) AS "ordered_at",
        -- timestamp, required: When the order was placed.
    CAST(NULL AS TIMESTAMP) AS "cancelled_at",
        -- timestamp: When the whole order was cancelled.
    CAST(NULL AS VARCHAR(60)) AS "invoice_address_number",
        -- code: Invoice address of the account.
    CAST(NULL AS VARCHAR(60)) AS "delivery_address_number",
        -- code: Delivery address of the account.
    CAST(NULL AS VARCHAR(255)) AS "order_email",
        -- text, personal: E-mail given with the order.
    CAST(NULL AS VARCHAR(60)) AS "exchange_credit_number",
        -- code: Credit note used as payment (exchange). It is tender, not revenue.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- One line of an order.
-- Key: company, order_number, line_number.
CREATE VIEW "sales_order_line" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code, required: Order.
    CAST(NULL AS VARCHAR(60)) AS "line_number",
        -- code, required: Line within the order.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code, required: Style code.
    CAST(NULL AS VARCHAR(60)) AS "matrix_1",
        -- code: Matrix code, level 1 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_2",
        -- code: Matrix code, level 2 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_3",
        -- code: Matrix code, level 3 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_4",
        -- code: Matrix code, level 4 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "status",
        -- word, required: Where the line stands, after the site's mapping. One of: held, confirmed, part despatched, despatched, invoiced, cancelled.
    CAST(NULL AS INTEGER) AS "quantity",
        -- integer, required: Ordered.
    CAST(NULL AS INTEGER) AS "quantity_cancelled",
        -- integer, required: Cancelled out of the ordered quantity.
    CAST(NULL AS INTEGER) AS "quantity_despatched",
        -- integer, required: Despatched so far.
    CAST(NULL AS DECIMAL(18,4)) AS "value_incl_vat",
        -- money, required: Value of the whole ordered quantity with VAT, after discount.
    CAST(NULL AS DECIMAL(18,4)) AS "value_excl_vat",
        -- money, required: The same without VAT.
    CAST(NULL AS DECIMAL(18,4)) AS "discount_incl_vat",
        -- money: Discount already taken off.
    CAST(NULL AS VARCHAR(60)) AS "promotion",
        -- code: Promotion code.
    CAST(NULL AS VARCHAR(60)) AS "warehouse",
        -- code: Warehouse that serves the line.
    CAST(NULL AS DATE) AS "due_on",
        -- date: Promised day.
    CAST(NULL AS TIMESTAMP) AS "cancelled_at",
        -- timestamp: When quantity was last cancelled.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A charge on an order: carriage, gift wrap. A charge is not a line.
-- Key: company, order_number, charge_number.
CREATE VIEW "order_charge" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code, required: Order.
    CAST(NULL AS VARCHAR(60)) AS "charge_number",
        -- code, required: Number of the charge within the order.
    CAST(NULL AS VARCHAR(60)) AS "charge_code",
        -- code, required: The site's code of the charge.
    CAST(NULL AS DECIMAL(18,4)) AS "value_incl_vat",
        -- money, required: Value with VAT.
    CAST(NULL AS DECIMAL(18,4)) AS "value_excl_vat",
        -- money, required: Value without VAT.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- Goods of one order line left the warehouse.
-- Key: company, despatch_number, line_number.
CREATE VIEW "despatch" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "despatch_number",
        -- code, required: Despatch note.
    CAST(NULL AS VARCHAR(60)) AS "line_number",
        -- code, required: Line within the despatch note.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code, required: Order.
    CAST(NULL AS VARCHAR(60)) AS "order_line_number",
        -- code, required: Order line.
    CAST(NULL AS INTEGER) AS "quantity",
        -- integer, required: Despatched with this note.
    CAST(NULL AS TIMESTAMP) AS "despatched_at",
        -- timestamp, required: When the goods left.
    CAST(NULL AS VARCHAR(60)) AS "carrier",
        -- code: Carrier.
    CAST(NULL AS VARCHAR(60)) AS "tracking_reference",
        -- code, personal: Carrier's reference.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- Goods that came back and were receipted, before any credit. One row for each order line returned.
-- Key: company, return_number, line_number.
CREATE VIEW "customer_return" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "return_number",
        -- code, required: Return.
    CAST(NULL AS VARCHAR(60)) AS "line_number",
        -- code, required: Line within the return.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code, required: Order that the goods were bought with.
    CAST(NULL AS VARCHAR(60)) AS "order_line_number",
        -- code, required: Its line.
    CAST(NULL AS INTEGER) AS "quantity",
        -- integer, required: Came back.
    CAST(NULL AS TIMESTAMP) AS "receipted_at",
        -- timestamp, required: When the goods were physically receipted.
    CAST(NULL AS VARCHAR(60)) AS "reason",
        -- code: The site's reason code.
    CAST(NULL AS VARCHAR(60)) AS "warehouse",
        -- code: Where they were receipted.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A credit note's header.
-- Key: company, credit_number.
CREATE VIEW "credit_note" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "credit_number",
        -- code, required: Credit note.
    CAST(NULL AS VARCHAR(60)) AS "customer_code",
        -- code, required: Account credited.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code: Order it refers to, where known.
    CAST(NULL AS VARCHAR(60)) AS "credit_type",
        -- word, required: Money back, exchange or goodwill. One of: refund, exchange, goodwill.
    CAST(NULL AS VARCHAR(60)) AS "status",
        -- word, required: Only finalised credit notes count. One of: draft, finalised, cancelled.
    CAST(NULL AS VARCHAR(60)) AS "currency",
        -- code, required: Currency, ISO 4217.
    CAST(NULL AS DECIMAL(18,8)) AS "exchange_rate",
        -- rate: As on the order.
    CAST(NULL AS TIMESTAMP) AS "raised_at",
        -- timestamp: When it was raised.
    CAST(NULL AS TIMESTAMP) AS "finalised_at",
        -- timestamp: When it was finalised: the date finance counts it.
    CAST(NULL AS VARCHAR(60)) AS "reason",
        -- code: The site's reason code.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- One line of a credit note: goods, or a charge refunded, or goodwill.
-- Key: company, credit_number, line_number.
CREATE VIEW "credit_note_line" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "credit_number",
        -- code, required: Credit note.
    CAST(NULL AS VARCHAR(60)) AS "line_number",
        -- code, required: Line within it.
    CAST(NULL AS VARCHAR(60)) AS "order_number",
        -- code: Order, where known.
    CAST(NULL AS VARCHAR(60)) AS "order_line_number",
        -- code: Original order line, where known; empty for a charge or goodwill.
    CAST(NULL AS VARCHAR(60)) AS "return_number",
        -- code: Return that led to it, where known.
    CAST(NULL AS VARCHAR(60)) AS "charge_code",
        -- code: Charge refunded, if it is not goods.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code: Style credited, where it is goods.
    CAST(NULL AS VARCHAR(60)) AS "matrix_1",
        -- code: Matrix code, level 1 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_2",
        -- code: Matrix code, level 2 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_3",
        -- code: Matrix code, level 3 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_4",
        -- code: Matrix code, level 4 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS INTEGER) AS "quantity",
        -- integer, required: Credited; 0 for money only.
    CAST(NULL AS DECIMAL(18,4)) AS "value_incl_vat",
        -- money, required: Credited with VAT, as a positive amount.
    CAST(NULL AS DECIMAL(18,4)) AS "value_excl_vat",
        -- money, required: The same without VAT.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A style.
-- Key: company, product.
CREATE VIEW "product" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code, required: Style code.
    CAST(NULL AS VARCHAR(255)) AS "title",
        -- text: Name as a shopper reads it.
    CAST(NULL AS VARCHAR(255)) AS "description",
        -- text: Description.
    CAST(NULL AS VARCHAR(60)) AS "brand",
        -- code: Brand.
    CAST(NULL AS VARCHAR(255)) AS "category",
        -- text: Category path, levels separated by '>'.
    CAST(NULL AS VARCHAR(60)) AS "season",
        -- code: Season.
    CAST(NULL AS VARCHAR(255)) AS "link",
        -- text: Address of the product's page.
    CAST(NULL AS VARCHAR(255)) AS "image",
        -- text: Address of its picture.
    CAST(NULL AS SMALLINT) AS "is_merchandise",
        -- flag: False for carriage, vouchers, samples and other codes.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A style in one combination of its matrix: what is stocked and sold.
-- Key: company, product, matrix_1, matrix_2, matrix_3, matrix_4.
CREATE VIEW "sku" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code, required: Style code.
    CAST(NULL AS VARCHAR(60)) AS "matrix_1",
        -- code: Matrix code, level 1 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_2",
        -- code: Matrix code, level 2 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_3",
        -- code: Matrix code, level 3 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_4",
        -- code: Matrix code, level 4 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "barcode",
        -- code: EAN or UPC.
    CAST(NULL AS VARCHAR(255)) AS "colour",
        -- text: Colour in words.
    CAST(NULL AS VARCHAR(255)) AS "size",
        -- text: Size in words.
    CAST(NULL AS VARCHAR(255)) AS "width",
        -- text: Width fitting in words.
    CAST(NULL AS SMALLINT) AS "is_discontinued",
        -- flag: No longer sold.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A place that holds stock.
-- Key: company, warehouse.
CREATE VIEW "warehouse" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "warehouse",
        -- code, required: Warehouse code.
    CAST(NULL AS VARCHAR(255)) AS "name",
        -- text: Name.
    CAST(NULL AS SMALLINT) AS "is_sellable",
        -- flag: Its stock may be sold to shoppers.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- Stock of one SKU in one warehouse.
-- Key: company, warehouse, product, matrix_1, matrix_2, matrix_3, matrix_4.
CREATE VIEW "stock" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "warehouse",
        -- code, required: Warehouse.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code, required: Style code.
    CAST(NULL AS VARCHAR(60)) AS "matrix_1",
        -- code: Matrix code, level 1 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_2",
        -- code: Matrix code, level 2 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_3",
        -- code: Matrix code, level 3 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_4",
        -- code: Matrix code, level 4 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS INTEGER) AS "physical",
        -- integer, required: On the shelf.
    CAST(NULL AS INTEGER) AS "allocated",
        -- integer, required: Promised to orders.
    CAST(NULL AS INTEGER) AS "held",
        -- integer, required: Blocked (quality, reserve).
    CAST(NULL AS INTEGER) AS "buffer",
        -- integer: Kept back from sale in this warehouse, if the site does so.
    CAST(NULL AS DATE) AS "expected_on",
        -- date: Day on which more is expected; may lie in the past or be a placeholder.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A price of a style or SKU in a price list, from a day on.
-- Key: company, price_list, product, matrix_1, matrix_2, matrix_3, matrix_4, valid_from.
CREATE VIEW "price" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "price_list",
        -- code, required: Price list.
    CAST(NULL AS VARCHAR(60)) AS "product",
        -- code, required: Style code.
    CAST(NULL AS VARCHAR(60)) AS "matrix_1",
        -- code: Matrix code, level 1 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_2",
        -- code: Matrix code, level 2 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_3",
        -- code: Matrix code, level 3 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS VARCHAR(60)) AS "matrix_4",
        -- code: Matrix code, level 4 (width fitting, size, colour …: the site knows which).
    CAST(NULL AS DATE) AS "valid_from",
        -- date, required: First day.
    CAST(NULL AS VARCHAR(60)) AS "currency",
        -- code, required: ISO 4217.
    CAST(NULL AS DECIMAL(18,4)) AS "price_incl_vat",
        -- money, required: Selling price with VAT.
    CAST(NULL AS DECIMAL(18,4)) AS "full_price_incl_vat",
        -- money: Price before any reduction.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;

-- A period of the books.
-- Key: company, period.
CREATE VIEW "accounting_period" AS
SELECT
    CAST(NULL AS VARCHAR(60)) AS "company",
        -- code, required: Company of the installation; every record belongs to one.
    CAST(NULL AS VARCHAR(60)) AS "period",
        -- code, required: Period, such as 2026-10.
    CAST(NULL AS DATE) AS "starts_on",
        -- date, required: First day.
    CAST(NULL AS DATE) AS "ends_on",
        -- date, required: Last day.
    CAST(NULL AS VARCHAR(60)) AS "status",
        -- word, required: Closed periods no longer change. One of: open, closed.
    CAST(NULL AS TIMESTAMP) AS "closed_at",
        -- timestamp: When finance closed it.
    CAST(NULL AS TIMESTAMP) AS "changed_at"
        -- timestamp: When the row was last written, if the site keeps it; drives incremental reading.
-- FROM ...
WHERE 1 = 0;
