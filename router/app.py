"""The composition root: one Serve application from one configuration."""

from ray import serve
from ray.serve.config import AutoscalingConfig

from router.config import AppArgs
from router.ingress import RouterReplica
from tiers.replica import tier_deployment


def build_app(args: AppArgs) -> serve.Application:
    """Wire both tiers and the router together."""
    fast = tier_deployment("Fast", args.tiers.fast)
    accurate = tier_deployment("Accurate", args.tiers.accurate)
    config = args.router
    router = serve.deployment(
        name="Router",
        max_ongoing_requests=config.max_ongoing_requests,
        autoscaling_config=AutoscalingConfig(
            min_replicas=config.autoscaling.min_replicas,
            max_replicas=config.autoscaling.max_replicas,
            target_ongoing_requests=config.autoscaling.target_ongoing_requests,
            upscale_delay_s=config.autoscaling.upscale_delay_s,
            downscale_delay_s=config.autoscaling.downscale_delay_s,
        ),
        ray_actor_options={
            "num_cpus": config.resources.num_cpus,
            "num_gpus": config.resources.num_gpus,
            "resources": dict(config.resources.custom),
        },
        user_config=args.policy.model_dump(mode="json"),
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=1,
    )(RouterReplica)
    return router.bind(args, fast, accurate)
