"""`order-lifecycle demo` starts its own servers, whatever is set and whatever runs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from order_lifecycle.db.store import Store, connect


def orders(database_url: str) -> list[str]:
    engine = connect(database_url)
    found = [row["id"] for row in Store(engine).rows("orders")]
    engine.dispose()
    return found


@pytest.mark.proof
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_the_demo_ignores_settings(where: str, environment: dict[str, str], database_url: str, tmp_path: Path) -> None:
    """It uses neither the servers nor the metrics address, which its two workers could not share."""
    theirs = {name: environment[name] for name in ("TEMPORAL_HOST", "DATABASE_URL")}
    theirs |= {"METRICS_ADDRESS": "127.0.0.1:9464", "FAULTS_FAIL": "1", "TEMPORAL_NAMESPACE": "nowhere"}
    if where == ".env":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in theirs.items()))
    done = subprocess.run(
        [sys.executable, "-m", "order_lifecycle", "demo"],
        env={**os.environ, "TEMPORAL_API_KEY": "a-secret-key", **(theirs if where == "environment" else {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "the workflow has ended: shipped" in done.stdout
    assert "nothing is left behind" in done.stdout
    assert orders(database_url) == []
    (address,) = re.findall(r"Temporal is at 127.0.0.1:(\d+)", done.stdout)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address))) != 0
