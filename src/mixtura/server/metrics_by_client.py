"""The metrics of the whole server, and separate ones for clients that may not see those."""

from __future__ import annotations

from starlette.types import Scope

from mixtura.billing.price import Pricer
from mixtura.engine.trace import Trace
from mixtura.server.access import CLIENT_SCOPE_KEY, ApiClient
from mixtura.server.job import Job
from mixtura.server.metrics import Metrics
from mixtura.server.model_choice import MixtureChooser
from mixtura.storage.run_record import State


class MetricsByClient:
    """*whole*: the metrics of the whole server; *chooser* names the models in the labels."""

    def __init__(self, whole: Metrics, chooser: MixtureChooser, pricer: Pricer) -> None:
        self._whole = whole
        self._chooser = chooser
        self._pricer = pricer
        self._own: dict[str, Metrics] = {}
        """By name, those of clients whose keys may only use some models."""

    def count_response(self, scope: Scope, path: str, status: int) -> None:
        """Count the response to any request; *path*: the path of its route."""
        for metrics in self._metrics_to_update(scope.get(CLIENT_SCOPE_KEY)):
            metrics.count_response(path, status)

    def record_run(self, job: Job, trace: Trace, state: State) -> None:
        """Count a run for the whole server, and for its client where that sees only its own."""
        label, price = self._chooser.metrics_label, self._pricer
        whole, *own = self._metrics_to_update(job.client)
        whole.record_run(job.choice.label, trace, state, price, label)
        for metrics in own:
            own_label = self._chooser.metrics_label_for(job.choice.label, job.client)

            # The client's key may not use every member: their names are not shown to it.
            def visible_label(name: str, own_label: str = own_label) -> str:
                return (
                    name if job.client.has_listed_model(name) and label(name) == name else own_label
                )

            metrics.record_run(own_label, trace, state, price, visible_label)

    def _metrics_to_update(self, client: ApiClient | None) -> list[Metrics]:
        """The whole server's metrics, and those of a client that may not see them."""
        if client is None or client.models is None:
            return [self._whole]
        return [self._whole, self.metrics_for(client)]

    def metrics_for(self, client: ApiClient) -> Metrics:
        """All metrics, or where *client* may only use some models, those of its own requests."""
        if client.models is None:
            return self._whole
        if client.name not in self._own:
            self._own[client.name] = Metrics()
        return self._own[client.name]
