"""All that this project uses of the Temporal SDK beyond its public API, each with its reason.

Checked with temporalio 1.35.0. When that pin changes, tests/test_temporal_compat.py says what has
changed with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, PayloadConverter

# In the context of a log line: a key of the SDK's own, which tells a reader nothing.
LOG_KEY_OF_ERRORS = "__temporal_error_identifier"


@dataclass(frozen=True)
class PlainDataConverter(DataConverter):
    """Treat a payload that claims to be stored elsewhere as data like any other.

    No handler can read such data: a signal is dropped, an Update refused. The SDK would fail the
    workflow task before it looks at what the payload is for, and retry that forever. It has no
    public switch for this."""

    payload_converter_class: type[PayloadConverter] = PydanticPayloadConverter

    async def _decode_reference_payload_sequence(
        self, payloads: Sequence[Payload]
    ) -> list[Payload]:
        return list(payloads)

    async def _external_retrieve_payload_sequence(
        self, payloads: Sequence[Payload]
    ) -> list[Payload]:
        return list(payloads)


def is_activity(function: object) -> bool:
    """Return True if `@activity.defn` decorates it. The SDK's own test for this is private."""
    return hasattr(function, "__temporal_activity_definition")


def is_workflow(kind: object) -> bool:
    """Return True if `@workflow.defn` decorates it. The SDK's own test for this is private."""
    return hasattr(kind, "__temporal_workflow_definition")


def client_of(handle: WorkflowHandle[Any, Any]) -> Client:
    """Return the client that made the handle: a notebook may have handles of two servers, and a
    handle does not say publicly which one it is for."""
    return handle._client
