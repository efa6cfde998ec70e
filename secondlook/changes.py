"""Changes of a running service: those asked for by a command, and those that its file makes on SIGHUP."""

import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from secondlook.cluster import Application, Cluster
from secondlook.control_socket import Asked
from secondlook.deployment import Change
from secondlook.errors import ChangeFailed, SecondlookError

logger = logging.getLogger(__name__)
IN_FORCE_S = 60.0


class Deployable(Protocol):
    """What a launcher runs, and how it becomes something else."""

    @property
    def application(self) -> Application:
        """What is to be deployed."""
        ...

    def begin(self) -> None:
        """Take notice that the service is ready."""
        ...

    def reloaded(self) -> Change | None:
        """What its source says now, None where it has none; raises SecondlookError where that is not valid."""
        ...

    def requested(self, request: Mapping[str, Any]) -> Change:
        """What a command asks for; raises SecondlookError where that is not valid."""
        ...

    def applied(self, change: Change) -> None:
        """Take over a change that has been deployed, or that changes nothing but what the source says."""
        ...


class FixedApplication:
    """An application that stays what it is."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def begin(self) -> None:
        """Nothing is kept."""

    def reloaded(self) -> None:
        """It has no source."""

    def requested(self, request: Mapping[str, Any]) -> Change:
        """Refuse whatever is asked for."""
        raise ChangeFailed(f"this service can't be changed while it runs: {sorted(request)}")

    def applied(self, change: Change) -> None:
        """Never called."""


class Changes:
    """Puts changes in force: what is valid, as a whole, in place unless replicas may be replaced."""

    def __init__(self, cluster: Cluster, deployable: Deployable) -> None:
        self._cluster = cluster
        self._deployable = deployable

    def reload(self) -> None:
        """Apply in place what has changed at the source; what would replace replicas is refused whole.

        Whatever comes of it, the service goes on.
        """
        try:
            self._reload(self._deployable.reloaded())
        except SecondlookError as error:
            logger.warning("not applied: %s", error)

    def _reload(self, change: Change | None) -> None:
        if change is None:
            return
        if change.rolls:
            logger.warning(
                "not applied: these would replace replicas, restart the service or `secondlook policy apply "
                "--allow-roll`: %s",
                ", ".join(change.rolls),
            )
        elif change.application.deployments == self._deployable.application.deployments:
            self._deployable.applied(change)
            logger.info("nothing has changed")
        else:
            self._put_in_force(change)
            logger.info("applied in place")

    def answer(self, asked: Asked) -> None:
        """Do what a command asks for, or say what it would do."""
        try:
            asked.answer.put(self._answer(asked.request))
        except SecondlookError as error:
            asked.answer.put({"error": str(error)})
        except Exception:  # supervisor of the request: what goes wrong with a change must not end the service
            logger.exception("a change failed")
            asked.answer.put({"error": "the change failed; the service's log says why"})

    def _answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        change = self._deployable.requested(request)
        plan = {"version": change.args.policy.version, "in_place": change.in_place, "rolls": change.rolls}
        if request.get("op") == "plan":
            return plan
        if change.rolls and not request.get("allow_roll"):
            return {**plan, "error": f"these would replace replicas: {', '.join(change.rolls)}"}
        began = time.monotonic()
        self._put_in_force(change)
        logger.info("applied policy %s", change.args.policy.version)
        return {**plan, "in_force_after_s": round(time.monotonic() - began, 3)}

    def _put_in_force(self, change: Change) -> None:
        self._cluster.deploy(change.application)
        self._cluster.wait_until_in_force(change.application, IN_FORCE_S)
        self._deployable.applied(change)
