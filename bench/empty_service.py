"""The empty application as a Serve application: deployed as the router is, without doing anything."""

from typing import Any

from ray import serve

from bench.empty_app import application


@serve.ingress()
class EmptyReplica:
    """Answers every request with `{}`."""

    async def __serve_build_asgi_app__(self) -> Any:
        """Return the application."""
        return application

    async def check_health(self) -> None:
        """Be checked as the router is."""


def build_app(args: dict[str, Any]) -> serve.Application:
    """Deploy as many replicas as `args` says, with the router's own options."""
    replicas = args["replicas"]
    deployment = serve.deployment(
        name="Empty",
        max_ongoing_requests=2000,
        autoscaling_config={"min_replicas": replicas, "max_replicas": replicas, "target_ongoing_requests": 100},
        ray_actor_options={"num_cpus": 0.2},
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=20,
    )(EmptyReplica)
    return deployment.bind()
