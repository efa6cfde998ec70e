"""`POST /v1/score`: the cosines of pairs, as vLLM's clients ask for them."""

import asyncio
import time
from collections.abc import Callable

from router.comparison import at_callers_place
from router.content_parts import as_items
from router.deadline import Deadline
from router.errors import ApiError, InvalidRequest
from router.http import Request, Response
from router.intake import Intake, is_hopeless, read_traffic_class
from router.model_names import choose_tier
from router.outcome import Outcome
from router.pairs import Scoring, check_lengths, pair_up, scorings
from router.policy_in_force import PolicyInForce
from router.ranking_schemas import ScoreRequest
from router.readings import Reading
from router.scores import Scored, score_response
from router.service import Service

QUERIES = ("queries", "text_1", "data_1")
DOCUMENTS = ("documents", "items", "text_2", "data_2")
# Questions that are asked together; between them the event loop gets round to other requests.
AT_ONCE = 64


class Score:
    """The route of one router."""

    def __init__(self, service: Service, intake: Intake, wall_clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._intake = intake
        self._wall_clock = wall_clock

    async def answer(self, request: Request) -> Response:
        """Score every pair; where there is a threshold, through the cascade."""
        service, intake, policy = self._service, self._intake, self._service.policy
        deadline = intake.deadline(request, policy.rule("score").deadline_s)
        body = await intake.body(request, deadline, ScoreRequest)
        tier = choose_tier(body.model, body.tier, service.fast, service.accurate)
        names = (_name_given(body, QUERIES), _name_given(body, DOCUMENTS))
        queries, documents = await self._read(request, body, names, deadline)
        pairs, errors = pair_up(queries, documents, names)
        asked = scorings(pairs, body.threshold, tier, read_traffic_class(request))
        scored: list[Scored] = []
        for first in range(0, len(asked), AT_ONCE):
            async with asyncio.TaskGroup() as group:
                some = asked[first : first + AT_ONCE]
                tasks = [group.create_task(self._score(scoring, policy, deadline)) for scoring in some]
            scored += [task.result() for task in tasks]
        return score_response(scored, errors, f"score-{request.request_id}", int(self._wall_clock()))

    async def _read(
        self, request: Request, body: ScoreRequest, names: tuple[str, str], deadline: Deadline
    ) -> tuple[Reading, Reading]:
        raw = [as_items(getattr(body, name)) for name in names]
        queries, documents = (self._intake.mixed(request, one, name) for one, name in zip(raw, names, strict=True))
        check_lengths(queries, documents, names)
        for reading in (queries, documents):
            if is_hopeless(reading):
                raise reading.errors[0]
        return (
            await self._intake.fetch(request, queries, raw[0], deadline, names[0]),
            await self._intake.fetch(request, documents, raw[1], deadline, names[1]),
        )

    async def _score(self, scoring: Scoring, policy: PolicyInForce, deadline: Deadline) -> Scored:
        """What the cascade says of one question; its error where it could not be asked."""
        result: Outcome | ApiError
        try:
            result = await self._service.cascade.answer(scoring.question, policy, deadline)
        except ApiError as error:
            # Without its traceback, which keeps this frame, which keeps the error.
            result = at_callers_place(error.with_traceback(None), [scoring.pairs[0].query_name])
        return Scored(scoring, result)


def _name_given(body: ScoreRequest, names: tuple[str, ...]) -> str:
    """The one of several names under which a list was given."""
    given = [name for name in names if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidRequest(f"{names[0]}: expected once, under one of the names {', '.join(names)}", names[0])
    return given[0]
