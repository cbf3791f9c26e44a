"""A folder from which Emarsys takes files: on a disk, or by SFTP. A file appears in it whole or not at all."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import paramiko
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.sftp import SFTPFileSystem
from paramiko.pkey import UnknownKeyType
from pydantic import SecretStr

from prima_emarsys.emarsys.outcome import Answered, Later, Outcome, Stopped
from prima_emarsys.emarsys.redaction import redact, remember

_CONNECT_SECONDS = 20.0
_PORT = 22


class Folder:
    """One folder, opened anew for each file: a connection would not outlive the time between two."""

    def __init__(
        self,
        url: str,
        *,
        password: SecretStr | None = None,
        private_key: SecretStr | None = None,
        host_key: str | None = None,
    ) -> None:
        """`url` is a path, `file:///path` or `sftp://user@host[:port]/path`. Raises ValueError for any other.

        SFTP needs the server's public key (`ssh-ed25519 AAAA…`) and a password or a private key (PEM).
        """
        parts = urlsplit(url)
        if parts.scheme not in ("", "file", "sftp"):
            raise ValueError(f"a folder for Emarsys is a path or sftp://user@host/folder, not {parts.scheme}://…")
        if parts.password:
            raise ValueError("the address of a folder must not hold a password; give it in its own setting")
        if parts.scheme == "sftp" and not (host_key and parts.hostname and parts.username):
            raise ValueError("a folder by SFTP needs user@host, and the server's public key in host_key")
        for secret in (password, private_key):
            if secret is not None:
                remember(secret.get_secret_value())
        self._parts, self._password, self._private_key = parts, password, private_key
        self._host_key = _public(host_key) if host_key else None
        self._path = parts.path.rstrip("/")

    def put(self, name: str, content: bytes) -> None:
        """Write a file under another name, then rename it. Raises OSError, EOFError or paramiko's errors."""
        files = self._open()
        try:
            hidden = f"{self._path}/.{name}.part"
            files.pipe_file(hidden, content)
            files.mv(hidden, f"{self._path}/{name}")
        finally:
            if isinstance(files, SFTPFileSystem):
                files.client.close()

    def replace(self, name: str, file: Path) -> None:
        """Put a file in the place of the one of that name, which is kept as `previous-NAME`. Raises as `put` does."""
        files = self._open()
        hidden, kept, target = (f"{self._path}/{one}" for one in (f".{name}.part", f"previous-{name}", name))
        try:
            files.put_file(str(file), hidden)
            if files.exists(target):
                # A server copies nothing, so by SFTP the name is free for the time between two renames.
                (files.mv if isinstance(files, SFTPFileSystem) else files.cp_file)(target, kept)
            files.mv(hidden, target)
        finally:
            if isinstance(files, SFTPFileSystem):
                files.client.close()

    def _open(self) -> AbstractFileSystem:
        if self._parts.scheme != "sftp":
            return LocalFileSystem(auto_mkdir=False)
        return _PinnedSftp(
            self._parts.hostname,
            port=self._parts.port or _PORT,
            username=self._parts.username,
            password=self._password and self._password.get_secret_value(),
            pkey=self._private_key and _loaded(self._private_key.get_secret_value()),
            pinned=self._host_key,
        )


def carried(put: Callable[[], None], what: str, setting: str) -> Outcome:
    """What became of a file that `put` writes into a folder. `what` and `setting` name it in words."""
    try:
        put()
    except (paramiko.AuthenticationException, paramiko.BadHostKeyException) as fault:
        return Stopped(f"{what}: {redact(str(fault))}", f"Check host_key, user and password under {setting}.")
    except (PermissionError, FileNotFoundError) as fault:
        return Stopped(f"{what}: {redact(str(fault))}", "Create the folder, and let us write into it.")
    except (OSError, EOFError, paramiko.SSHException) as fault:
        return Later(f"{what}: {redact(str(fault)) or type(fault).__name__}", 1.0, counts_as_failure=True)
    return Answered({})


class _PinnedSftp(SFTPFileSystem):
    """SFTP to a server whose key we know; fsspec's own would trust whoever answers first."""

    cachable = False
    protocol = "pinned-sftp"

    def _connect(self) -> None:
        known = dict(self.ssh_kwargs)
        key, port = known.pop("pinned"), known["port"]
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        name = self.host if port == _PORT else f"[{self.host}]:{port}"
        self.client.get_host_keys().add(name, key.get_name(), key)
        timeouts = dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), _CONNECT_SECONDS)
        self.client.connect(self.host, allow_agent=False, look_for_keys=False, **timeouts, **known)
        self.ftp = self.client.open_sftp()
        if (channel := self.ftp.get_channel()) is not None:
            channel.settimeout(_CONNECT_SECONDS)


def _public(line: str) -> paramiko.PKey:
    """The public key of a line such as `ssh-ed25519 AAAA… comment`."""
    try:
        kind, encoded, *_ = line.split()
        return paramiko.PKey.from_type_string(kind, base64.b64decode(encoded, validate=True))
    except (ValueError, paramiko.SSHException, UnknownKeyType):
        raise ValueError("host_key must be a public key such as `ssh-ed25519 AAAA…`") from None


def _loaded(pem: str) -> paramiko.PKey:
    """The private key of any kind that paramiko knows."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(pem))
        except paramiko.SSHException:
            continue
    raise ValueError("the private key is of no kind that is known here (Ed25519, ECDSA, RSA; PEM)")
