"""HTTP headers that describe the run of an answer: its id, cost and failures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixtura.server.apis.hosted_tools import left_out_header
from mixtura.server.job import Job
from mixtura.server.service import Service


def run_id_headers(job: Job) -> dict[str, str]:
    """The headers that name the run."""
    run = job.run_ids[0]
    return {
        "request-id": run,  # where Anthropic's client looks for it
        "x-request-id": run,  # where OpenAI's client looks for it
        "x-mixtura-run": run,
    }


def run_headers(job: Job, summary: Mapping[str, Any]) -> dict[str, str]:
    """Headers of a response; *summary*: its ``mixtura`` object."""
    cost = summary["cost_usd"]
    return {
        **run_id_headers(job),
        "x-mixtura-degraded": "true" if summary["degraded"] else "false",
        "x-mixtura-cost-usd": "unknown" if cost is None else f"{cost:.8f}",
        "x-mixtura-failures": str(len(summary["failures"])),
        **left_out_header(job.call.toolbox.left_out),
    }


def failure_headers(service: Service, job: Job | None) -> Mapping[str, str]:
    """Headers of a response that failed; none when no run had begun."""
    if job is None or not job.recorders:
        return {}
    return run_headers(job, service.run_summary(job))
