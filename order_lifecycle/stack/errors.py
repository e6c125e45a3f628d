"""Define the errors of the stack."""

from __future__ import annotations


class StackError(Exception):
    """The stack cannot do what the user asked. The text says what is wrong and what to do."""


class StopRequestedError(Exception):
    """The stack was asked to stop while it was starting."""
