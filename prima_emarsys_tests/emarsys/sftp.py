"""A real SFTP server on the loopback, for as long as a block: it serves one folder to one user."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from types import TracebackType

import asyncssh


class SftpServer:
    """User `emarsys`, by password or by the client key that it makes."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self._folder, self._password = folder, password
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._client_key = asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> SftpServer:
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._server.get_port()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        asyncio.run_coroutine_threadsafe(self._server.wait_closed(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def host_key(self) -> str:
        """Its public key, as a line."""
        return self._host_key.export_public_key().decode()

    @staticmethod
    def other_host_key() -> str:
        """The public key of some other server."""
        return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()

    @property
    def client_key(self) -> str:
        """The private key that opens it (PEM)."""
        return self._client_key.export_private_key().decode()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        password, key = self._password, self._client_key

        class Door(asyncssh.SSHServer):
            def password_auth_supported(self) -> bool:
                return password is not None

            def validate_password(self, username: str, given: str) -> bool:
                return (username, given) == ("emarsys", password)

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, given: asyncssh.SSHKey) -> bool:
                return username == "emarsys" and given.public_data == key.public_data

        folder = str(self._folder).encode()
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Door,
            server_host_keys=[self._host_key],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder),
        )
