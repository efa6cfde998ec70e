"""A tier's replicas through a Ray Serve handle, its faults turned into ours."""

import asyncio
from typing import Any

import grpc
from ray import exceptions as ray_errors
from ray.serve import exceptions as serve_errors
from ray.serve.handle import DeploymentHandle

from router.tier_calls import TierShed, TierUnreachable
from tiers.errors import ReplicaOverloaded, TierError
from tiers.messages import EncodeCall, EncodeReply, ModelDescription


class ServeTierHandle:
    """One tier over Serve: gRPC transport, plain pickle, our own time-outs."""

    def __init__(self, handle: DeploymentHandle) -> None:
        # By value over gRPC a call costs a third of the default actor transport's.
        self._handle = handle.options(
            _by_reference=False, request_serialization="pickle", response_serialization="pickle"
        )

    async def encode(self, call: EncodeCall, timeout_s: float) -> EncodeReply:
        """Embed a call's items; see `TierHandle`."""
        reply: EncodeReply = await self._call("encode", timeout_s, call)
        return reply

    async def describe(self, timeout_s: float) -> ModelDescription:
        """Describe the tier's model; see `TierHandle`."""
        description: ModelDescription = await self._call("describe", timeout_s)
        return description

    async def _call(self, method: str, timeout_s: float, *arguments: object) -> Any:
        try:
            return await asyncio.wait_for(getattr(self._handle, method).remote(*arguments), timeout_s)
        except (serve_errors.BackPressureError, ReplicaOverloaded) as error:
            raise TierShed from error
        except (
            ray_errors.RayActorError,
            ray_errors.WorkerCrashedError,
            serve_errors.DeploymentUnavailableError,
            grpc.RpcError,
            TierError,
        ) as error:
            raise TierUnreachable from error
        except ray_errors.RayTaskError as error:
            if isinstance(error.cause, ReplicaOverloaded):
                raise TierShed from error
            raise
