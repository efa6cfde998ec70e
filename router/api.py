"""The HTTP API over raw ASGI: routes to handlers, errors to answers. It knows no Ray."""

import logging
import time
from collections.abc import Awaitable, Callable

from router.admin import AdminRoutes
from router.answers import AnsweredBy, embeddings_response, similarity_response
from router.comparison import at_callers_place
from router.deadline import Deadline
from router.embedder import Embedder, Embedding
from router.errors import (
    ApiError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    Unavailable,
)
from router.http import (
    Receive,
    Request,
    Response,
    Scope,
    Send,
    error_response,
    read_request,
    send_response,
)
from router.intake import Intake, raise_first, read_traffic_class
from router.items import Item
from router.model_names import find_tier
from router.openapi import openapi_document, reference_page
from router.outcome import Question
from router.routes.classify import Classify
from router.routes.listings import Listings
from router.routes.rerank import Rerank
from router.routes.score import Score
from router.routes.search import Search
from router.schemas import EmbeddingsRequest, SimilarityRequest
from router.service import Service
from router.shortening import shorten
from tiers.messages import TrafficClass

logger = logging.getLogger(__name__)
NAMED_ROUTES = ("/v1/models/{model}", "/v1/collections/{name}")
Handler = Callable[[Request], Awaitable[Response]]


