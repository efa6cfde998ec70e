"""One replica of a tier, without Ray around it: calls in, vectors out, each item for itself."""

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pictures import picture
from tests.tiny_model import OpenClip, tiny_config, write_tiny_model
from tiers.config import BatchConfig, HealthConfig, TierConfig
from tiers.errors import ReplicaOverloaded, TierError
from tiers.health import check_free_memory
from tiers.messages import EncodeCall
from tiers.replica import TierReplica, tier_deployment

BUDGET_S = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model on disk."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def config(folder: Path) -> TierConfig:
    """A tier of the tiny model that may hold 40 items."""
    return TierConfig(
        model=tiny_config(folder), batch=BatchConfig(max_queued_items=40, max_images=8, preprocess_threads=2)
    )


@pytest.fixture
def replica(config: TierConfig) -> TierReplica:
    """A replica that has come up."""
    return TierReplica(config)


async def test_reply_is_open_clips_own_images_first(replica: TierReplica, folder: Path) -> None:
    """Rows stand in the call's order and are those of a direct call."""
    images, texts = [picture(seed) for seed in range(3)], ["a cat", "a star"]

    reply = await replica.encode(EncodeCall(tuple(images), tuple(texts), BUDGET_S))

    direct = OpenClip(folder, folder / "merges.txt.gz")
    expected = np.concatenate([direct.images(images), direct.texts(texts)])
    np.testing.assert_allclose((reply.matrix() * expected).sum(axis=1), 1.0, atol=1e-4)
    assert reply.token_counts == (4, 7)
    assert reply.failures == ()
    assert reply.revision == (await replica.describe()).revision


