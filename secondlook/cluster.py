"""The private Ray head of one service and the Serve application on it: the one file that starts Ray."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secondlook.errors import ChangeFailed, ServiceLost, StartFailed
from secondlook.ray_failure import reason_of

logger = logging.getLogger(__name__)

APPLICATION = "secondlook"
NAMESPACE = "serve"
IDLE_POLL_S = 0.2
IN_FORCE_POLL_S = 0.05
REPLICA_TIMEOUT_S = 5.0
START_ATTEMPTS = 3
OBJECT_STORE_BYTES = 80 * 2**20
"""Requests travel by gRPC, not through the object store; Ray's minimum is 75 MiB."""
SHUTDOWN_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Application:
    """What to deploy: a builder's import path and the arguments it is called with."""

    import_path: str
    args: Mapping[str, Any] = field(default_factory=dict)
    deployments: Sequence[Mapping[str, Any]] = ()
    """What of its deployments is to be other than the builder says, each with its name: changed in place."""

    def document(self, logging_config: Mapping[str, Any]) -> dict[str, Any]:
        """The application as Serve's declarative interface takes it."""
        return {
            "name": APPLICATION,
            "route_prefix": "/",
            "import_path": self.import_path,
            "args": dict(self.args),
            "deployments": [dict(deployment) for deployment in self.deployments],
            # Replicas do not take over Serve's global setting. A record per request, which only a filter at the
            # file would drop, costs a twelfth of an empty request.
            "logging_config": dict(logging_config),
        }


class Cluster:
    """One Ray head with one Serve application; the environment has been set before."""

    def __init__(self, session_dir: Path, *, verbose: bool = False) -> None:
        self._session_dir = session_dir
        self._log_level = "INFO" if verbose else "ERROR"
        self._verbose = verbose
        self._client: Any = None

    def start(self, host: str, port: int) -> None:
        """Start the head, Serve's controller and the ingress on `host:port`.

        Raises:
            StartFailed: Ray did not come up.
        """
        self._start_head()
        from ray.serve._private.api import serve_start  # noqa: PLC0415 - after the environment is set

        try:
            self._client = serve_start(
                http_options={"host": host, "port": port},
                global_logging_config=self._logging(),
            )
        except Exception as error:
            raise StartFailed(f"Serve did not start: {reason_of(str(error))}") from error

    def _logging(self) -> dict[str, Any]:
        return {"enable_access_log": False, "log_level": self._log_level}

    def deploy(self, application: Application) -> None:
        """Hand the application to Serve's controller, declaratively.

        Deployed a second time with nothing but other `deployments`, it is changed in place; by `serve.run` it would
        restart its replicas.
        """
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

        document = application.document(self._logging())
        self._client.deploy_apps(ServeDeploySchema.model_validate({"applications": [document]}))

    def wait_until_in_force(self, application: Application, timeout_s: float) -> None:
        """Wait until every replica goes by what was deployed.

        Raises:
            ChangeFailed: Serve has given up, or it takes too long; what was deployed stays Serve's goal.
        """
        give_up_at = time.monotonic() + timeout_s
        wanted = {one["name"]: one.get("user_config") for one in application.deployments}
        while True:
            details = self._details()
            found = details.get("deployments", {})
            configs = {name: one["deployment_config"].get("user_config") for name, one in found.items()}
            is_told = all(configs.get(name) == config for name, config in wanted.items() if config is not None)
            if is_told and details.get("status") == "RUNNING":
                return
            if details.get("status") in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise ChangeFailed(f"not applied: {reason_of(str(details.get('message', '')))}")
            if time.monotonic() > give_up_at:
                raise ChangeFailed(f"not everywhere in force after {timeout_s:.0f} s; see `secondlook status`")
            time.sleep(IN_FORCE_POLL_S)

    def check_deploying(self) -> None:
        """Look at the deployment's progress.

        Raises:
            StartFailed: Serve has given up; the message is the application's own error.
        """
        status = self._client.get_serve_status(APPLICATION)
        if status.app_status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            messages = [one.message for one in status.deployment_statuses if one.status == "DEPLOY_FAILED"]
            raise StartFailed(reason_of("\n".join([status.app_status.message, *messages])))

    def check_alive(self) -> None:
        """See that the processes that nothing restarts are running.

        Raises:
            ServiceLost: One of them has ended.
        """
        import ray  # noqa: PLC0415

        node = ray._private.worker._global_node  # noqa: SLF001 - Ray has no public name for it
        dead = {kind for kind, _ in node.dead_processes()} & {"gcs_server", "raylet"} if node else {"raylet"}
        if dead:
            raise ServiceLost(f"Ray lost its {' and '.join(sorted(dead))}")

    def restart_controller(self) -> None:
        """Have Serve's controller begin anew where it was; replicas and ingress go on meanwhile."""
        import ray  # noqa: PLC0415

        ray.kill(self._client._controller, no_restart=False)  # noqa: SLF001 - Serve has no public name for it

    def wait_until_idle(self, timeout_s: float) -> None:
        """Wait until no replica has a request left.

        Serve stops all deployments at once when an application goes: a request that still needs a tier
        would find it gone.
        """
        give_up_at = time.monotonic() + timeout_s
        while in_flight := self._requests_in_flight():
            if time.monotonic() > give_up_at:
                logger.warning("gave up on %d request(s) in flight after %.0f s", in_flight, timeout_s)
                return
            time.sleep(IDLE_POLL_S)

    def stop(self) -> None:
        """Shut the application, Serve and Ray down, whatever state start-up left them in."""
        import ray  # noqa: PLC0415

        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.shutdown(timeout_s=SHUTDOWN_TIMEOUT_S)
        ray.shutdown()

    def _details(self) -> dict[str, Any]:
        """What Serve says of the application.

        Raises:
            ServiceLost: It says nothing, because Ray has lost a process: Serve's own call would wait for ever.
        """
        import ray  # noqa: PLC0415

        while True:
            asked = self._client._controller.get_serve_instance_details.remote()  # noqa: SLF001 - as Serve asks itself
            try:
                details: dict[str, Any] = ray.get(asked, timeout=REPLICA_TIMEOUT_S)["applications"]
            except ray.exceptions.GetTimeoutError:
                self.check_alive()
            else:
                found: dict[str, Any] = details.get(APPLICATION, {})
                return found

    def _requests_in_flight(self) -> int:
        import ray  # noqa: PLC0415

        details = self._details()
        replicas = [one for deployment in details.get("deployments", {}).values() for one in deployment["replicas"]]
        in_flight = 0
        for replica in replicas:
            # One that has just died has nothing in flight.
            with contextlib.suppress(ValueError, ray.exceptions.RayError):
                actor = ray.get_actor(replica["actor_name"], namespace=NAMESPACE)
                in_flight += ray.get(actor.get_num_ongoing_requests.remote(), timeout=REPLICA_TIMEOUT_S)
        return in_flight

    def _start_head(self) -> None:
        import ray  # noqa: PLC0415

        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                ray.init(
                    address="local",
                    namespace=NAMESPACE,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    log_to_driver=self._verbose,
                    logging_level=self._log_level,
                    _temp_dir=str(self._session_dir),
                    _node_ip_address="127.0.0.1",
                )
            except Exception as error:
                # Ray gives itself 30 s, which a busy machine can exceed.
                ray.shutdown()
                if attempt == START_ATTEMPTS:
                    raise StartFailed(f"Ray did not start: {reason_of(str(error))}") from error
                logger.warning("Ray did not start (%s); trying again", type(error).__name__)
                time.sleep(attempt)
            else:
                return
