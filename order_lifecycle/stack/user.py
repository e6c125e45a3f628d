"""Run initdb for a user ID that has no name, as in a container (`docker run -u 12345`).

PostgreSQL itself needs no name. But initdb looks up its user in /etc/passwd and fails without an
entry, even with the option that names the owner of the database.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

from order_lifecycle.stack.errors import StackError


def user_namespace() -> list[str]:
    """Return what to put before a command so that this user has a name in it.

    Return an empty list if the user has a name. Otherwise the command makes a user namespace in
    which this user has the ID of a user with a name.

    Raises:
        StackError: If the kernel or the container does not allow a user namespace.
    """
    user = os.geteuid()
    if _has_name(user):
        return []
    unshare = shutil.which("unshare")
    nobody = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    if unshare and nobody:
        command = [unshare, "--user", f"--map-user={nobody}"]
        if subprocess.run([*command, "true"], capture_output=True, cwd="/").returncode == 0:
            return command
    raise StackError(
        f"The user ID {user} has no entry in /etc/passwd, and PostgreSQL's initdb needs one. "
        f"Run `echo 'me:x:{user}:0::/:/bin/sh' >>/etc/passwd` as root. "
        "Or start this with libnss-wrapper (LD_PRELOAD=libnss_wrapper.so, NSS_WRAPPER_PASSWD and "
        "NSS_WRAPPER_GROUP). Or set DATABASE_URL to a PostgreSQL of yours."
    )


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
