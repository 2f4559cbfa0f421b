"""The manager's state in SQL. Statements are SQLAlchemy Core without a dialect's own words: PostgreSQL can follow."""
