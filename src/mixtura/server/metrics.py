"""The metrics for Prometheus: requests, runs, tokens, dollars, failures."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram
from prometheus_client import generate_latest as _written
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mixtura.billing.price import Pricer
from mixtura.engine.trace import Trace
from mixtura.server.fair_queue import FairQueue
from mixtura.storage.write_queue import StoreWriter

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds, doubling: from one small model's token to a slow mixture's answer.
LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)


class _QueueCollector:
    """How many run and wait, read when the metrics are collected."""

    def __init__(self, queue: FairQueue) -> None:
        self._queue = queue

    def collect(self) -> list[GaugeMetricFamily]:
        inside, waiting = self._queue.inside, self._queue.waiting_count
        return [
            GaugeMetricFamily("mixtura_runs_in_flight", "Runs under way", value=inside),
            GaugeMetricFamily("mixtura_runs_waiting", "Runs that wait for a turn", value=waiting),
        ]


class _WriterCollector:
    """Records that wait to be stored or were dropped, read when the metrics are collected."""

    def __init__(self, what: str, writer: StoreWriter) -> None:
        self._what = what
        self._writer = writer

    def collect(self) -> list[Metric]:
        what = self._what
        help_text = f"{what.capitalize()}s that were answered and not kept"
        dropped = CounterMetricFamily(f"mixtura_{what}s_dropped", help_text, labels=["reason"])
        for reason, number in self._writer.dropped.items():
            dropped.add_metric([reason], number)
        waiting, size = self._writer.waiting_count, self._writer.bytes
        help_text = f"{what.capitalize()}s that wait to be kept"
        return [
            dropped,
            GaugeMetricFamily(f"mixtura_{what}s_to_write", help_text, value=waiting),
            GaugeMetricFamily(f"mixtura_{what}_bytes_to_write", "Bytes of those", value=size),
        ]


@dataclass(slots=True)
class BatchCounts:
    """Batches of this process: those *running*, how others *ended*, *rows* that are over."""

    running: int = 0
    ended: Counts[str] = field(default_factory=Counts[str])
    rows: int = 0
    dollars: float = 0.0
    """Of calls whose price is known."""


class _BatchCollector:
    """The batches of this process, read when the metrics are collected."""

    def __init__(self, counts: BatchCounts) -> None:
        self._counts = counts

    def collect(self) -> list[Metric]:
        now = self._counts
        ended = CounterMetricFamily("mixtura_batches", "Batches that are over", labels=["status"])
        for status, number in now.ended.items():
            ended.add_metric([status], number)
        dollars = "Dollars of batches, where the price is known"
        return [
            GaugeMetricFamily("mixtura_batches_in_progress", "Batches under way", now.running),
            ended,
            CounterMetricFamily("mixtura_batch_rows", "Rows of batches that are over", now.rows),
            CounterMetricFamily("mixtura_batch_cost_usd", dollars, now.dollars),
        ]


class Metrics:
    """The metrics of a server, or of one client of it, in a registry of their own."""

    def __init__(
        self,
        queue: FairQueue | None = None,
        writers: Mapping[str, StoreWriter] | None = None,
        batches: BatchCounts | None = None,
    ) -> None:
        """
        *queue*, *writers* (by what they write): also report how many run, wait and are stored,
        of all clients. *batches*: those of this process.
        """
        # Not the library's global one: several servers may run in one process.
        self._registry = own = CollectorRegistry()
        if queue:
            own.register(_QueueCollector(queue))  # pyright: ignore[reportArgumentType]
        for what, writer in (writers or {}).items():
            own.register(_WriterCollector(what, writer))  # pyright: ignore[reportArgumentType]
        if batches:
            own.register(_BatchCollector(batches))  # pyright: ignore[reportArgumentType]
        self._requests = Counter(
            "mixtura_requests", "Requests answered", ("path", "status"), registry=own
        )
        self._runs = Counter("mixtura_runs", "Runs", ("model", "outcome"), registry=own)
        self._tokens = Counter("mixtura_tokens", "Tokens", ("model", "kind"), registry=own)
        self._dollars = Counter(
            "mixtura_cost_usd", "Dollars, where the price is known", ("model",), registry=own
        )
        self._failures = Counter(
            "mixtura_failures", "Members that did not answer", ("model", "error"), registry=own
        )
        self._seconds = Histogram(
            "mixtura_run_seconds", "From the request to the whole answer", ("model",),
            buckets=LATENCY_BUCKETS, registry=own,
        )  # fmt: skip
        self._first = Histogram(
            "mixtura_first_token_seconds", "From the request to the answer's first token",
            ("model",), buckets=LATENCY_BUCKETS, registry=own,
        )  # fmt: skip

    def count_response(self, path: str, status: int) -> None:
        """Count the response to any request."""
        self._requests.labels(path, status).inc()

    def record_run(
        self,
        model: str,
        trace: Trace,
        outcome: str,
        pricer: Pricer,
        label: Callable[[str], str],
    ) -> None:
        """Count a run that is over; *label*: the name of a member here, never a client's words."""
        self._runs.labels(model, outcome).inc()
        self._seconds.labels(model).observe(trace.elapsed)
        for call in trace.leaf_calls():
            if call.error is not None:
                self._failures.labels(label(call.model), type(call.error).__name__).inc()
            if call.seat.role == "aggregator" and call.first_token is not None:
                self._first.labels(model).observe(call.first_token)
        for charge in trace.charges:
            self._tokens.labels(label(charge.model), "prompt").inc(charge.usage.prompt_tokens)
            self._tokens.labels(label(charge.model), "completion").inc(
                charge.usage.completion_tokens
            )
            dollars = pricer(charge.model, charge.usage)
            if dollars is not None:
                self._dollars.labels(label(charge.model)).inc(dollars)

    def render_text(self) -> bytes:
        """All metrics in the format of Prometheus."""
        return _written(self._registry)
