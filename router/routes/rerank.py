"""`POST /v1/rerank`: documents by how relevant they are to a query, as Cohere's and Jina's clients ask for it."""

from router.comparison import at_callers_place
from router.content_parts import as_item, as_items
from router.deadline import Deadline
from router.errors import ApiError
from router.http import Request, Response
from router.intake import Intake, is_hopeless, raise_first, read_traffic_class
from router.items import Item
from router.model_names import choose_tier
from router.outcome import Question
from router.ranking import rerank_response
from router.ranking_schemas import RerankRequest
from router.readings import Reading
from router.service import Service


class Rerank:
    """The route of one router."""

    def __init__(self, service: Service, intake: Intake) -> None:
        self._service = service
        self._intake = intake

    async def answer(self, request: Request) -> Response:
        """Find out which document is best for the query; the decision, and so the second look, is about the query."""
        service, intake, policy = self._service, self._intake, self._service.policy
        deadline = intake.deadline(request, policy.rule("rerank").deadline_s)
        body = await intake.body(request, deadline, RerankRequest)
        tier = choose_tier(body.model, body.tier, service.fast, service.accurate)
        query, documents = await self._read(request, body, deadline)
        if not documents.items:
            raise documents.errors[0]
        traffic = read_traffic_class(request)
        asked = Question((query,), documents.items, None, tier, documents.name, traffic, "rerank")
        question = asked.pinned_unless_crossed()
        try:
            outcome = await service.cascade.answer(question, policy, deadline)
        except ApiError as error:
            raise at_callers_place(error, documents.names("documents")) from error
        return rerank_response(question, outcome, documents, body, f"rerank-{request.request_id}")

    async def _read(self, request: Request, body: RerankRequest, deadline: Deadline) -> tuple[Item, Reading]:
        intake, raw_query, raw_documents = self._intake, [as_item(body.query)], as_items(body.documents)
        query, documents = intake.mixed(request, raw_query, "query"), intake.mixed(request, raw_documents, "documents")
        raise_first(query, even_unfetched=False, param="query")
        if is_hopeless(documents):
            raise documents.errors[0]
        query = await intake.fetch(request, query, raw_query, deadline, "query")
        raise_first(query, param="query")
        return query.items[0], await intake.fetch(request, documents, raw_documents, deadline, "documents")
