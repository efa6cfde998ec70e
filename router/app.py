"""The composition root: one Serve application from one configuration."""

from ray import serve

from router.config import AppArgs
from router.ingress import RouterReplica
from tiers.replica import tier_deployment
from tiers.scaling import scaling_options


def build_app(args: AppArgs) -> serve.Application:
    """Wire both tiers and the router together."""
    fast = tier_deployment("Fast", args.tiers.fast)
    accurate = tier_deployment("Accurate", args.tiers.accurate)
    config = args.router
    router = serve.deployment(
        name="Router",
        max_ongoing_requests=config.max_ongoing_requests,
        **scaling_options(config.autoscaling, config.resources),
        user_config=args.policy.model_dump(mode="json"),
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=1,
    )(RouterReplica)
    return router.bind(args, fast, accurate)
