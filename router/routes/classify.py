"""`POST /v1/classify`: which labels fit each image."""

from router.comparison import at_callers_place
from router.errors import ApiError, InvalidRequest
from router.http import Request, Response
from router.intake import Intake, read_traffic_class
from router.labels import classify_response
from router.outcome import Question
from router.ranking_schemas import ClassifyRequest
from router.routes.listings import unknown_collection
from router.service import Service


class Classify:
    """The route of one router."""

    def __init__(self, service: Service, intake: Intake) -> None:
        self._service = service
        self._intake = intake

    async def answer(self, request: Request) -> Response:
        """Choose among labels for every image, through the cascade."""
        service, intake, policy = self._service, self._intake, self._service.policy
        deadline = intake.deadline(request, policy.rule("classify").deadline_s)
        body = await intake.body(request, deadline, ClassifyRequest)
        images, labels = intake.images(request, body.input, "input"), intake.texts(request, _labels(body), "labels")
        if images.errors and labels.items:
            images = await intake.fetch(request, images, body.input, deadline, "input")
        if not images.items or not labels.items:
            errors = labels.errors if images.items else images.errors
            raise errors[min(errors)]
        traffic = read_traffic_class(request)
        question = Question(images.items, labels.items, None, body.tier, labels.name, traffic, "classify")
        try:
            outcome = await service.cascade.answer(question, policy, deadline)
        except ApiError as error:
            raise at_callers_place(error, labels.names("labels")) from error
        return classify_response(question, outcome, images, labels, body.top_k)


def _labels(body: ClassifyRequest) -> list[object]:
    if (body.labels is None) == (body.collection is None):
        raise InvalidRequest("labels: give either labels or a collection", "labels")
    if body.collection is not None:
        raise unknown_collection(body.collection)
    return body.labels or []
