"""Runs the steps on the connection, and in the transaction, of the ledger that is being opened."""

from alembic import context

from prima_emarsys.sync.schema import metadata

# SQLite's tables are as transactional as its rows, once the transaction is begun by us: a failed step leaves nothing.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
