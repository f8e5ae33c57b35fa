"""TLS to upstreams: whom we trust, and the certificate with which we say who we are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mixtura.core.arguments import check_kind
from mixtura.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """
    A certificate for servers that ask for one, in a PEM file, with its key.

    The key may stand in the same file: *key* is None then. Raises ConfigError, in the names of
    the settings, for files that hold no such pair.
    """

    certificate: Path
    key: Path | None = None

    def __post_init__(self) -> None:
        self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let *context* show the certificate. Raises ConfigError."""
        for setting, file in (("client_certificate", self.certificate), ("client_key", self.key)):
            if file is not None:
                _check_readable(setting, file)
        setting = "client_certificate" if self.key is None else "client_key"

        def refuse_locked_key() -> str:
            said = (
                f"{setting}: the key is protected by a passphrase, which Mixtura does not ask for"
            )
            raise ConfigError(
                f"{said} (to remove it: openssl pkey -in FILE -out OPEN)", key=setting
            )

        try:
            context.load_cert_chain(self.certificate, self.key, refuse_locked_key)
        except ssl.SSLError as error:
            raise self._unusable_error(error) from None

    def _unusable_error(self, error: ssl.SSLError) -> ConfigError:
        if "MISMATCH" in (error.reason or ""):
            return ConfigError(
                "client_key: this is not the key of client_certificate", key="client_key"
            )
        if self.key is None:
            said = f"{self.certificate} has no certificate with its key in PEM form"
            return ConfigError(
                f"client_certificate: {said} (set client_key for a key in another file)",
                key="client_certificate",
            )
        said = f"{self.certificate} and {self.key} are not a certificate and a key in PEM form"
        return ConfigError(f"client_certificate: {said}", key="client_certificate")


def read_client_certificate(
    certificate: str | Path | None, key: str | Path | None
) -> ClientCertificate | None:
    """
    The certificate in these files; None for none. Raises ConfigError, and TypeError for no path.
    """
    for setting, file in (("client_certificate", certificate), ("client_key", key)):
        if file is not None:
            check_kind(setting, file, (str, Path), "the path of a file")
    if certificate is None:
        if key is not None:
            said = "client_key: its certificate is missing: set client_certificate, too"
            raise ConfigError(said, key="client_key")
        return None
    return ClientCertificate(Path(certificate), None if key is None else Path(key))


def create_tls_context(shown: ClientCertificate | None = None) -> ssl.SSLContext:
    """What a connection over TLS needs: the system's trust, HTTP/1.1, the certificate *shown*."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if shown is not None:
        shown.load_into(context)
    return context


class TlsContexts:
    """What connections over TLS need, made when one does: to servers, and to proxies."""

    def __init__(self, shown: ClientCertificate | None) -> None:
        self._shown = shown

    @cached_property
    def server(self) -> ssl.SSLContext:
        """Of servers, which are shown the client's certificate. Raises ConfigError."""
        return create_tls_context(self._shown)

    @cached_property
    def proxy(self) -> ssl.SSLContext:
        """Of proxies, which are not shown it."""
        return self.server if self._shown is None else create_tls_context()


def _check_readable(setting: str, file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        said = f"{setting}: {file} cannot be read: {error.strerror or error}"
        raise ConfigError(said, key=setting) from None
