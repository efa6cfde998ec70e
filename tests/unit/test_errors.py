"""The one table that maps what goes wrong to HTTP."""

import json
import pickle

import pytest

from router.errors import ERROR_TABLE, ApiError, InternalError, RouterError, TooLarge
from tiers.errors import BadItem, ReplicaOverloaded, TierError

CONTRACT = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "unknown_model": 404,
    "unknown_collection": 404,
    "not_found": 404,
    "unknown_key": 404,
    "method_not_allowed": 405,
    "deadline_exceeded": 408,
    "too_large": 413,
    "unsupported_media": 415,
    "bad_image": 422,
    "rate_limited": 429,
    "internal": 500,
    "overloaded": 503,
    "unavailable": 503,
}


def test_error_table_is_the_contracts() -> None:
    """Each code has the status that the API's contract gives it, and no code stands twice."""
    table = [(error.code, error.status) for error in ERROR_TABLE]

    assert dict(table) == CONTRACT
    assert len(table) == len(CONTRACT)


def test_error_table_has_every_error_a_caller_can_be_told() -> None:
    """A class that is not in the table has no documentation."""
    assert set(ERROR_TABLE) == set(ApiError.__subclasses__())


@pytest.mark.parametrize("error", ERROR_TABLE)
def test_error_body_has_all_four_keys(error: type[ApiError]) -> None:
    """Message, type, code and param are always there; without a parameter it is null."""
    body = error("what happened").body()

    assert body == {"error": {"message": "what happened", "type": error.kind, "code": error.code, "param": None}}
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("error", ERROR_TABLE)
def test_error_survives_pickle(error: type[ApiError]) -> None:
    """Errors cross process borders with everything they carry."""
    copy = pickle.loads(pickle.dumps(error("what happened", "images[3]", 7)))

    assert type(copy) is error
    assert (copy.message, copy.param, copy.retry_after_s) == ("what happened", "images[3]", 7)


@pytest.mark.parametrize("error", [BadItem("bad_image", "truncated"), ReplicaOverloaded("9 items"), TierError("ended")])
def test_tier_error_survives_pickle(error: TierError) -> None:
    """A replica's errors reach the router as they were raised."""
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert copy.args == error.args
    assert getattr(copy, "code", None) == getattr(error, "code", None)


def test_error_is_placed_without_losing_anything() -> None:
    """The same error at a place is of the same class, text and patience."""
    placed = TooLarge("too many pixels", retry_after_s=3).at("images[2]")

    assert type(placed) is TooLarge
    assert (placed.message, placed.param, placed.retry_after_s) == ("too many pixels", "images[2]", 3)


def test_internal_error_has_a_fixed_text() -> None:
    """What broke is in the logs; the caller gets the request id to ask with."""
    assert "request id" in InternalError().message
    assert issubclass(ApiError, RouterError)
