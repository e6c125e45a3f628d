"""The two workers, each a process of its own."""
