"""How Alembic reaches the database: the URL comes from `backend.db.migrate`, the schema from the tables."""

from __future__ import annotations

from typing import Literal

from alembic import context

from backend import tables
from backend.db import Base, Timestamp, connect

assert tables  # imported for what it registers


def _render(kind: str, item: object, _context: object) -> str | Literal[False]:
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Timestamp) else False


url = context.config.get_main_option("sqlalchemy.url")
assert url is not None
engine = connect(url)
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_render
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
