"""Start Temporal and PostgreSQL on this machine, wait until they are ready, migrate, and stop them.

Both come as wheels, so pip installs them. They listen on the loopback interface only. To import
this package loads none of it.
"""
