"""Run the revisions on the connection the caller gave, inside his transaction."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # Not Alembic's own name for it: Airflow's database has that table too, and must never look like ours.
    version_table="schema_revision",
)
context.run_migrations()
