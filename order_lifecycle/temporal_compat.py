"""Use private parts of the Temporal SDK. Each has its reason here.

Checked with temporalio 1.35.0. After an upgrade, tests/test_temporal_compat.py fails for each part
that has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter, PayloadConverter

# The SDK adds this key to the context of a log line. It means nothing to a reader.
LOG_KEY_OF_ERRORS = "__temporal_error_identifier"


@dataclass(frozen=True)
class PlainDataConverter(DataConverter):
    """Treat a payload that claims to be stored elsewhere like any other payload.

    No handler can read it, so such a signal is dropped and such an Update is rejected. Without this
    class, the SDK fails the workflow task before it looks for the handler, and the server retries
    that task forever. The SDK has no public setting for this.
    """

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
    """Return True if the function has `@activity.defn`. The SDK's own test is private."""
    return hasattr(function, "__temporal_activity_definition")


def is_workflow(kind: object) -> bool:
    """Return True if the class has `@workflow.defn`. The SDK's own test is private."""
    return hasattr(kind, "__temporal_workflow_definition")


def client_of(handle: WorkflowHandle[Any, Any]) -> Client:
    """Return the client that made the handle.

    A notebook may have handles of two servers, and a handle has no public attribute that says which
    server it belongs to.
    """
    return handle._client
