"""Who chose an exception's owner; the chain of the audit log.

Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns. Entries of before have no hash: the chain begins after them."""
    with op.batch_alter_table("exception") as exception:
        exception.add_column(sa.Column("assigned", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("audit") as audit:
        audit.add_column(sa.Column("previous", sa.Text(), nullable=False, server_default=""))
        audit.add_column(sa.Column("mac", sa.Text(), nullable=False, server_default=""))
