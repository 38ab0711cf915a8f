"""What Alembic runs for every upgrade, on the connection that `schema` hands over."""

from __future__ import annotations

from alembic import context

from onefold.ops.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
