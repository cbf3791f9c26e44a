"""Tests of the ledger, the delivery and their neighbours; each on SQLite and on PostgreSQL where it touches the store."""
