"""The OpenAPI document, made from the models that validate, and a reference page made from the document."""

import functools
import html
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from router.admin_schemas import (
    MAX_PAGE,
    PAGE,
    AuditAnswer,
    DryRunAnswer,
    HistoryAnswer,
    PolicyAnswer,
    StatusAnswer,
    ValidateAnswer,
)
from router.errors import (
    ERROR_TABLE,
    ApiError,
    BadImage,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownCollection,
    UnknownKey,
    UnknownModel,
    UnsupportedMedia,
)
from router.http import JSON, MSGPACK, MULTIPART
from router.openapi_forms import form_schema
from router.openapi_security import SCHEMES, secured
from router.policy import Policy
from router.policy_admin import DryRunRequest
from router.ranking_schemas import (
    ClassifyAnswer,
    ClassifyRequest,
    CollectionCard,
    CollectionsAnswer,
    RerankAnswer,
    RerankRequest,
    ScoreAnswer,
    ScoreRequest,
    SearchAnswer,
    SearchRequest,
)
from router.schemas import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    ErrorAnswer,
    HealthAnswer,
    ModelCard,
    ModelsAnswer,
    SimilarityAnswer,
    SimilarityRequest,
)
from router.traffic import TRAFFIC_CLASSES

_POST_ERRORS: tuple[type[ApiError], ...] = (
    InvalidRequest,
    UnknownKey,
    DeadlineExceeded,
    TooLarge,
    UnsupportedMedia,
    BadImage,
    InternalError,
    Overloaded,
    Unavailable,
)
_REF = "#/components/schemas/{model}"


