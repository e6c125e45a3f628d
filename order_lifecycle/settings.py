"""Read the settings of the whole package from the environment, from .env and from a running stack.

A stack is the set of servers that `order-lifecycle up` or a notebook starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from order_lifecycle.domain import (
    LONGEST_DURATION,
    LONGEST_RETRY_INTERVAL,
    SHORTEST_ATTEMPT,
    SHORTEST_BUDGET,
    SHORTEST_DURATION,
    BadInputError,
    Policy,
    plain_text,
    short_json,
)
from order_lifecycle.environment import unset_libpq_variables


class NoServerError(Exception):
    """No server answers. The message names the address and the next step."""


def no_database(home: Path) -> str:
    """Return the error message for a missing DATABASE_URL when no stack runs in `home`."""
    return (
        f"no database: DATABASE_URL is not set, and no stack runs in {home}. "
        "Start one with `order-lifecycle up`, or set DATABASE_URL (see .env.example)"
    )


class Addresses(BaseModel):
    """The addresses of a stack. `order-lifecycle up --json` prints them as one line."""

    temporal_host: str
    temporal_is_ours: bool = True  # False if the stack uses a server that it did not start
    ui_url: str | None
    # repr=False, because it has the password, and a cell that ends with `lab.up()` shows the repr.
    database_url: str = Field(repr=False)
    # The same database, for the role that owns its tables. It is None only if an older version of
    # this package has started the stack.
    database_owner_url: str | None = Field(None, repr=False)
    home: str


# An environment variable of a notebook and of the processes that it starts. It has the addresses of
# the Temporal servers that the notebook has started, separated by spaces.
OUR_TEMPORAL_SERVERS = "ORDER_LIFECYCLE_TEMPORALS"

_DURATION: dict[str, Any] = {
    "ge": SHORTEST_DURATION.total_seconds(),
    "le": LONGEST_DURATION.total_seconds(),
}
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")


class Settings(BaseSettings):
    """The settings of this process.

    Each field comes from the environment variable of the same name in capitals, or else from a line
    of `.env` in the current folder. An address that is set nowhere is None: then `resolved()` takes
    it from the stack that runs in `order_lifecycle_home`.

    Raises:
        BadInputError: A value is not valid. The message names its variable.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    temporal_host: str | None = Field(None, description="host:port of a Temporal server")
    temporal_namespace: str = Field("default", description="the namespace on that server")
    temporal_ui_url: str | None = Field(
        None, description="where that server's Web UI is, for links"
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql://user:password@host:port/database"
    )
    database_owner_url: SecretStr | None = Field(
        None,
        description="the same for the role that owns the tables and migrates; else DATABASE_URL",
    )
    order_lifecycle_home: Path = Field(
        Path(".order-lifecycle"), description="where `up` keeps its data"
    )
    review_timeout_seconds: float = Field(
        Policy().review_timeout.total_seconds(),
        **_DURATION,
        description="how long an order waits for its review",
    )

    faults_fail: float = Field(
        0, ge=0, le=1, description="share of calls to the outside world that fail at once"
    )
    faults_hang: float = Field(
        0, ge=0, le=1, description="share of calls to the outside world that hang"
    )
    faults_seed: int = Field(0, description="decides which calls fail")
    faults_always_fail: str = Field("", description="steps that never work, separated by commas")
    order_budget_seconds: float = Field(
        Policy().budget.total_seconds(),
        **_DURATION | {"ge": SHORTEST_BUDGET.total_seconds()},
        description="how long all work on an order may take, without its review",
    )
    attempt_timeout_seconds: float = Field(
        Policy().attempt_timeout.total_seconds(),
        **_DURATION | {"ge": SHORTEST_ATTEMPT.total_seconds()},
        description="how long one attempt at a step may take",
    )
    retry_interval_seconds: float = Field(
        Policy().retry_interval.total_seconds(),
        **_DURATION | {"le": LONGEST_RETRY_INTERVAL.total_seconds()},
        description="how long a step waits before its first retry",
    )
    shipping_tries: int = Field(
        Policy().shipping_tries, ge=1, le=100, description="how often shipping is tried"
    )
    sticky_seconds: float = Field(
        1,
        ge=0.1,
        le=600,
        description="how long an order's next task waits for the worker that has it in its cache",
    )
    log_json: bool = Field(False, description="workers write their logs as JSON, one object a line")
    metrics_address: str | None = Field(
        None, description="IP address:port where a worker serves its metrics"
    )

    _temporal_is_ours: bool = PrivateAttr(False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except UnicodeDecodeError:
            raise BadInputError(".env: it is not a text file in UTF-8") from None
        except OSError as error:
            raise BadInputError(
                f".env: it cannot be read ({error.strerror or error}). Let this user read "
                f"{Path('.env').absolute()}, move it away, or work in another folder"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            if first["type"] == "value_error":  # our own message: it shows no possible secret
                what = first["msg"].removeprefix("Value error, ")
            else:
                wanted = first["msg"].removeprefix("Input should be ")
                usual = type(self).model_fields[str(first["loc"][0])].default
                what = f"got {short_json(first['input'])}; wanted: {wanted}, such as {usual}"
            raise BadInputError(f"{name} (in the environment or in .env): {what}") from None
        if self.temporal_host in os.environ.get(OUR_TEMPORAL_SERVERS, "").split():
            self._use_our_temporal()

    @property
    def temporal_is_ours(self) -> bool:
        """True if this project started the Temporal server.

        Its namespace is then `default`, and Temporal's own variables and file do not apply to it:
        the user has set those for another server.
        """
        return self._temporal_is_ours

    def _use_our_temporal(self) -> None:
        self._temporal_is_ours = True
        self.temporal_namespace = "default"

    @field_validator(
        "temporal_host",
        "temporal_namespace",
        "temporal_ui_url",
        "faults_always_fail",
        "metrics_address",
    )
    @classmethod
    def _plain_text(cls, text: str | None) -> str | None:
        return text and plain_text(text)

    @field_validator("temporal_host")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        if address and (
            not (parts := _HOST_AND_PORT.fullmatch(address)) or not 1 <= int(parts[2]) <= 65535
        ):
            raise ValueError("should be host:port")
        return address

    @field_validator("metrics_address")
    @classmethod
    def _address_to_listen_at(cls, address: str | None) -> str | None:
        parts = _HOST_AND_PORT.fullmatch(address or "")
        try:
            if address and not (
                parts and ip_address(parts[1].strip("[]")) and 1 <= int(parts[2]) <= 65535
            ):
                raise ValueError
        except ValueError:
            raise ValueError("should be an IP address and a port, such as 127.0.0.1:9464") from None
        return address

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _url_of_a_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _check_url(url.get_secret_value())
        return url

    @field_validator("order_lifecycle_home")
    @classmethod
    def _home_of_the_user(cls, home: Path) -> Path:
        return usable_home(home)

    def policy(self) -> Policy:
        """Return the rules that a new order is started with."""
        return Policy(
            review_timeout=timedelta(seconds=self.review_timeout_seconds),
            attempt_timeout=timedelta(seconds=self.attempt_timeout_seconds),
            retry_interval=timedelta(seconds=self.retry_interval_seconds),
            budget=timedelta(seconds=self.order_budget_seconds),
            shipping_tries=self.shipping_tries,
        )

    def resolved(self) -> Settings:
        """Return these settings with the missing addresses of the running stack.

        If no stack runs in `order_lifecycle_home`, the addresses stay None. If the database is that
        of the stack, this removes libpq's variables from the environment of this process.
        """
        if self.temporal_host and self.database_url:
            return self
        running = running_stack(self.order_lifecycle_home)
        if running is None:
            return self
        if self.database_url is None:
            unset_libpq_variables()
        host = self.temporal_host or running.temporal_host
        found = self.model_copy(
            update={
                "temporal_host": host,
                "temporal_ui_url": self.temporal_ui_url
                or (running.ui_url if host == running.temporal_host else None),
            }
        )
        if self.database_url is None:
            found.database_url = SecretStr(running.database_url)
            if self.database_owner_url is None and running.database_owner_url:
                found.database_owner_url = SecretStr(running.database_owner_url)
        if self.temporal_host is None and running.temporal_is_ours:
            found._use_our_temporal()
        return found


def _check_url(url: str) -> None:
    """Check the URL of a database.

    Raises:
        ValueError: The URL is not valid. The message has no part of the URL, because any part of a
            malformed URL may be the password.
    """
    plain_text(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    # Refuse a URL with a part of the password in the wrong place. Later messages would show it, for
    # example "could not translate host name …".
    if (
        parts is None
        or not re.fullmatch(r"postgres(ql)?(\+psycopg2)?", parts.scheme)
        or parts.netloc.count("@") > 1
        or port == 0
        or "#" in url
    ):
        raise ValueError(
            "should be postgresql://user:password@host:port/database, "
            "with @ : / ? # in a password written as %40 %3A %2F %3F %23"
        )
    for name in parse_qs(parts.query, keep_blank_values=True):
        if name.lower() == "password":
            raise ValueError("write the password before the @: an option may be shown")
        if not _is_an_option(name):  # it may be a part of the password, so do not show its name
            raise ValueError(
                "has an option after the ? that PostgreSQL does not know. "
                "If the ? belongs to the password, write it as %3F"
            )


def _is_an_option(name: str) -> bool:
    """Return True if libpq has an option of this name."""
    from psycopg2 import ProgrammingError  # imported late, because few URLs have options
    from psycopg2.extensions import parse_dsn

    try:
        return bool(re.fullmatch("[a-z_]+", name) and parse_dsn(f"{name}=1"))
    except ProgrammingError:
        return False


def usable_home(home: Path) -> Path:
    """Return the folder, with `~` replaced by the user's home.

    Raises:
        ValueError: `~name` names no user, or the path has a control character.
    """
    plain_text(str(home))
    try:
        return home.expanduser()
    except RuntimeError:
        raise ValueError("there is no user of that name") from None


# A stack locks this file while it runs. The kernel releases the lock however the stack ends, so the
# file cannot become stale, as a file with a process ID can.
STACK_FILE = "stack.json"


def running_stack(home: Path) -> Addresses | None:
    """Return the addresses of the stack that runs in `home` now, or None."""
    try:
        file = os.open(home / STACK_FILE, os.O_RDONLY)
    except OSError:  # no such file, no permission, or a name that is too long
        return None
    with os.fdopen(file) as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            content = text.read()
            return Addresses(**json.loads(content)) if content else None
        return None
