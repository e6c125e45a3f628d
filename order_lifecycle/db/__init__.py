"""The database: its tables, the steps of an order in SQL, and the audit."""
