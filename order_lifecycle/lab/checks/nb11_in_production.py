"""Check the exercises of notebook 11: a list filter, a count from the log, and settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from sqlalchemy import make_url
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from order_lifecycle.client import connect, workflow_id
from order_lifecycle.domain import BadInputError
from order_lifecycle.lab.checks.base import Check
from order_lifecycle.lab.process import LabProcess
from order_lifecycle.lab.views.attempts import failed_attempts
from order_lifecycle.lab.views.tables import store
from order_lifecycle.lab.waiting import run_in_own_loop
from order_lifecycle.settings import Settings

# The servers of the company in the last exercise.
CLOUD = {
    "TEMPORAL_HOST": "orders.a1b2c.tmprl.cloud:7233",
    "TEMPORAL_NAMESPACE": "orders.a1b2c",
    "TEMPORAL_API_KEY": "a-secret-key",
    "DATABASE_URL": "postgresql://orders:***@db.example.com:5432/orders",
}


def check_query(query: Any, state: str, more_than: str) -> Check:
    """Check that this list filter finds exactly the orders in `state` over `more_than`."""
    if not isinstance(query, str):
        return Check(
            "There is no query yet. Hint: write a string, such as \"OrderState = 'shipped'\".", ""
        )
    orders = {workflow_id(row["id"]): row for row in store().rows("orders")}
    wanted = {
        name
        for name, row in orders.items()
        if row["state"] == state and _cost(row["items"]) > Decimal(more_than)
    }
    try:
        found = run_in_own_loop(_listed(query))
    except RPCError as error:
        return Check(
            f"The server says: {error.message}. "
            "Hint: a condition is a name, an operator and a value; put a string in '…'.",
            "",
        )
    wrong = None
    if too_many := found - wanted:
        in_other_states = {name for name in too_many if orders.get(name, {}).get("state") != state}
        if in_other_states:
            one, about, condition = min(in_other_states), "OrderState", f"= '{state}'"
        else:
            one, about, condition = min(too_many), "OrderTotal", f"> {more_than}"
        hint = f"add AND and a condition on {about}"
        if about in query:
            hint = f"use `{about} {condition}`, joined by AND"
        wrong = f"It finds {len(too_many)} too many, such as {one}. Hint: {hint}."
    elif left_out := wanted - found:
        one = min(left_out)
        wrong = (
            f"It misses {len(left_out)}, such as {one}. "
            "Hint: which condition does that order not meet?"
        )
    return Check(wrong, f"It finds exactly the orders that it should: {len(wanted)}.")


def _cost(items: list[dict[str, Any]]) -> Decimal:
    return sum((item["qty"] * Decimal(str(item["price"])) for item in items), Decimal(0))


async def _listed(query: str) -> set[str]:
    return {found.id async for found in (await connect()).list_workflows(query)}


def check_counted(
    count: Callable[[list[str]], Mapping[str, int] | None], worker: LabProcess
) -> Check:
    """Check that `count(lines)` counts the failed attempts of each step in this worker's log."""
    # A worker that dies may leave such lines at the end.
    lines = [*worker.log().splitlines(), "Killed", '{"event": "stopped"}']
    wanted: dict[str, int] = {}
    for each in failed_attempts([worker]):
        wanted[each.step] = wanted.get(each.step, 0) + 1
    wrong = None
    try:
        counted = count(lines)
    except KeyError as error:
        hint = (
            "at its first failure a step is not in the dictionary yet; a `Counter` begins with 0"
            if error.args[0] in wanted
            else "not every line has that key; only the line of a failed attempt has `took`"
        )
        return Check(f"It raises KeyError: {error}. Hint: {hint}.", "")
    except Exception as error:
        return Check(
            f"It raises {type(error).__name__}: {error}. Hint: not every line is JSON.", ""
        )
    if counted is None:
        wrong = "It returns nothing yet. Hint: return a dictionary with a number for each step."
    elif not isinstance(counted, Mapping):
        wrong = (
            f"Expected a dictionary, got {type(counted).__name__}. "
            "Hint: return a dictionary with a number for each step."
        )
    elif differ := [
        step for step in {*wanted, *counted} if wanted.get(step, 0) != counted.get(step, 0)
    ]:
        step = min(differ, key=str)
        wrong = (
            f"{step} failed {wanted.get(step, 0)} times, but it counts {counted.get(step, 0)}. "
            "Hint: count the lines that have `took`, because only a failed attempt has it."
        )
    return Check(wrong, f"It counts every failed attempt, in {len(wanted)} steps.")


def check_settings(settings: Any) -> Check:
    """Check that a worker with these variables uses the company's Temporal and its database."""
    if not isinstance(settings, Mapping) or not settings:
        return Check('There are no settings yet. Hint: {"TEMPORAL_HOST": "…", …}.', "")
    if other := [name for name, value in settings.items() if not isinstance(value, str)]:
        return Check(
            f"The value of {other[0]} is not a string. "
            "Hint: every variable of an environment is a string.",
            "",
        )
    return Check(
        _fault_of(settings),
        "With these settings the workers use that company's servers, without a change of code.",
    )


def _fault_of(settings: Mapping[str, str]) -> str | None:
    with _environment(settings):
        try:
            ours = Settings(_env_file=None)
        except BadInputError as error:
            return f"{error}. Hint: copy it from the text above."
    try:
        # What the SDK takes itself. A file of this machine's user is not looked at.
        sdk = ClientConfig.load_client_connect_config(
            disable_file=True, override_env_vars=dict(settings)
        )
    except (ValueError, RuntimeError, OSError) as error:
        return f"The SDK says: {error}. Hint: only what the text above names is needed."
    found: dict[str, Any] = {
        "TEMPORAL_HOST": ours.temporal_host,
        "TEMPORAL_NAMESPACE": ours.temporal_namespace,
        "TEMPORAL_API_KEY": sdk.get("api_key"),
        "DATABASE_URL": _parts(ours.database_url.get_secret_value()) if ours.database_url else None,
    }
    for name, wanted in CLOUD.items():
        if name not in settings or found[name] is None:
            return f"{name} is not set. Hint: README and `.env.example` say what each is for."
        if name == "DATABASE_URL":
            wrong = [part for part, value in _parts(wanted).items() if found[name][part] != value]
            if wrong:
                return (
                    f"{name} has the wrong {wrong[0]}. "
                    "Hint: postgresql://user:password@host:port/database."
                )
        elif found[name] != wanted:
            return f"{name} is {found[name]!r}. Hint: copy it from the text above."
    return (
        None
        if sdk.get("tls")
        else "The API key would be sent unencrypted. Hint: leave TEMPORAL_TLS out, it is on anyway."
    )


def _parts(database_url: str) -> dict[str, Any]:
    """Return the parts of a database URL. The driver does not matter."""
    url = make_url(database_url)
    return {
        "kind of database": url.get_backend_name().replace("postgresql", "postgres"),
        "user": url.username,
        "password": url.password,
        "host": url.host,
        "port": url.port or 5432,
        "database": url.database,
    }


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set these variables of the package and no others, and restore the environment at the end."""
    before = dict(os.environ)
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
