"""The steps by which a database becomes one of this version; Alembic runs them."""
