"""Open models on the GPUs of a cluster: vLLM engines behind Ray Serve, asked as provider vllm."""

from __future__ import annotations

from collections.abc import Sequence

from mixtura.cluster.ray_cluster import (
    RayCluster,
    check_nothing_served,
    import_ray,
    import_serve,
    starting_application,
)
from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import install_command

APP_NAME = "mixtura-models"
HOST, PORT = "127.0.0.1", 8000
"""Where provider vllm is asked: on each machine, its own."""


def start_model_engines(cluster: RayCluster, models: Sequence[str]) -> None:
    """
    Engines for *models*, names of the Hugging Face hub, which end with the cluster or with
    ``stop_serving``. Raises ConfigError without GPUs, without vLLM, or where one cannot
    start.
    """
    if not models:
        raise ConfigError("--start-vllm: no model of the mixture has the provider vllm")
    if not cluster.gpus:
        raise ConfigError(
            "--start-vllm needs a GPU, but the cluster has none: leave it out, and set `base_url`"
            " to the address where the models are served"
        )
    try:
        llm = import_ray("ray.serve.llm")
    except ImportError:
        command = install_command("ray[llm]")
        raise ConfigError(
            f"--start-vllm needs vLLM on every machine with a GPU. To install it: {command}"
        ) from None
    check_nothing_served("--start-vllm cannot start its engines")
    serve = import_serve()
    most = max(1, int(cluster.gpus) // len(models))
    with starting_application(APP_NAME, "vLLM cannot serve the models"):
        configs = [
            llm.LLMConfig(
                model_loading_config={"model_id": name, "model_source": name},
                deployment_config={"autoscaling_config": {"min_replicas": 1, "max_replicas": most}},
            )
            for name in models
        ]
        serve.start(proxy_location="EveryNode", http_options={"host": HOST, "port": PORT})
        app = llm.build_openai_app({"llm_configs": configs})
        serve.run(app, name=APP_NAME, route_prefix="/")
