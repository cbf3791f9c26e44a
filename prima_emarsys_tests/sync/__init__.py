"""Tests of the ledger, the delivery and their neighbours, on SQLite and on PostgreSQL where they touch the store."""
