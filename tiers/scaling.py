"""What Ray Serve is told of a deployment's replicas: how many, where, and with what."""

from typing import Any

from ray.serve.config import AutoscalingConfig as ServeAutoscaling

from tiers.config import AutoscalingConfig, ResourcesConfig

# The load is looked at several times within the span that it is averaged over.
LOOKS = 5


def autoscaling_fields(scaling: AutoscalingConfig) -> dict[str, Any]:
    """Fields of Serve's autoscaling: all that can be changed while replicas run."""
    return {
        "min_replicas": scaling.min_replicas,
        "max_replicas": scaling.max_replicas,
        "target_ongoing_requests": scaling.target_ongoing_requests,
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
        "upscaling_factor": scaling.upscaling_factor,
        "downscaling_factor": scaling.downscaling_factor,
        "look_back_period_s": scaling.look_back_s,
        "metrics_interval_s": scaling.look_back_s / LOOKS,
    }


def scaling_options(scaling: AutoscalingConfig, resources: ResourcesConfig) -> dict[str, Any]:
    """Options of `serve.deployment` for one deployment's scaling and resources."""
    return {
        "autoscaling_config": ServeAutoscaling(**autoscaling_fields(scaling)),
        "ray_actor_options": {
            "num_cpus": resources.num_cpus,
            "num_gpus": resources.num_gpus,
            "resources": dict(resources.custom),
        },
        "max_replicas_per_node": scaling.max_replicas_per_node,
    }
