"""One deployment as its launcher knows it: what its file says, what was applied since, and what a change would do."""

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondlook.cluster import Application
from secondlook.deployment_file import load
from secondlook.errors import ConfigRefused
from secondlook.exposure import check_exposure
from secondlook.rollout import changed_keys, split

if TYPE_CHECKING:
    from router.config import AppArgs
    from router.policy import Policy
    from router.policy_history import Action, Applied

logger = logging.getLogger(__name__)
BUILDER = "router.app:build_app"


@dataclass(frozen=True, slots=True)
class Change:
    """A configuration to go over to. `rolls` are the keys that replace replicas, `in_place` those that do not."""

    args: "AppArgs"
    application: Application
    in_place: tuple[str, ...]
    rolls: tuple[str, ...]
    action: "Action"
    note: str = ""


class Deployment:
    """The configuration in force, and the ways to another."""

    def __init__(self, file: Path, args: "AppArgs", port: int) -> None:
        self._file = file
        self._file_version = args.policy.version
        self._port = port
        self._remembered: tuple[str, str] | None = None
        """The newest entry of the history: the policy's version, and that of what the file said by then."""
        self._args = self._with_applied_policy(args)

    @property
    def application(self) -> Application:
        """What is to be deployed."""
        return _application(self._args, self._port)

    def begin(self) -> None:
        """Remember what the service has begun with, unless that is what was applied last, beside the same file."""
        history = self._history()
        if history:
            self._remembered = (history[0].version, history[0].file_version)
        if history is not None and self._remembered != (self._args.policy.version, self._file_version):
            self._remember("start", self._args.policy, "")

    def reloaded(self) -> Change:
        """What the file says now; a policy that was applied since it last changed stays.

        Raises:
            ConfigRefused: The file is not valid.
        """
        args = load(self._file, host=self._args.server.host)
        self._file_version = args.policy.version
        return self._change(self._with_applied_policy(args), "reload")

    def requested(self, request: Mapping[str, Any]) -> Change:
        """What a command asks for: another policy, or a whole other configuration.

        Raises:
            ConfigRefused: It is not valid.
        """
        from pydantic import ValidationError  # noqa: PLC0415

        from router.config import AppArgs  # noqa: PLC0415
        from router.policy import Policy  # noqa: PLC0415

        try:
            if "policy" in request:
                args = self._args.model_copy(update={"policy": Policy.model_validate(request["policy"])})
            else:
                args = AppArgs.model_validate(request["config"])
                args = args.model_copy(update={"server": self._args.server})
        except (ValidationError, KeyError) as error:
            raise ConfigRefused("the request holds neither a valid policy nor a valid configuration") from error
        action: Action = "rollback" if request.get("action") == "rollback" else "apply"
        return self._change(args, action, str(request.get("note", ""))[:500])

    def applied(self, change: Change) -> None:
        """Take over a change that has been deployed, or that changes nothing but what the file says."""
        self._args = change.args
        is_new = self._remembered != (change.args.policy.version, self._file_version)
        if is_new or change.action == "rollback":
            self._remember(change.action, change.args.policy, change.note)

    def _change(self, args: "AppArgs", action: "Action", note: str = "") -> Change:
        if args.access != self._args.access:
            check_exposure(args)
        old, new = self._args.model_dump(mode="json"), args.model_dump(mode="json")
        application = _application(args, self._port)
        rolls = tuple(changed_keys(self.application.args, application.args))
        in_place = tuple(key for key in changed_keys(old, new) if key not in rolls)
        return Change(args, application, in_place, rolls, action, note)

    def _with_applied_policy(self, args: "AppArgs") -> "AppArgs":
        from router.policy_history import policy_at_start  # noqa: PLC0415

        try:
            policy = policy_at_start(args.policy, self._history(args) or [])
        except ValueError:
            logger.warning("the policy that was applied last can't be read by this version; the file's is in force")
            return args
        if policy.version != args.policy.version:
            logger.info("policy %s, which was applied since the file said %s", policy.version, args.policy.version)
        return args.model_copy(update={"policy": policy})

    def _history(self, args: "AppArgs | None" = None) -> "list[Applied] | None":
        """What was applied, newest first; None where the journal can't be read."""
        from cache.errors import JournalUnavailable  # noqa: PLC0415
        from router.policy_history import read_history  # noqa: PLC0415

        async def read() -> "list[Applied]":
            journal = await _open_journal(args or self._args)
            try:
                return await read_history(journal)
            finally:
                await journal.close()

        try:
            return asyncio.run(read())
        except (JournalUnavailable, ValueError) as error:
            logger.warning("the policy history can't be read: %s", error)
            return None

    def _remember(self, action: "Action", policy: "Policy", note: str) -> None:
        from cache.errors import JournalUnavailable  # noqa: PLC0415
        from router.policy_history import Applied, remember  # noqa: PLC0415

        applied = Applied(
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            action=action,
            version=policy.version,
            file_version=self._file_version,
            note=note,
            policy=policy.model_dump(mode="json"),
        )

        async def write() -> None:
            journal = await _open_journal(self._args)
            try:
                await remember(journal, applied)
            finally:
                await journal.close()

        try:
            asyncio.run(write())
            self._remembered = (applied.version, applied.file_version)
        except JournalUnavailable as error:
            logger.warning("policy %s is in force, but the history could not be written: %s", policy.version, error)


async def _open_journal(args: "AppArgs") -> Any:
    from cache.open import open_journal  # noqa: PLC0415
    from cache.scoped_journal import ScopedJournal  # noqa: PLC0415
    from router.redis_password import REDIS_PASSWORD_VARIABLE  # noqa: PLC0415

    password = os.environ.get(REDIS_PASSWORD_VARIABLE)
    return ScopedJournal(await open_journal(args.cache, redis_password=password), args.name)


def _application(args: "AppArgs", port: int) -> Application:
    rollout = split(args)
    return Application(
        BUILDER, {**rollout.args, "server": {**rollout.args["server"], "port": port}}, rollout.deployments
    )
