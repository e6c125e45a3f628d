"""A real order on a real Temporal server and a real PostgreSQL: see README.md and notebooks/."""
