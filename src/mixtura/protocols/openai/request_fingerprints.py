"""Fingerprints of requests: the same request has the same one on any machine."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from mixtura.core.types import Request
from mixtura.protocols.openai.request import request_json


def request_fingerprint(request: Request, model: str) -> str:
    """The fingerprint of a request to *model*, its draw included: 40 hexadecimal digits."""
    body = request_json(request, model)
    return body_fingerprint({**body, **request.extra, "draw": request.draw})


def body_fingerprint(body: Mapping[str, Any]) -> str:
    """The fingerprint of a request body that has its model and draw in it."""
    # Clients write the same fields in any order.
    canonical = msgspec.json.encode(dict(body), order="deterministic")
    return blake2b(canonical, digest_size=20).hexdigest()
