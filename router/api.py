"""The HTTP API over raw ASGI: routes to handlers, errors to answers. It knows no Ray."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from router.admin import AdminRoutes
from router.answers import AnsweredBy, embeddings_response, models_response, similarity_response
from router.comparison import at_callers_place
from router.deadline import Deadline, request_deadline
from router.eager import within
from router.embedder import Embedder, Embedding
from router.errors import (
    ApiError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownModel,
    UrlNotFetched,
)
from router.http import (
    Receive,
    Request,
    Response,
    Scope,
    Send,
    error_response,
    parse_body,
    read_body,
    read_request,
    send_response,
)
from router.items import Item
from router.openapi import openapi_document, reference_page
from router.outcome import Question, TierName
from router.readings import split
from router.schemas import EmbeddingsRequest, SimilarityRequest
from router.service import Service
from router.traffic import traffic_class
from tiers.messages import TrafficClass

logger = logging.getLogger(__name__)
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
        admin = AdminRoutes(service, clock, lambda: self._in_flight)
        self._routes: dict[str, dict[str, Handler]] = {
            "/v1/similarity": {"POST": self._similarity},
            "/v1/embeddings": {"POST": self._embeddings},
            "/v1/models": {"GET": self._models},
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
        response = await self._answer(request)
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
        methods = self._routes.get(request.path)
        if methods is None:
            raise NotFound(f"no route {request.path[:200]}")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            refusal = MethodNotAllowed(f"use {', '.join(methods)}")
            refusal.headers["allow"] = ", ".join(methods)
            raise refusal
        return handler

    async def _similarity(self, request: Request) -> Response:
        service, policy = self._service, self._service.policy
        deadline = self._deadline(request, policy.rule("similarity").deadline_s)
        body = parse_body(request, await self._read(request, deadline), SimilarityRequest)
        _check_count("images", len(body.images), service.limits.images)
        _check_count("texts", len(body.texts), service.limits.texts)
        images, texts = service.reader.images(body.images), service.reader.texts(body.texts)
        if images.errors and texts.items:
            images = await service.reader.fetch(images, body.images, deadline, "images")
        if not images.items or not texts.items:
            errors = texts.errors if images.items else images.errors
            raise errors[min(errors)]
        traffic = _traffic_class(request)
        question = Question(images.items, texts.items, body.threshold, body.tier, texts.name, traffic)
        try:
            outcome = await service.cascade.answer(question, policy, deadline)
        except ApiError as error:
            raise at_callers_place(error, texts.names("texts")) from error
        return similarity_response(question, outcome, images, texts)

    async def _embeddings(self, request: Request) -> Response:
        service = self._service
        started = self._clock()
        deadline = self._deadline(request)
        body = parse_body(request, await self._read(request, deadline), EmbeddingsRequest)
        tier, embedder = self._embedder(body.model)
        raw = body.input if isinstance(body.input, list) else [body.input]
        if not raw:
            raise InvalidRequest("input: expected at least one item", "input")
        _check_count("input", len(raw), service.limits.texts)
        results = service.reader.mixed(raw, body.modality, "input")
        items = [item for item in results if isinstance(item, Item)]
        if len(items) < len(results):
            items = await self._with_fetched(raw, results, deadline)
        _check_count("input", sum(i.modality == "image" for i in items), service.limits.images)
        _check_dimensions(body.dimensions, embedder)
        model = embedder.description
        cached = await embedder.cached(items)
        timings_ms = {"cache": (self._clock() - started) * 1e3}
        embeddings = await _complete(embedder, items, cached, deadline, _traffic_class(request))
        if embedder.description != model and any(embedding is None for embedding in cached):
            raise Unavailable("the tier's model has just changed", retry_after_s=1)
        timings_ms["total"] = (self._clock() - started) * 1e3
        if any(embedding is None for embedding in cached):
            timings_ms[tier] = timings_ms["total"] - timings_ms["cache"]
        return embeddings_response(
            items,
            embeddings,
            AnsweredBy(body.model, tier, model.context_length if model is not None else 0),
            "bytes" if request.wants_msgpack else body.encoding_format,
            timings_ms,
        )

    async def _with_fetched(
        self, raw: list[object], results: Sequence[Item | ApiError], deadline: Deadline
    ) -> list[Item]:
        """The items of a list that is answered as a whole or not at all, those behind URLs included."""
        reader, reading = self._service.reader, split(results)
        _raise_first([error for error in reading.errors.values() if not isinstance(error, UrlNotFetched)])
        images = sum(item.modality == "image" for item in reading.items)
        _check_count("input", images + len(reading.errors), self._service.limits.images)
        reading = await reader.fetch(reading, raw, deadline, "input")
        _raise_first(list(reading.errors.values()))
        return list(reading.items)

    async def _models(self, _request: Request) -> Response:
        return models_response({"fast": self._service.fast, "accurate": self._service.accurate})

    async def _health(self, _request: Request) -> Response:
        return Response({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        await self._service.readiness.check()
        return Response({"status": "ok"})

    async def _openapi(self, _request: Request) -> Response:
        return Response(openapi_document())

    async def _reference(self, _request: Request) -> Response:
        return Response(reference_page(), media_type="text/html; charset=utf-8")

    def _embedder(self, model: str) -> tuple[TierName, Embedder]:
        tiers: dict[TierName, Embedder] = {"fast": self._service.fast, "accurate": self._service.accurate}
        for tier, embedder in tiers.items():
            description = embedder.description
            names = {tier} if description is None else {tier, description.model, str(embedder.model_id)}
            if model in names:
                return tier, embedder
        raise UnknownModel("model names neither a tier nor a tier's model; see /v1/models", "model")

    async def _read(self, request: Request, deadline: Deadline) -> bytes:
        """The body; a caller who sends it drop by drop does not hold a place for longer than the deadline."""
        try:
            return await within(read_body(request, self._service.limits.body_bytes), deadline.left_s(self._clock()))
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not arrive before the deadline") from error

    def _deadline(self, request: Request, route_s: float | None = None) -> Deadline:
        header = request.header(b"x-deadline-ms")
        try:
            return request_deadline(header, route_s or self._service.deadline_s, self._clock())
        except ValueError as error:
            raise InvalidRequest("X-Deadline-Ms: expected milliseconds above zero", "X-Deadline-Ms") from error


def _traffic_class(request: Request) -> TrafficClass:
    try:
        return traffic_class(request.header(b"x-traffic-class"))
    except ValueError as error:
        raise InvalidRequest("X-Traffic-Class: expected live or warm-up", "X-Traffic-Class") from error


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


def _raise_first(errors: Sequence[ApiError]) -> None:
    if errors:
        raise errors[0]


def _check_count(name: str, count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(f"{name}: at most {limit} in one request", name)


def _check_dimensions(dimensions: int | None, embedder: Embedder) -> None:
    model = embedder.description
    if dimensions is not None and model is not None and dimensions != model.dimension:
        raise InvalidRequest(f"dimensions: this model has {model.dimension} and can't be shortened", "dimensions")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
