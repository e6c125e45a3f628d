"""The roles of the embedded PostgreSQL: what each may do, and how a home of an older version gets them.

tests/db/test_schema.py shows what the database refuses to all roles, also to the owner of the tables.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from order_lifecycle.db.audit import audit
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import EventType, OrderState, parse_order
from order_lifecycle.settings import Addresses

TOP = Path(__file__).parents[2]
ITEMS = '[{"name": "apple", "qty": 1, "price": 5}]'
ADDRESS = '{"address": "575 Lake Dr.", "city": "Columbus", "state": "OH", "zipcode": "43210"}'
ORDER = parse_order("abc-001", "pay-001", ITEMS, ADDRESS)

# What the application's role may not do, and what PostgreSQL says to it.
REFUSED = {
    # It deletes nothing, and an event that is written stays.
    "DELETE FROM orders": "permission denied for table orders",
    "DELETE FROM payments": "permission denied for table payments",
    "DELETE FROM events": "permission denied for table events",
    "TRUNCATE orders, payments, events": "permission denied for table orders",
    "UPDATE events SET payload_json = '{}'": "permission denied for table events",
    "UPDATE events SET ts = now()": "permission denied for table events",
    # It changes few columns.
    "UPDATE orders SET items = '[]'": "permission denied for table orders",
    "UPDATE orders SET id = 'another'": "permission denied for table orders",
    "UPDATE orders SET created_at = now()": "permission denied for table orders",
    "UPDATE payments SET amount = 1": "permission denied for table payments",
    "UPDATE payments SET order_id = 'another'": "permission denied for table payments",
    "UPDATE alembic_version SET version_num = '0000'": "permission denied for table alembic_version",
    # What the database fills in is not for it to choose: an event's number, and when something happened.
    "INSERT INTO events (id, order_id, type, step, payload_json) OVERRIDING SYSTEM VALUE "
    "VALUES (-1, 'abc-001', 'late_signal', 'late_signal#1', '{}')": "permission denied for table events",
    "INSERT INTO events (order_id, type, step, payload_json, ts) "
    "VALUES ('abc-001', 'late_signal', 'late_signal#1', '{}', now())": "permission denied for table events",
    "INSERT INTO orders (id, state, items, address_json, created_at) VALUES ('x', 'received', '[1]', '{}', now())": (
        "permission denied for table orders"
    ),
    "SELECT setval('events_id_seq', 1)": "permission denied for sequence events_id_seq",
    "SELECT nextval('events_id_seq')": "permission denied for sequence events_id_seq",
    "COPY events (id) FROM STDIN": "permission denied for table events",
    "MERGE INTO events USING (SELECT 1) one ON true WHEN MATCHED THEN DELETE": "permission denied for table events",
    # It cannot stop others.
    "DO $$ BEGIN LOCK TABLE orders; END $$": "permission denied for table orders",
    "DO $$ BEGIN LOCK TABLE events IN ROW EXCLUSIVE MODE; END $$": "permission denied for table events",
    # It makes nothing, and changes nothing that was made.
    "CREATE TABLE mine (id int)": "permission denied for schema public",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": "permission denied for schema public",
    "CREATE TEMPORARY TABLE orders (id text, state text, items jsonb)": "permission denied to create temporary tables",
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": "permission denied to create temporary",
    "CREATE SCHEMA mine": "permission denied for database",
    "CREATE EXTENSION file_fdw": "permission denied to create extension",
    "CREATE TRIGGER mine AFTER INSERT ON events EXECUTE FUNCTION payments_are_kept()": "permission denied for table",
    "CREATE RULE mine AS ON INSERT TO events DO INSTEAD NOTHING": "must be owner of table events",
    "CREATE OR REPLACE FUNCTION payments_are_kept() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'": (
        "permission denied for schema public"
    ),
    "CREATE INDEX mine ON orders (id)": "must be owner of table orders",
    "ALTER TABLE payments DISABLE TRIGGER ALL": "must be owner of table payments",
    "ALTER TABLE payments DROP CONSTRAINT payments_order_id_fkey": "must be owner of table payments",
    "ALTER TABLE events OWNER TO orders": "must be owner of table events",
    "ALTER TABLE events ENABLE ROW LEVEL SECURITY": "must be owner of table events",
    "ALTER FUNCTION payments_are_kept() RENAME TO no_longer": "must be owner of function payments_are_kept",
    "DROP TRIGGER payments_are_kept ON payments": "must be owner of relation payments",
    "DROP TABLE events": "must be owner of table events",
    "DROP INDEX events_one_a_step": "must be owner of index events_one_a_step",
    "DROP SCHEMA public CASCADE": "must be owner of schema public",
    "COMMENT ON TABLE events IS 'mine'": "must be owner of table events",
    # It becomes nobody else, and gives itself no more.
    "SET session_replication_role = replica": "permission denied to set parameter",
    "SET ROLE orders_owner": "permission denied to set role",
    "SET ROLE postgres": "permission denied to set role",
    "SET SESSION AUTHORIZATION orders_owner": "permission denied to set session authorization",
    "ALTER ROLE orders SUPERUSER": "permission denied to alter role",
    "ALTER ROLE orders BYPASSRLS": "permission denied to alter role",
    "ALTER ROLE orders_owner PASSWORD 'mine'": "permission denied to alter role",
    "CREATE ROLE mine": "permission denied to create role",
    "GRANT orders_owner TO orders": "permission denied to grant role",
    "GRANT pg_execute_server_program TO orders": "permission denied to grant role",
    "REASSIGN OWNED BY orders_owner TO orders": "permission denied to reassign objects",
    "CREATE DATABASE mine": "permission denied to create database",
    "SELECT rolpassword FROM pg_authid": "permission denied for table pg_authid",
    "UPDATE pg_database SET datallowconn = true": "permission denied for table pg_database",
    "UPDATE pg_trigger SET tgenabled = 'D'": "permission denied for table pg_trigger",
    # It reaches nothing of the machine.
    "COPY (SELECT 1) TO PROGRAM 'true'": "permission denied to COPY to or from an external program",
    "COPY orders FROM PROGRAM 'true'": "permission denied",
    "COPY (SELECT 1) TO '/tmp/mine'": "permission denied to COPY to a file",
    "COPY orders FROM '/etc/passwd'": "permission denied",
    "SELECT pg_read_file('/etc/passwd')": "permission denied for function pg_read_file",
    "SELECT pg_ls_dir('/')": "permission denied for function pg_ls_dir",
    "SELECT lo_import('/etc/passwd')": "permission denied for function lo_import",
    "LOAD '/tmp/mine.so'": "access to library",
    "ALTER SYSTEM SET archive_command = 'true'": "permission denied to set parameter",
    "SELECT pg_reload_conf()": "permission denied for function pg_reload_conf",
    "SELECT pg_promote()": "permission denied for function pg_promote",
    "SHOW data_directory": "permission denied to examine",
}


@pytest.mark.parametrize("statement", REFUSED)
def test_the_application_role_may_not_delete_or_rewrite(database_url: str, statement: str) -> None:
    engine = connect(database_url)
    Store(engine).receive(ORDER, "run-1")
    before = everything(engine)
    with pytest.raises(DBAPIError) as error, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.exec_driver_sql(statement)
    assert REFUSED[statement] in str(error.value.orig)
    assert everything(engine) == before
    engine.dispose()


def everything(engine: Any) -> list[Any]:
    return [Store(engine).rows(table) for table in ("orders", "payments", "events")]


def test_the_application_role_can_do_all_that_an_order_needs(database_url: str) -> None:
    engine = connect(database_url)
    store = Store(engine)
    store.receive(ORDER, "run-1")
    store.validate(ORDER)
    store.advance(ORDER.id, EventType.ORDER_APPROVED)
    store.charge(ORDER.id, ORDER.payment_id)
    store.change_address(ORDER.id, "run/1", ORDER.address)
    store.note(ORDER.id, EventType.DISPATCH_FAILED, "run/1", {})
    assert store.close(ORDER, "run-1", OrderState.CANCELLED, "never mind") is OrderState.CANCELLED
    assert audit(engine) == []
    engine.dispose()


def roles(url: str) -> dict[str, tuple[bool, ...]]:
    """Return the roles that can log in, and whether each is a superuser, may create databases and may create roles."""
    with create_engine(url, poolclass=NullPool).connect() as view:
        found = view.execute(
            text("SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolcanlogin")
        )
        return {row[0]: tuple(row[1:]) for row in found}


ROLES = {
    "orders": (False, False, False),
    "orders_owner": (False, True, False),
    "postgres": (True, True, True),
}


def test_no_address_of_a_stack_is_the_superusers(stack: Addresses) -> None:
    assert roles(stack.database_url) == ROLES
    assert make_url(stack.database_url).username == "orders"
    assert make_url(stack.database_owner_url or "").username == "orders_owner"
    superusers = Path(stack.home, "password.superuser").read_text()
    assert superusers not in stack.model_dump_json()
    assert superusers not in Path(stack.home, "stack.json").read_text()


def test_the_roles_get_their_rights_and_passwords_back_at_the_next_start(
    up: Callable[..., Any], tmp_path: Path, superuser_of: Callable[[Addresses], str]
) -> None:
    it = up(tmp_path / "home")
    addresses = it.addresses()
    with create_engine(addresses.database_url, poolclass=NullPool).begin() as tx:
        tx.execute(text("ALTER ROLE orders PASSWORD 'mine'"))  # each role may do so with its own
    with create_engine(superuser_of(addresses), poolclass=NullPool).begin() as tx:
        tx.execute(text("ALTER ROLE orders SUPERUSER"))
        tx.execute(text("GRANT DELETE ON events TO orders"))
    it.end()
    addresses = up(tmp_path / "home").addresses()
    assert roles(addresses.database_url) == ROLES
    engine = create_engine(addresses.database_url, poolclass=NullPool)
    with pytest.raises(ProgrammingError, match="permission denied for table events"), engine.begin() as tx:
        tx.execute(text("DELETE FROM events"))


# As the version before this one made a home: one role, which was the superuser and owned everything.
OLDER = """
import json, pathlib, sys
from order_lifecycle.stack import postgres
postgres.PASSWORD_FILES = {"orders": "password"}
postgres.SUPERUSER = postgres.OWNER = "orders"
from order_lifecycle.stack import postgres_roles

