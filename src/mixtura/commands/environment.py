"""What a program that answers a prompt sees of the environment: no key, and what it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mixtura.core.credentials import looks_like_key

RUN_VARIABLE = "MIXTURA_MEMBER_RUN"
"""Set for a program that answers as a member: who finds it set was started by one."""

_PASSED = re.compile(
    "(?i)PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|XDG_[A-Z_]+"
    "|SSL_CERT_(?:FILE|DIR)|NODE_EXTRA_CA_CERTS|(?:HTTPS?|ALL|NO)_PROXY"
    "|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|TEMP|TMP|USERPROFILE|USERNAME|APPDATA"
    "|LOCALAPPDATA|PROGRAMDATA|PROGRAMFILES(?:\\(X86\\))?"
)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH", re.IGNORECASE)
_LOGIN_IN_URL = re.compile(r"://[^/\s]*@")


def build_environment(
    environ: Mapping[str, str], passed: Iterable[str], run: str
) -> dict[str, str]:
    """
    The variables for a program: those that any needs, those in *passed*, and ``RUN_VARIABLE``
    with *run*. With a provider's API key it would bill by token, not by subscription; so what holds
    a secret is left out, also a proxy's login.
    """
    names = set(passed)
    kept = {
        name: value
        for name, value in environ.items()
        if (name in names or _PASSED.fullmatch(name)) and not _holds_secret(name, value)
    }
    return kept | {"TERM": "dumb", "NO_COLOR": "1", RUN_VARIABLE: run}


def is_secret_name(name: str) -> bool:
    """Whether a variable of that name holds a key, a token or a password."""
    return bool(_SECRET_NAME.search(name))


def _holds_secret(name: str, value: str) -> bool:
    return bool(is_secret_name(name) or _LOGIN_IN_URL.search(value) or looks_like_key(value))
