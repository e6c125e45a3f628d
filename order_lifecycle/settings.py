"""One Settings object for the whole package: from the environment, from .env, and from a stack that
is running."""

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
    LONGEST_RETRY_INTERVAL,
    LONGEST_SPAN,
    SHORTEST_ATTEMPT,
    SHORTEST_BUDGET,
    SHORTEST_SPAN,
    BadInputError,
    Policy,
    plain_text,
    shown,
)
from order_lifecycle.environment import forget_libpq


class NoServerError(Exception):
    """Nothing answers. The message says where it was looked for, and the way out."""


def no_database(home: Path) -> str:
    """What to say where no database is named and no stack runs in `home`."""
    return (
        f"no database: DATABASE_URL is not set, and no stack runs in {home}. "
        "Start one with `order-lifecycle up`, or set DATABASE_URL (see .env.example)"
    )


class Addresses(BaseModel):
    """Where a stack can be reached. `order-lifecycle up --json` prints it as one line."""

    temporal_host: str
    temporal_is_ours: bool = True  # and not one that the stack was given
    ui_url: str | None
    # Has the password, which a cell that ends with `lab.up()` must not show.
    database_url: str = Field(repr=False)
    # The same database for the role that owns its tables. A stack always says it; None: an older
    # version of this package has started the stack.
    database_owner_url: str | None = Field(None, repr=False)
    home: str


# In the environment of a notebook, and of what it starts: the addresses of the Temporal servers
# that it has started.
OURS = "ORDER_LIFECYCLE_TEMPORALS"

_SPAN: dict[str, Any] = {"ge": SHORTEST_SPAN.total_seconds(), "le": LONGEST_SPAN.total_seconds()}
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")


class Settings(BaseSettings):
    """What this process was told. Every field is an environment variable of the same name in
    capitals, or a line of `.env` in the current folder; the environment wins.

    An address that is None was not given: `resolved()` then looks for a stack that runs in
    `order_lifecycle_home`.
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
        description="the role that owns the tables; migrations run as it; not set: DATABASE_URL",
    )
    order_lifecycle_home: Path = Field(
        Path(".order-lifecycle"), description="where `up` keeps its data"
    )
    review_timeout_seconds: float = Field(
        Policy().review_timeout.total_seconds(),
        **_SPAN,
        description="how long an order waits for its review",
    )

    faults_fail: float = Field(
        0, ge=0, le=1, description="share of calls to the outside world that fail at once"
    )
    faults_hang: float = Field(
        0, ge=0, le=1, description="share of calls to the outside world that hang"
    )
    faults_seed: int = Field(0, description="another seed, other faults")
    faults_always_fail: str = Field("", description="steps that never work, separated by commas")
    order_budget_seconds: float = Field(
        Policy().budget.total_seconds(),
        **_SPAN | {"ge": SHORTEST_BUDGET.total_seconds()},
        description="how long all the work on an order may take",
    )
    attempt_timeout_seconds: float = Field(
        Policy().attempt_timeout.total_seconds(),
        **_SPAN | {"ge": SHORTEST_ATTEMPT.total_seconds()},
        description="how long one attempt of one step may take",
    )
    retry_interval_seconds: float = Field(
        Policy().retry_interval.total_seconds(),
        **_SPAN | {"le": LONGEST_RETRY_INTERVAL.total_seconds()},
        description="how long a step waits before its first retry",
    )
    shipping_tries: int = Field(
        Policy().shipping_tries, ge=1, le=100, description="how often shipping is tried"
    )
    sticky_seconds: float = Field(
        1,
        ge=0.1,
        le=600,
        description="how long an order's next task waits for the worker that remembers the order",
    )
    log_json: bool = Field(False, description="workers write their logs as JSON, one object a line")
    metrics_address: str | None = Field(
        None, description="IP address:port where a worker serves its metrics"
    )

    _ours: bool = PrivateAttr(False)

    def __init__(self, **values: Any) -> None:
        """Raises BadInputError, which names the variable that is wrong."""
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
            if first["type"] == "value_error":  # ours, and silent on what may be a secret
                what = first["msg"].removeprefix("Value error, ")
            else:
                wanted = first["msg"].removeprefix("Input should be ")
                usual = type(self).model_fields[str(first["loc"][0])].default
                what = f"got {shown(first['input'])}; wanted: {wanted}, such as {usual}"
            raise BadInputError(f"{name} (in the environment or in .env): {what}") from None
        if self.temporal_host in os.environ.get(OURS, "").split():
            self._is_ours()

    @property
    def ours(self) -> bool:
        """Is the Temporal server one that we started? Then nothing that is set for another is meant
        for it: no namespace, and nothing of Temporal's own variables and file."""
        return self._ours

    def _is_ours(self) -> None:
        self._ours = True
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
        """The rules that a new order is started with."""
        return Policy(
            review_timeout=timedelta(seconds=self.review_timeout_seconds),
            attempt_timeout=timedelta(seconds=self.attempt_timeout_seconds),
            retry_interval=timedelta(seconds=self.retry_interval_seconds),
            budget=timedelta(seconds=self.order_budget_seconds),
            shipping_tries=self.shipping_tries,
        )

    def resolved(self) -> Settings:
        """These settings, with the addresses that were not given taken from the stack that runs in
        `order_lifecycle_home`, if one does.

        If the database is that stack's, libpq's variables leave the environment of this process."""
        if self.temporal_host and self.database_url:
            return self
        running = running_stack(self.order_lifecycle_home)
        if running is None:
            return self
        if self.database_url is None:
            forget_libpq()
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
            found._is_ours()
        return found


def _check_url(url: str) -> None:
    """Raises ValueError, whose text has nothing of the URL in it: any part of a URL that cannot be
    read may be its password."""
    plain_text(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    # Whatever is not where it belongs would be shown: in "the host x does not exist", or among the
    # options.
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
            raise ValueError("the password belongs before the @, where it is not shown to anybody")
        if not _is_an_option(name):  # which may be a part of the password, so it is not named
            raise ValueError(
                "has an option after the ? that PostgreSQL does not know. "
                "If the ? belongs to the password, write it as %3F"
            )


def _is_an_option(name: str) -> bool:
    """Return whether libpq knows an option of that name."""
    from psycopg2 import ProgrammingError  # here: few addresses have options
    from psycopg2.extensions import parse_dsn

    try:
        return bool(re.fullmatch("[a-z_]+", name) and parse_dsn(f"{name}=1"))
    except ProgrammingError:
        return False


def usable_home(home: Path) -> Path:
    """Raises ValueError if that cannot be the name of a folder, or cannot be printed."""
    plain_text(str(home))
    try:
        return home.expanduser()
    except RuntimeError:
        raise ValueError("there is no user of that name") from None


# A stack holds a lock on this file for as long as it lives, and the kernel lets go of the lock
# however the stack ends: unlike a file with a process id, it cannot go stale.
STACK_FILE = "stack.json"


def running_stack(home: Path) -> Addresses | None:
    """The addresses of the stack that runs in `home` now, or None."""
    try:
        file = os.open(home / STACK_FILE, os.O_RDONLY)
    except OSError:  # it is not there, or not for us, or its name is too long
        return None
    with os.fdopen(file) as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            content = text.read()
            return Addresses(**json.loads(content)) if content else None
        return None
