"""After a stack has ended, an impostor on the port of its PostgreSQL asks for the password and gets nothing."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from order_lifecycle.db.store import connect
from order_lifecycle.settings import Addresses
from order_lifecycle.stack.errors import StackError
from order_lifecycle.stack.migrate import migrate

ENCRYPTION = (80877103, 80877104)  # the codes with which a client asks for TLS or GSSAPI
ASKS_FOR = {
    "the password in clear text": struct.pack("!cII", b"R", 8, 3),
    "an MD5 hash": struct.pack("!cII4s", b"R", 12, 5, b"salt"),
    "nothing": struct.pack("!cII", b"R", 8, 0),
}


class Impostor:
    """A server that speaks PostgreSQL's protocol, asks for a password, and keeps what it receives."""

    def __init__(self, question: bytes) -> None:
        self.told = b""
        self._question = question
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # it is closed
                return
            with client:
                client.settimeout(10)
                while struct.unpack("!I", self._packet(client)[:4])[0] in ENCRYPTION:
                    client.sendall(b"N")
                client.sendall(self._question)
                while received := client.recv(4096):
                    self.told += received

    def _packet(self, client: socket.socket) -> bytes:
        length = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))[0]
        packet = client.recv(length - 4, socket.MSG_WAITALL)
        self.told += packet
        return packet

    def close(self) -> None:
        self._server.close()


@pytest.fixture(params=ASKS_FOR)
def impostor(request: pytest.FixtureRequest) -> Iterator[Impostor]:
    it = Impostor(ASKS_FOR[request.param])
    yield it
    it.close()


@pytest.mark.parametrize("role", ["database_url", "database_owner_url"])
def test_an_impostor_on_the_port_of_postgresql_gets_no_password(
    stack: Addresses, impostor: Impostor, role: str
) -> None:
    url = make_url(getattr(stack, role)).set(port=impostor.port)
    there = url.render_as_string(hide_password=False)
    engine = connect(there)
    with pytest.raises(OperationalError, match="auth"):
        engine.connect()
    engine.dispose()
    with pytest.raises(StackError, match="auth"):
        migrate(there)
    assert (url.username or "").encode() in impostor.told  # it was really asked
    assert (url.password or "").encode() not in impostor.told
    assert b"p\0\0\0" not in impostor.told  # nor was any other answer given
