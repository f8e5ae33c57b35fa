"""Words for a connection that could not be made, and for one that broke."""

from __future__ import annotations

import os
import re
import socket
import ssl

from mixtura.core.errors import RejectedError, TimedOutError, UnavailableError
from mixtura.transport.address import Origin
from mixtura.transport.socket_connect import describe_connect_error

BROKE_OFF = "the connection broke before the end of the answer"

# The words of others than `socket_connect` name every address that was tried, as a tuple.
_CONNECT_FAILED = re.compile(r"\[Errno (\d+)\] Connect call failed")
_UNKNOWN_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_ALERTS = {
    "CERTIFICATE_REQUIRED": "the server requires a client certificate",
    "HANDSHAKE_FAILURE": "the server refused the handshake; it may need a client certificate",
}
"""What a server says that was shown no certificate, by TLS 1.3 and before."""


def no_connection_error(origin: Origin, error: Exception) -> UnavailableError:
    """The error for a server, or its proxy, that cannot be reached."""
    to = origin.host_and_port
    if origin.proxy is not None:
        to = f"{to} through the proxy {origin.proxy.host_and_port}"
    return UnavailableError(f"no connection to {to} ({_connect_error_text(error)})")


def connect_timeout_error(seconds: float | None) -> TimedOutError:
    """The error for a connection that was not there in time."""
    return TimedOutError(f"no connection within {seconds} s (timed out)")


def proxy_refusal_error(origin: Origin, status: int) -> RejectedError | UnavailableError:
    """The error for a proxy that does not connect to the server."""
    error = RejectedError if status // 100 == 4 else UnavailableError
    return error(f"the proxy refused to connect to {origin.host_and_port} (HTTP {status})")


def broken_connection_error(error: Exception | None, *, midway: bool) -> UnavailableError:
    """The error for a connection that broke with *error*, or ended; *midway* in an answer."""
    if midway:
        return UnavailableError(BROKE_OFF)
    if error is None:
        return UnavailableError("the connection broke: the server closed it")
    return UnavailableError(f"the connection broke: {describe_network_error(error)}")


def _connect_error_text(error: Exception) -> str:
    """What went wrong on the way to a server, in its own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if numbers := _CONNECT_FAILED.findall(str(error)):
        return ", ".join(dict.fromkeys(os.strerror(int(number)) for number in numbers))
    return describe_network_error(error)


def describe_network_error(error: Exception) -> str:
    """Why a connection failed, in words without an error's number or class."""
    if isinstance(error, ssl.SSLError):
        for alert, meaning in _ALERTS.items():
            if alert in (error.reason or ""):
                return f"{meaning} ({error.reason})"
        if "WRONG_VERSION_NUMBER" in (error.reason or ""):
            return "TLS: the server does not use it on this port; is it http:// and not https://?"
        # its number is none of the system's
        return f"TLS: {error.reason or error.strerror or 'the handshake failed'}"
    if isinstance(error, socket.gaierror):
        return (
            "host not found"
            if error.errno in _UNKNOWN_HOST
            else f"host not found: {error.strerror}"
        )
    if isinstance(error, UnicodeError):
        return "not a valid host name"
    return describe_connect_error(error)
