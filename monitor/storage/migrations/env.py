"""Alembic runs this: the connection is handed over by `Database.open`."""

from alembic import context

from monitor.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
