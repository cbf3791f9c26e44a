"""Alembic steps from an older ledger to the shape in `schema`; one file a version, never edited once released."""
