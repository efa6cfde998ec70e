"""A Serve application without models, for tests of the launcher alone (tests/toy_launcher.py runs it)."""

import asyncio

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

api = FastAPI()


@serve.deployment(max_constructor_retry_count=1, ray_actor_options={"num_cpus": 0.1}, graceful_shutdown_timeout_s=10)
@serve.ingress(api)
class Toy:
    """An ingress that answers at once, or as late as it is asked to."""

    def __init__(self, reason: str) -> None:
        if reason:
            raise ValueError(reason)

    @api.get("/readyz")
    async def ready(self) -> str:
        """Say so."""
        return "ready"

    @api.get("/sleep/{seconds}")
    async def sleep(self, seconds: float) -> str:
        """Answer after some seconds."""
        await asyncio.sleep(seconds)
        return "slept"


def build_app(args: dict[str, str]) -> Application:
    """Bind the ingress; given a reason, its replica can't start."""
    return Toy.bind(args.get("reason", ""))  # type: ignore[attr-defined]  # a class until decorated
