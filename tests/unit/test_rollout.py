"""What of a deployment file Serve changes in place, and what it would replace replicas for."""

from typing import Any

import pytest

from router.config import AppArgs
from secondlook.deployment_file import DEFAULT_CONFIG, load
from secondlook.rollout import changed_keys, split


@pytest.fixture(scope="module")
def args() -> AppArgs:
    """The quick start's configuration."""
    return load(DEFAULT_CONFIG)


def changed(args: AppArgs, path: str, value: Any) -> AppArgs:
    """The same configuration with one key set."""
    document = args.model_dump(mode="json")
    place = document
    *parents, key = path.split(".")
    for parent in parents:
        place = place[parent]
    assert key in place
    place[key] = value
    return AppArgs.model_validate(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("policy.threshold", 9.0),
        ("tiers.fast.max_ongoing_requests", 3),
        ("tiers.accurate.max_queued_requests", 3),
        ("tiers.accurate.graceful_shutdown_s", 3),
        ("tiers.fast.health.period_s", 3),
        ("tiers.fast.health.timeout_s", 3),
        ("tiers.fast.autoscaling.max_replicas", 3),
        ("tiers.accurate.autoscaling.look_back_s", 3),
        ("router.max_ongoing_requests", 3),
        ("router.autoscaling.downscale_delay_s", 3),
    ],
)
def test_what_serve_can_change_in_place_is_no_argument_of_the_builder(args: AppArgs, path: str, value: Any) -> None:
    """The arguments stay equal, so that no replica is replaced; an override differs."""
    before, after = split(args), split(changed(args, path, value))

    assert before.args == after.args
    assert before.deployments != after.deployments


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tiers.fast.model.threads", 3),
        ("tiers.fast.autoscaling.max_replicas_per_node", 3),
        ("tiers.accurate.health.max_run_s", 3),
        ("tiers.fast.resources.num_cpus", 3),
        ("cache.dtype", "int8"),
        ("limits.texts", 3),
    ],
)
def test_everything_else_replaces_replicas_and_is_named(args: AppArgs, path: str, value: Any) -> None:
    """By its dotted key."""
    before, after = split(args), split(changed(args, path, value))

    assert list(changed_keys(before.args, after.args)) == [path]


def test_arguments_and_overrides_are_the_whole_configuration(args: AppArgs) -> None:
    """Nothing is lost on the way: the builder's configuration differs only in what the overrides say."""
    rollout = split(args)
    rebuilt = AppArgs.model_validate(rollout.args).model_dump(mode="json")

    names = [deployment["name"] for deployment in rollout.deployments]
    differing = {key.split(".")[0] for key in changed_keys(rebuilt, args.model_dump(mode="json"))}
    assert names == ["Fast", "Accurate", "Router"]
    assert differing <= {"policy", "tiers", "router"}
    assert rollout.deployments[-1]["user_config"] == args.policy.model_dump(mode="json")


def test_keys_that_came_or_went_have_changed() -> None:
    """However deep."""
    before: dict[str, Any] = {"a": 1, "b": {"c": 1, "d": 2}}
    after: dict[str, Any] = {"b": {"c": 3, "e": 2}, "f": None}

    assert list(changed_keys(before, after)) == ["a", "b.c", "b.d", "b.e"]
