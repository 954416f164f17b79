"""Run the ledger's migrations in the transaction that the caller opened."""

from alembic import context

from resources.ledger.database import VERSION_TABLE
from resources.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
