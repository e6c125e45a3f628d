"""Workflows that some notebooks break, compare or complete, and their worker."""
