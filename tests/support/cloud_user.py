"""Set what a user of Temporal Cloud has set."""

from __future__ import annotations

from pathlib import Path

import pytest

PROFILE = """
[profile.default]
address = "orders.example.com:7233"
namespace = "orders.a1b2c"
api_key = "a-secret-key"
"""


def become_a_user_of_temporal_cloud(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Set Temporal's own variables, and write its file into `folder`."""
    profile = folder / "temporal.toml"
    profile.write_text(PROFILE)
    patch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    patch.setenv("TEMPORAL_NAMESPACE", "orders.a1b2c")
    patch.setenv("TEMPORAL_API_KEY", "a-secret-key")
    patch.setenv("TEMPORAL_TLS_CLIENT_CERT_PATH", "no-such.pem")
