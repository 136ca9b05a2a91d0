"""PostgreSQL, the truth: the only SQL in the project."""
