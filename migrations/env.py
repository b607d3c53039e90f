"""Alembic's entry: one connection, one transaction, one advisory lock around all revisions."""

from alembic import context
from sqlalchemy import create_engine, pool, text

import models
from core.database import sqlalchemy_url

# Any constant does; it must only be ours.
MIGRATION_LOCK = 7_300_001


def run() -> None:
    engine = create_engine(sqlalchemy_url(context.config.attributes["database_url"]), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        partitions = set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition")))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=models.Base.metadata,
            # Partitions come and go with the months; the models know their parents.
            include_name=lambda name, kind, _: kind != "table" or name not in partitions,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