class Api:
    """The ASGI application of one router replica."""

    def __init__(
        self, service: Service, clock: Callable[[], float] = time.monotonic, *, names_requests: bool = True
    ) -> None:
        self._service = service
        self._names_requests = names_requests
        self._clock = clock
        self._in_flight = 0
        self._intake = intake = Intake(service, clock)
        admin = AdminRoutes(service, clock, lambda: self._in_flight)
        listings = Listings(service)
        self._routes: dict[str, dict[str, Handler]] = {
            "/v1/similarity": {"POST": self._similarity},
            "/v1/embeddings": {"POST": self._embeddings},
            "/v1/classify": {"POST": Classify(service, intake).answer},
            "/v1/score": {"POST": Score(service, intake).answer},
            "/v1/rerank": {"POST": Rerank(service, intake).answer},
            "/v1/search": {"POST": Search(service, intake).answer},
            "/v1/models": {"GET": listings.models},
            "/v1/models/{model}": {"GET": listings.model},
            "/v1/collections": {"GET": listings.collections},
            "/v1/collections/{name}": {"GET": listings.collection},
            "/admin/status": {"GET": admin.status},
            "/admin/policy": {"GET": admin.policy},
            "/admin/policy/validate": {"POST": admin.validate},
            "/admin/policy/dry-run": {"POST": admin.dry_run},
            "/admin/policy/history": {"GET": admin.history},
            "/admin/audit": {"GET": admin.audit},
            "/healthz": {"GET": self._health},
            "/readyz": {"GET": self._ready},
            "/openapi.json": {"GET": self._openapi},
            "/docs": {"GET": self._reference},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        request = read_request(scope, receive, names_itself=self._names_requests)
        access = self._service.access
        response = await (self._answer(request) if access is None else access.answer(request, self._answer))
        await send_response(request, response, send)

    async def _answer(self, request: Request) -> Response:
        if self._in_flight >= self._service.max_in_flight and request.path.startswith("/v1/"):
            return error_response(Overloaded("the router is working on as much as it may", retry_after_s=1))
        self._in_flight += 1
        try:
            return await self._handler(request)(request)
        except ApiError as error:
            if error.status >= 500:
                logger.warning("request failed", extra={"request_id": request.request_id, "code": error.code})
            _let_go(error)
            return error_response(error)
        except Exception as error:  # supervisor of the request: the caller gets the fixed text, the log the rest
            logger.exception("request failed", extra={"request_id": request.request_id})
            _let_go(error)
            return error_response(InternalError())
        finally:
            self._in_flight -= 1

    def _handler(self, request: Request) -> Handler:
        methods = self._routes.get(request.path) or self._routes.get(_template(request.path))
        if methods is None:
            raise NotFound(f"no route {request.path[:200]}")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            refusal = MethodNotAllowed(f"use {', '.join(methods)}")
            refusal.headers["allow"] = ", ".join(methods)
            raise refusal
        return handler

    async def _similarity(self, request: Request) -> Response:
        service, policy, intake = self._service, self._service.policy, self._intake
        deadline = intake.deadline(request, policy.rule("similarity").deadline_s)
        body = await intake.body(request, deadline, SimilarityRequest)
        images, texts = intake.images(request, body.images, "images"), intake.texts(request, body.texts, "texts")
        if images.errors and texts.items:
            images = await intake.fetch(request, images, body.images, deadline, "images")
        if not images.items or not texts.items:
            errors = texts.errors if images.items else images.errors
            raise errors[min(errors)]
        traffic = read_traffic_class(request)
        question = Question(images.items, texts.items, body.threshold, body.tier, texts.name, traffic)
        try:
            outcome = await service.cascade.answer(question, policy, deadline)
        except ApiError as error:
            raise at_callers_place(error, texts.names("texts")) from error
        return similarity_response(question, outcome, images, texts)

    async def _embeddings(self, request: Request) -> Response:
        service, intake = self._service, self._intake
        started = self._clock()
        deadline = intake.deadline(request)
        body = await intake.body(request, deadline, EmbeddingsRequest)
        tier, embedder = find_tier(body.model, service.fast, service.accurate)
        raw = body.input if isinstance(body.input, list) else [body.input]
        reading = intake.mixed(request, raw, "input", body.modality)
        raise_first(reading, even_unfetched=False)
        reading = await intake.fetch(request, reading, raw, deadline, "input")
        raise_first(reading)
        items = list(reading.items)
        _check_dimensions(body.dimensions, embedder)
        model = embedder.description
        traffic = read_traffic_class(request)
        cached = await embedder.cached(items, traffic)
        timings_ms = {"cache": (self._clock() - started) * 1e3}
        embeddings = await _complete(embedder, items, cached, deadline, traffic)
        if embedder.description != model and any(embedding is None for embedding in cached):
            raise Unavailable("the tier's model has just changed", retry_after_s=1)
        timings_ms["total"] = (self._clock() - started) * 1e3
        if any(embedding is None for embedding in cached):
            timings_ms[tier] = timings_ms["total"] - timings_ms["cache"]
        return embeddings_response(
            items,
            shorten(embeddings, body.dimensions),
            AnsweredBy(body.model, tier, model.context_length if model is not None else 0),
            "bytes" if request.wants_msgpack else body.encoding_format or "float",
            timings_ms,
        )

    async def _health(self, _request: Request) -> Response:
        return Response({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        await self._service.readiness.check()
        return Response({"status": "ok"})

    async def _openapi(self, _request: Request) -> Response:
        return Response(openapi_document())

    async def _reference(self, _request: Request) -> Response:
        return Response(reference_page(), media_type="text/html; charset=utf-8")


def _template(path: str) -> str:
    """The route of a path that ends in a name."""
    for template in NAMED_ROUTES:
        prefix = template.partition("{")[0]
        if path.startswith(prefix) and len(path) > len(prefix):
            return template
    return path


async def _complete(
    embedder: Embedder,
    items: list[Item],
    cached: list[Embedding | None],
    deadline: Deadline,
    traffic: TrafficClass,
) -> list[Embedding]:
    missing = [i for i, embedding in enumerate(cached) if embedding is None]
    results = await embedder.encode([items[i] for i in missing], deadline, traffic) if missing else []
    complete = list(cached)
    for i, result in zip(missing, results, strict=True):
        if isinstance(result, ApiError):
            raise result.at(f"input[{i}]")
        complete[i] = result
    return [embedding for embedding in complete if embedding is not None]


def _let_go(error: BaseException | None) -> None:
    """Break the circle of an error that a frame keeps, and whose traceback keeps the frame, with the body in it.

    What it was raised from has such a circle of its own.

    The garbage collector, which comes by rarely, would find it after thousands of bodies.
    """
    while error is not None:
        origin = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = origin


def _check_dimensions(dimensions: int | None, embedder: Embedder) -> None:
    model = embedder.description
    if dimensions is None or model is None or dimensions == model.dimension:
        return
    if not model.is_matryoshka:
        raise InvalidRequest(f"dimensions: this model has {model.dimension} and can't be shortened", "dimensions")
    if dimensions > model.dimension:
        raise InvalidRequest(f"dimensions: this model has {model.dimension} at most", "dimensions")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
