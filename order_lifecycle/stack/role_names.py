"""Name the roles and the database of the embedded PostgreSQL."""

from __future__ import annotations

# The file with the password of each role. Only `up` itself reads the superuser's.
PASSWORD_FILES = {
    "postgres": "password.superuser",
    "orders_owner": "password.owner",
    "orders": "password",
}
SUPERUSER, OWNER, APPLICATION = PASSWORD_FILES
DATABASE = "orders"
