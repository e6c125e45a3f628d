"""Benchmarks of the order system: `python -m benchmarks --help`."""
