"""`POST /v1/search`: what fits a query in a precomputed collection."""

from router.content_parts import as_item
from router.http import Request, Response
from router.intake import Intake, raise_first
from router.ranking_schemas import SearchRequest
from router.routes.listings import unknown_collection
from router.service import Service


class Search:
    """The route of one router."""

    def __init__(self, service: Service, intake: Intake) -> None:
        self._service = service
        self._intake = intake

    async def answer(self, request: Request) -> Response:
        """Search a collection; there is none yet."""
        intake = self._intake
        deadline = intake.deadline(request, self._service.policy.rule("search").deadline_s)
        body = await intake.body(request, deadline, SearchRequest)
        raise_first(intake.mixed(request, [as_item(body.query)], "query"), even_unfetched=False, param="query")
        raise unknown_collection(body.collection)
