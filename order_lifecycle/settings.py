"""One Settings object for the whole package: from the environment, from .env, and from a stack that is running."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from order_lifecycle.domain import BadInput, Policy


class NoServer(Exception):
    """Nothing answers. The message says where it was looked for, and the way out."""


class Addresses(BaseModel):
    """Where a stack can be reached. `order-lifecycle up --json` prints it as one line."""

    temporal_host: str
    ui_url: str | None
    database_url: str
    home: str


class Settings(BaseSettings):
    """What this process was told. Every field is an environment variable of the same name in capitals,
    or a line of `.env` in the current folder; the environment wins.

    An address that is None was not given: `resolved()` then looks for a stack that runs in `order_lifecycle_home`.
    """

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    temporal_host: str | None = Field(None, description="host:port of a Temporal server")
    temporal_namespace: str = "default"
    temporal_ui_url: str | None = Field(None, description="where that server's Web UI is, for links")
    database_url: SecretStr | None = Field(None, description="postgresql://user:password@host:port/database")
    order_lifecycle_home: Path = Field(Path(".order-lifecycle"), description="where `up` keeps its data")
    review_timeout_seconds: float = Field(
        Policy().review_timeout.total_seconds(), gt=0, description="how long an order waits for its review"
    )

    faults_fail: float = Field(0, ge=0, le=1, description="share of calls to the outside world that fail at once")
    faults_hang: float = Field(0, ge=0, le=1, description="share of calls to the outside world that hang")
    faults_seed: int = Field(0, description="another seed, other faults")
    faults_always_fail: str = Field("", description="steps that never work, separated by commas")
    order_budget_seconds: float = Field(
        Policy().budget.total_seconds(), gt=0, description="how long all the work on an order may take"
    )
    log_json: bool = Field(False, description="workers write their logs as JSON, one object a line")

    def __init__(self, **values: Any) -> None:
        """Raises BadInput, which names the variable that is wrong."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            raise BadInput(f"{name} (in the environment or in .env): {first['msg']}") from None

    @field_validator("order_lifecycle_home")
    @classmethod
    def _home_of_the_user(cls, home: Path) -> Path:
        return home.expanduser()

    def policy(self) -> Policy:
        """The rules that a new order is started with."""
        return Policy(
            review_timeout=timedelta(seconds=self.review_timeout_seconds),
            budget=timedelta(seconds=self.order_budget_seconds),
        )

    def resolved(self) -> Settings:
        """These settings, with the addresses that were not given taken from the stack that runs in
        `order_lifecycle_home`, if one does."""
        if self.temporal_host and self.database_url:
            return self
        running = running_stack(self.order_lifecycle_home)
        if running is None:
            return self
        ours = self.temporal_host or running.temporal_host
        return self.model_copy(
            update={
                "temporal_host": ours,
                "temporal_ui_url": self.temporal_ui_url or (running.ui_url if ours == running.temporal_host else None),
                "database_url": self.database_url or SecretStr(running.database_url),
            }
        )


# A stack holds a lock on this file for as long as it lives, and the kernel lets go of the lock however the
# stack ends: unlike a file with a process id, it cannot go stale.
STACK_FILE = "stack.json"


def running_stack(home: Path) -> Addresses | None:
    """The addresses of the stack that runs in `home` now, or None."""
    try:
        file = os.open(home / STACK_FILE, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    with os.fdopen(file) as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            content = text.read()
            return Addresses(**json.loads(content)) if content else None
        return None