@functools.cache
def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 of every route."""
    models: list[type[BaseModel]] = [
        SimilarityRequest,
        SimilarityAnswer,
        EmbeddingsRequest,
        EmbeddingsAnswer,
        ClassifyRequest,
        ClassifyAnswer,
        ScoreRequest,
        ScoreAnswer,
        RerankRequest,
        RerankAnswer,
        SearchRequest,
        SearchAnswer,
        CollectionCard,
        CollectionsAnswer,
        ModelCard,
        ModelsAnswer,
        HealthAnswer,
        StatusAnswer,
        PolicyAnswer,
        Policy,
        ValidateAnswer,
        DryRunRequest,
        DryRunAnswer,
        HistoryAnswer,
        AuditAnswer,
        ErrorAnswer,
    ]
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Secondlook",
            "version": _version(),
            "description": "How similar are this picture and this text? Cached, cascaded, marked.",
        },
        "paths": secured(_paths(), _error_response),
        "components": {"schemas": schemas["$defs"], "securitySchemes": SCHEMES},
    }


def _paths() -> dict[str, Any]:
    return _question_paths() | _listing_paths() | _operating_paths()


def _question_paths() -> dict[str, Any]:
    model_errors, collection_errors = (*_POST_ERRORS, UnknownModel), (*_POST_ERRORS, UnknownCollection)
    return {
        "/v1/similarity": _post(
            "similarity", "Compare images with texts", SimilarityRequest, SimilarityAnswer, _POST_ERRORS
        ),
        "/v1/embeddings": _post(
            "embeddings",
            "Embed texts and images (OpenAI's route)",
            EmbeddingsRequest,
            EmbeddingsAnswer,
            model_errors,
        ),
        "/v1/classify": _post(
            "classify", "Choose among labels for each image", ClassifyRequest, ClassifyAnswer, collection_errors
        ),
        "/v1/score": _post("score", "Score pairs (vLLM's route)", ScoreRequest, ScoreAnswer, model_errors),
        "/v1/rerank": _post(
            "rerank",
            "Order documents by a query (Cohere's, Jina's route)",
            RerankRequest,
            RerankAnswer,
            model_errors,
        ),
        "/v1/search": _post("search", "Search a collection", SearchRequest, SearchAnswer, collection_errors),
    }


def _listing_paths() -> dict[str, Any]:
    return {
        "/v1/models": _get("models", "What is served", ModelsAnswer, (Overloaded,)),
        "/v1/models/{model}": _get("model", "One model", ModelCard, (UnknownModel, Overloaded), name="model"),
        "/v1/collections": _get("collections", "Which collections are served", CollectionsAnswer, (Overloaded,)),
        "/v1/collections/{name}": _get(
            "collection", "One collection", CollectionCard, (UnknownCollection, Overloaded), name="name"
        ),
    }


def _operating_paths() -> dict[str, Any]:
    return {
        "/admin/status": _get("status", "What this router replica knows of itself", StatusAnswer),
        "/admin/policy": _tagged(
            _get("policy", "The policy in force and its certificates", PolicyAnswer, (Unavailable,))
        ),
        "/admin/policy/validate": _admin_post("validate", "Check a policy", Policy, ValidateAnswer),
        "/admin/policy/dry-run": _admin_post(
            "dryRun", "Replay recorded traffic under a policy", DryRunRequest, DryRunAnswer
        ),
        "/admin/policy/history": _get("history", "What was applied", HistoryAnswer, (Unavailable,)),
        "/admin/audit": _paged(_get("audit", "A page of the audit log", AuditAnswer, (InvalidRequest, Unavailable))),
        "/healthz": _get("health", "Whether the process is alive", HealthAnswer),
        "/readyz": _get("ready", "Whether the data plane answers a real inference", HealthAnswer, (Unavailable,)),
    }


def _post(
    name: str,
    summary: str,
    body: type[BaseModel],
    answer: type[BaseModel],
    errors: tuple[type[ApiError], ...],
) -> dict[str, Any]:
    content = _encoded(_ref(body)) | {MULTIPART: {"schema": form_schema(body)}}
    operation = _operation(name, summary, answer, errors)
    deadline = {
        "name": "X-Deadline-Ms",
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
        "description": "Milliseconds the answer may take.",
    }
    traffic = {
        "name": "X-Traffic-Class",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": list(TRAFFIC_CLASSES)},
        "description": "Warm-up yields to live traffic.",
    }
    return {
        "post": {
            **operation,
            "parameters": [*operation["parameters"], deadline, traffic],
            "requestBody": {"required": True, "content": content},
        }
    }


def _admin_post(name: str, summary: str, body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    errors = (InvalidRequest, DeadlineExceeded, TooLarge, UnsupportedMedia, InternalError, Unavailable)
    return {
        "post": {
            **_operation(name, summary, answer, errors),
            "requestBody": {"required": True, "content": _encoded(_ref(body))},
        }
    }


def _get(
    operation_id: str,
    summary: str,
    answer: type[BaseModel],
    errors: tuple[type[ApiError], ...] = (),
    *,
    name: str | None = None,
) -> dict[str, Any]:
    """A GET operation; `name` is the parameter that its path ends in, if it does."""
    operation = _operation(operation_id, summary, answer, (*errors, InternalError))
    if name is not None:
        operation["parameters"].append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
    return {"get": operation}


def _tagged(operations: dict[str, Any]) -> dict[str, Any]:
    """A GET whose answer has a tag, by which a caller asks whether it has changed."""
    operation = operations["get"]
    known = {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "The ETag of an earlier answer.",
    }
    unchanged = {"304": {"description": "It is what the caller has already; no body."}}
    return {
        "get": {
            **operation,
            "parameters": [*operation["parameters"], known],
            "responses": operation["responses"] | unchanged,
        }
    }


def _paged(operations: dict[str, Any]) -> dict[str, Any]:
    """A GET that answers one page after another."""
    operation = operations["get"]
    after = {"name": "after", "in": "query", "required": False, "schema": {"type": "string"}}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE}
    pages = [
        {**after, "description": "The `next` of the page before; the oldest records without it."},
        {**after, "name": "limit", "schema": limit, "description": "Records of a page."},
    ]
    return {"get": {**operation, "parameters": [*operation["parameters"], *pages]}}


def _operation(name: str, summary: str, answer: type[BaseModel], errors: tuple[type[ApiError], ...]) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": _encoded(_ref(answer))}}
    for error in ERROR_TABLE:
        if error in errors:
            responses.setdefault(str(error.status), _error_response(error, errors))
    request_id = {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": 128},
        "description": "Echoed in the answer and named in the logs.",
    }
    return {"operationId": name, "summary": summary, "parameters": [request_id], "responses": responses}


def _error_response(error: type[ApiError], errors: tuple[type[ApiError], ...]) -> dict[str, Any]:
    same_status = [other for other in errors if other.status == error.status]
    codes = ", ".join(f"`{other.code}`" for other in same_status)
    why = " ".join((other.__doc__ or "").split("\n")[0].removeprefix("Raised ") for other in same_status)
    return {"description": f"{codes}: {why}", "content": _encoded(_ref(ErrorAnswer))}


def _encoded(schema: dict[str, Any]) -> dict[str, Any]:
    """What has this schema in both encodings."""
    return {media: {"schema": schema} for media in (JSON, MSGPACK)}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _version() -> str:
    try:
        return version("secondlook")
    except PackageNotFoundError:  # a checkout on the path, not installed
        return "0"


@functools.cache
def reference_page() -> str:
    """A page that shows the document without loading anything from elsewhere."""
    document = openapi_document()
    sections = [
        _section(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    models = "".join(
        f"<details id='{html.escape(name)}'><summary><code>{html.escape(name)}</code></summary>"
        f"<pre>{html.escape(json.dumps(schema, indent=2))}</pre></details>"
        for name, schema in document["components"]["schemas"].items()
    )
    return _PAGE.format(version=html.escape(_version()), sections="".join(sections), models=models)


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{status}</td><td>{html.escape(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    body = operation.get("requestBody")
    request = ""
    if body:
        name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
        request = f"<p>Body: <a href='#{name}'>{name}</a></p>"
    return (
        f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
        f"<p>{html.escape(operation['summary'])}</p>{request}"
        f"<table><thead><tr><th>Status</th><th>When</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Secondlook API</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
td, th {{ text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #8884; }}
pre {{ overflow-x: auto; }}
</style></head><body>
<h1>Secondlook API <small>{version}</small></h1>
<p>The machine-readable form is <a href="/openapi.json">/openapi.json</a>.</p>
{sections}<h2>Bodies</h2>{models}
</body></html>"""
