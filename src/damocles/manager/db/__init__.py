"""The manager's state in SQL. Statements are SQLAlchemy Core without a dialect's own words, for SQLite and PostgreSQL."""
