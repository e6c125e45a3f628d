"""Run initdb for a user ID that has no name, as containers have them (`docker run -u 12345`).

PostgreSQL itself does not mind. Only initdb looks its user up in /etc/passwd, and gives up without
an entry, even if it is told the name of the database's owner.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

from order_lifecycle.stack.server import StackError


def user_namespace() -> list[str]:
    """Return the start of a command that lets the rest of it find a name for this user.

    Empty if the user has one. Otherwise a user namespace, in which the same user looks like
    `nobody`. Raises StackError where the kernel or the container does not allow that.
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
        f"As root: `echo 'me:x:{user}:0::/:/bin/sh' >>/etc/passwd`. "
        "Or start this with libnss-wrapper (LD_PRELOAD=libnss_wrapper.so, NSS_WRAPPER_PASSWD and "
        "NSS_WRAPPER_GROUP). Or set DATABASE_URL to a PostgreSQL of yours."
    )


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
