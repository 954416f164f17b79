"""Run the ledger's migrations on the engine that the caller opened."""

from alembic import context

from resources.ledger.tables import metadata

with context.config.attributes["engine"].begin() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
