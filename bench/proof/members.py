"""The models of the proof: small, open, and to be had from PyPI."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from bench.proof.kept import KeptAnswers, KeptModel
from bench.proof.server import AwaitedServer

from mixtura import Local, MixturaError
from mixtura.models.openai import OpenAI
from mixtura.transport.address import parse_origin
from mixtura.transport.timeouts import CallTimeouts

_LONGEST_WAIT = 3600.0
"""Seconds that an answer may take: the machine may be busy with other things."""
_CLOCKS = CallTimeouts(
    connect=60.0, first_token=_LONGEST_WAIT, progress=_LONGEST_WAIT, total=_LONGEST_WAIT
)  # fmt: skip


class Member(NamedTuple):
    """A model of the proof."""

    name: str
    file: str
    sha256: str
    parameters: float
    """In billions, without the table of tokens; a token takes twice as many operations."""


LARGE = Member(
    "qwen2.5-coder-1.5b",
    "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    1.31,
)
SMALL = Member(
    "qwen2.5-coder-0.5b",
    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    0.36,
)
MEMBERS = {"large": LARGE, "small": SMALL}


def live_model(
    member: Member, source: str, answers: KeptAnswers, wait: float, threads: int = 1
) -> KeptModel:
    """
    A member that draws what is not kept yet: from its file in the folder *source*, or from a server
    at that address, which is waited for, *wait* seconds, where it loads or is away. Raises
    SystemExit where the file is not the one that is named here, or the address is none.
    """
    if source.startswith(("http:", "https:")):
        try:
            parse_origin(urlsplit(source))
        except (MixturaError, ValueError) as error:
            raise SystemExit(f"--large, --small: {error}") from None
        asked = OpenAI(member.name, source, timeouts=_CLOCKS)
        return KeptModel(member.name, answers, AwaitedServer(asked, source, wait))
    path = Path(source) / member.file
    if not path.exists():
        raise SystemExit(f"{path} is missing; docs/explanation/proof.md says where it is from")
    with path.open("rb") as file:
        if (found := hashlib.file_digest(file, "sha256").hexdigest()) != member.sha256:
            raise SystemExit(f"{path} has the SHA-256 {found}, not {member.sha256}")
    # No repeat penalty: programs repeat themselves, and the baseline must not be held down.
    local = Local(
        path, name=member.name, repeat_penalty=1.0, threads=threads, progress=_LONGEST_WAIT
    )  # fmt: skip
    return KeptModel(member.name, answers, local)


def kept_model(member: Member, answers: KeptAnswers) -> KeptModel:
    """A member that gives only what is kept."""
    return KeptModel(member.name, answers)