async def test_truncated_jpeg_fails_alone_among_31_good_ones(replica: TierReplica) -> None:
    """Its row is zero and its failure is listed; the others have unit vectors."""
    files = [picture(seed, "JPEG") for seed in range(32)]
    files[13] = files[13][: len(files[13]) // 2]

    reply = await replica.encode(EncodeCall(tuple(files), (), BUDGET_S))

    assert [(failure.index, failure.code) for failure in reply.failures] == [(13, "bad_image")]
    lengths = np.linalg.norm(reply.matrix(), axis=1)
    assert lengths[13] == 0
    np.testing.assert_allclose(np.delete(lengths, 13), 1.0, atol=1e-5)


async def test_bad_item_among_good_ones_of_both_kinds_fails_alone(replica: TierReplica) -> None:
    """It has a code of its own; indices count images first. A word of any length is a text like others."""
    call = EncodeCall((b"no picture", picture(1)), ("x" * 5000, "a star"), BUDGET_S)

    reply = await replica.encode(call)

    assert [(f.index, f.code) for f in reply.failures] == [(0, "unsupported_media")]
    assert (np.linalg.norm(reply.matrix(), axis=1) > 0).tolist() == [False, True, True, True]


async def test_calls_at_the_same_time_get_their_own_rows(replica: TierReplica) -> None:
    """Whatever is batched together is told apart again."""
    files = [picture(seed) for seed in range(6)]
    alone = [(await replica.encode(EncodeCall((data,), (), BUDGET_S))).matrix() for data in files]

    replies = await asyncio.gather(*(replica.encode(EncodeCall((data,), (), BUDGET_S)) for data in files))

    for reply, expected in zip(replies, alone, strict=True):
        np.testing.assert_allclose(reply.matrix(), expected, atol=1e-5)


async def test_call_over_the_bound_is_refused_and_nothing_of_it_begun(replica: TierReplica) -> None:
    """What is admitted already counts; afterwards there is room again."""
    async with replica._slot.permits:
        first = asyncio.create_task(replica.encode(EncodeCall((), ("a star",) * 30, BUDGET_S)))
        await asyncio.sleep(0)  # its items are counted before it waits for anything

        with pytest.raises(ReplicaOverloaded):
            await replica.encode(EncodeCall((), ("a circle",) * 11, BUDGET_S))
        admitted = replica.held_items
    await first

    assert admitted == 30
    assert replica.held_items == 0
    assert len((await replica.encode(EncodeCall((), ("a circle",) * 40, BUDGET_S))).matrix()) == 40


async def test_warm_up_has_its_share_of_the_places_and_room_for_one_call(replica: TierReplica) -> None:
    """A tenth of forty places, but never less than a call; live traffic finds the rest."""
    warm_up = EncodeCall((), ("a star",) * 10, BUDGET_S, "warm_up")
    async with replica._slot.permits:
        first = asyncio.create_task(replica.encode(warm_up))
        await asyncio.sleep(0)

        with pytest.raises(ReplicaOverloaded):
            await replica.encode(warm_up)
        live = asyncio.create_task(replica.encode(EncodeCall((), ("a circle",) * 30, BUDGET_S)))
        await asyncio.sleep(0)
        held = replica.held_items
    replies = await asyncio.gather(first, live)

    assert held == 40
    assert [len(reply.matrix()) for reply in replies] == [10, 30]


async def test_reply_says_what_its_items_would_take_alone(replica: TierReplica) -> None:
    """The time of a run, without the wait before it."""
    await replica.encode(EncodeCall((picture(1),), (), BUDGET_S))
    async with replica._slot.permits:
        call = asyncio.create_task(replica.encode(EncodeCall((picture(2),), (), BUDGET_S)))
        await asyncio.sleep(0.3)

    reply = await call

    assert reply.encode_ms > 300
    assert 0 < reply.service_ms < 300


async def test_call_whose_time_is_over_costs_nothing(replica: TierReplica) -> None:
    """Every item is expired, before it is decoded."""
    reply = await replica.encode(EncodeCall((b"never looked at",), ("a star",), 0.0))

    assert [failure.code for failure in reply.failures] == ["expired", "expired"]
    assert not reply.matrix().any()


async def test_cancelled_call_gives_its_place_back(replica: TierReplica) -> None:
    """A router that gave up leaves room for others."""
    async with replica._slot.permits:
        call = asyncio.create_task(replica.encode(EncodeCall((picture(1),), ("a star",), BUDGET_S)))
        await asyncio.sleep(0)
        before = replica.held_items

        call.cancel()
        await asyncio.wait([call])

    assert (before, replica.held_items) == (2, 0)
    assert len((await replica.encode(EncodeCall((), ("a circle",), BUDGET_S))).failures) == 0


async def test_healthy_replica_passes_its_check(replica: TierReplica) -> None:
    """Before the first call and after one."""
    await replica.check_health()
    await replica.encode(EncodeCall((), ("a star",), BUDGET_S))

    await replica.check_health()


async def test_replica_whose_loop_has_ended_is_unhealthy(replica: TierReplica) -> None:
    """Its calls fail at once, and Serve is told to replace it."""
    await replica.check_health()
    images, _ = replica._batchers()
    images.close()
    await asyncio.sleep(0)

    with pytest.raises(TierError, match="loop has ended"):
        await replica.check_health()
    with pytest.raises(TierError):
        await replica.encode(EncodeCall((picture(1),), (), BUDGET_S))


async def test_replica_that_hangs_in_a_run_is_unhealthy(replica: TierReplica) -> None:
    """A run that takes longer than allowed never ends by itself."""
    max_run_s = TierConfig.model_fields["health"].default.max_run_s
    replica._slot._since[0] = time.monotonic() - max_run_s + 1
    await replica.check_health()

    replica._slot._since[1] = time.monotonic() - max_run_s - 1

    with pytest.raises(TierError, match="too long"):
        await replica.check_health()


async def test_replica_whose_loop_stands_still_is_unhealthy(replica: TierReplica) -> None:
    """Items wait, and no batch is taken: the loop lives and does not move."""
    max_run_s = TierConfig.model_fields["health"].default.max_run_s
    _, texts = replica._batchers()
    async with replica._slot.permits:
        waiting = texts.submit(replica._encoder.prepare_text("a star"), time.monotonic() + BUDGET_S)
        await replica.check_health()
        texts._moved_at -= max_run_s + 1

        with pytest.raises(TierError, match="stands still"):
            await replica.check_health()
    await waiting
    await replica.check_health()


async def canary_fault(replica: TierReplica) -> str:
    """What the health check says, at the latest after a few canaries."""
    for _ in range(500):
        try:
            await replica.check_health()
        except TierError as error:
            return str(error)
        await asyncio.sleep(0.01)
    return ""


async def test_replica_whose_model_answers_other_than_at_first_is_unhealthy(config: TierConfig) -> None:
    """Weights that were damaged in memory still give unit vectors: only a known answer tells."""
    replica = TierReplica(config.model_copy(update={"health": HealthConfig(canary_period_s=0.02)}))
    await replica.check_health()
    await asyncio.sleep(0.1)
    await replica.check_health()

    with torch.no_grad():
        for weight in replica._encoder._model.visual.parameters():
            weight.mul_(-1.0)

    assert "drifted" in await canary_fault(replica)


async def test_replica_whose_model_fails_is_unhealthy(
    config: TierConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A device that has gone fails every run; the log says how."""
    replica = TierReplica(config.model_copy(update={"health": HealthConfig(canary_period_s=0.02)}))

    def fail(*_: object) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(replica._encoder, "encode_images", fail)

    assert "fails on the canary" in await canary_fault(replica)
    assert "device lost" in caplog.text


def test_device_without_free_memory_is_unhealthy() -> None:
    """The next batch might not fit; what has no memory of its own can't run out of it."""
    check_free_memory(None, 0.02)
    check_free_memory(0.5, 0.02)

    with pytest.raises(TierError, match=r"1\.0% of the device"):
        check_free_memory(0.01, 0.02)


def test_deployment_has_what_the_configuration_says(config: TierConfig) -> None:
    """Queue bounds, resources, scaling and health checks reach Serve."""
    changed = TierConfig.model_validate(
        {
            **config.model_dump(),
            "resources": {"num_cpus": 0.5, "custom": {"pool": 1}},
            "autoscaling": {
                "min_replicas": 2,
                "max_replicas": 5,
                "target_ongoing_requests": 3,
                "upscaling_factor": 2,
                "downscaling_factor": 0.25,
                "look_back_s": 10,
                "max_replicas_per_node": 4,
            },
            "health": {"period_s": 1.5, "timeout_s": 7},
            "max_ongoing_requests": 6,
            "max_queued_requests": 9,
            "graceful_shutdown_s": 4,
        }
    )

    deployment = tier_deployment("Fast", changed)._bound_deployment

    assert (deployment.name, deployment.max_ongoing_requests, deployment.max_queued_requests) == ("Fast", 6, 9)
    assert deployment.ray_actor_options is not None
    assert deployment.ray_actor_options["num_cpus"] == 0.5
    assert deployment.ray_actor_options["resources"] == {"pool": 1}
    settings = deployment._deployment_config
    assert (settings.health_check_period_s, settings.health_check_timeout_s) == (1.5, 7)
    assert settings.graceful_shutdown_timeout_s == 4
    assert settings.autoscaling_config is not None
    scaling = settings.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (2, 5, 3)
    assert (scaling.upscaling_factor, scaling.downscaling_factor, scaling.look_back_period_s) == (2, 0.25, 10)
    assert deployment._replica_config.max_replicas_per_node == 4