def ensure_roles(port, passwords):
    with postgres_roles._connected(port, "orders", passwords["orders"]) as admin:
        postgres_roles._run(admin, "CREATE DATABASE orders")

postgres_roles.ensure_roles = ensure_roles

from alembic import command
from alembic.config import Config
from order_lifecycle.db.store import Store, connect
from order_lifecycle.domain import parse_order
from order_lifecycle.stack.stack import Stack
from order_lifecycle.stack.migrate import MIGRATIONS
with Stack(pathlib.Path(sys.argv[1])) as addresses:
    config = Config(attributes={"database_url": addresses.database_url})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.downgrade(config, "0001")
    engine = connect(addresses.database_url)
    Store(engine).receive(parse_order("abc-001", "pay-001", *sys.argv[2:]), "run-1")
    with engine.begin() as tx:
        assert tx.exec_driver_sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'orders'").scalar()
        tx.exec_driver_sql("CREATE TABLE beside (id int GENERATED ALWAYS AS IDENTITY, more serial)")
        tx.exec_driver_sql("CREATE VIEW seen AS SELECT id FROM orders")
    engine.dispose()
"""


def an_older_home(home: Path) -> None:
    subprocess.run([sys.executable, "-c", OLDER, str(home), ITEMS, ADDRESS], check=True, timeout=120)
    assert sorted(path.name for path in home.glob("password*")) == ["password"]


@pytest.mark.proof
def test_a_home_of_an_older_version_gets_the_two_roles(up: Callable[..., Any], tmp_path: Path) -> None:
    home = tmp_path / "home"
    an_older_home(home)
    password = (home / "password").read_text()
    it = up(home)
    addresses = it.addresses()
    assert roles(addresses.database_url) == ROLES
    assert make_url(addresses.database_url).password == password  # whoever has it written down can go on
    engine = connect(addresses.database_url)
    assert Store(engine).validate(ORDER) is OrderState.AWAITING_REVIEW
    with pytest.raises(ProgrammingError, match="permission denied for table events"), engine.begin() as tx:
        tx.execute(text("DELETE FROM events"))
    with engine.connect() as view:
        owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert view.scalars(text(owners)).all() == ["orders_owner"]
    engine.dispose()
    it.end()
    assert roles(up(home).addresses().database_url) == ROLES


@pytest.mark.proof
def test_an_interrupted_change_of_roles_is_finished_at_the_next_start(up: Callable[..., Any], tmp_path: Path) -> None:
    """The change stopped in the middle: the superuser has its new name, but still owns everything."""
    home = tmp_path / "home"
    an_older_home(home)
    cut_short = OLDER.partition("postgres_roles.ensure_roles =")[0] + CUT_SHORT
    subprocess.run([sys.executable, "-c", cut_short, str(home)], check=True, timeout=120)
    addresses = up(home).addresses()
    assert roles(addresses.database_url) == ROLES
    engine = connect(addresses.database_url)
    assert Store(engine).validate(ORDER) is OrderState.AWAITING_REVIEW
    engine.dispose()


CUT_SHORT = """
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.server import Ports, stop
from order_lifecycle.waiting import POLL_INTERVAL
import time
home = Home(pathlib.Path(sys.argv[1]))
server = postgres.Postgres(home, Ports())
server.start()
both = {"orders": home.password(), "postgres": home.password("password.superuser")}
postgres_roles.APPLICATION, postgres_roles.SUPERUSER = "orders", "postgres"
while not postgres_roles._rename_old_superuser(server.port, both):
    time.sleep(POLL_INTERVAL)  # between two looks
stop([server])
home.close()
"""


def test_your_own_database_can_have_the_two_roles_too(bare_database_url: str, admin_url: str, stack: Addresses) -> None:
    """With DATABASE_URL and DATABASE_OWNER_URL set, `alembic upgrade head` gives the application its rights."""
    application = make_url(stack.database_url).set(database=make_url(bare_database_url).database)
    url = application.render_as_string(hide_password=False)
    with create_engine(admin_url, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as admin:
        admin.execute(text(f"GRANT CONNECT ON DATABASE {application.database} TO orders"))
    environment = {**os.environ, "DATABASE_URL": url, "DATABASE_OWNER_URL": bare_database_url}
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", "head"], cwd=TOP, env=environment, check=True, timeout=60
        )
        engine = connect(url)
        Store(engine).receive(ORDER, "run-1")
        with pytest.raises(ProgrammingError, match="permission denied for table events"), engine.begin() as tx:
            tx.execute(text("DELETE FROM events"))
        engine.dispose()
