"""What every `/v1` route that takes a body does first: the deadline, the body, its lists of items."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from router.deadline import Deadline, request_deadline
from router.eager import within
from router.errors import DeadlineExceeded, InvalidRequest, TooLarge, UrlNotFetched
from router.http import Request, parse_body, read_body
from router.readings import ListReader, Reading, split
from router.service import Service
from router.traffic import traffic_class
from tiers.messages import Modality, TrafficClass

Body = TypeVar("Body", bound=BaseModel)


class Intake:
    """Reads requests of one router, within its limits."""

    def __init__(self, service: Service, clock: Callable[[], float]) -> None:
        self._service = service
        self._clock = clock

    def deadline(self, request: Request, route_s: float | None = None) -> Deadline:
        """The request's deadline: the caller's, but never later than the route's or the operator's."""
        header = request.header(b"x-deadline-ms")
        try:
            return request_deadline(header, route_s or self._service.deadline_s, self._clock())
        except ValueError as error:
            raise InvalidRequest("X-Deadline-Ms: expected milliseconds above zero", "X-Deadline-Ms") from error

    async def body(self, request: Request, deadline: Deadline, model: type[Body]) -> Body:
        """The body; a caller who sends it drop by drop does not hold a place for longer than the deadline."""
        reading = read_body(request, self._service.limits.body_bytes)
        try:
            data = await within(reading, deadline.left_s(self._clock()))
        except TimeoutError as error:
            raise DeadlineExceeded("the body did not arrive before the deadline") from error
        return parse_body(request, data, model)

    def images(self, request: Request, raw: list[object], param: str) -> Reading:
        """A list of images; each stands for itself, and those behind URLs are still to be fetched."""
        check_count(param, len(raw), self._service.limits.images)
        return self._reader(request).images(raw, param)

    def texts(self, request: Request, raw: list[object], param: str) -> Reading:
        """A list of texts; each stands for itself."""
        check_count(param, len(raw), self._service.limits.texts)
        return self._reader(request).texts(raw, param)

    def mixed(self, request: Request, raw: list[object], param: str, plain: Modality = "text") -> Reading:
        """A list of texts and images; each stands for itself, and those behind URLs are still to be fetched.

        Args:
            request: Whose it is.
            raw: The list as the body holds it.
            param: The list's name.
            plain: What a bare string is.
        """
        if not raw:
            raise InvalidRequest(f"{param}: expected at least one item", param)
        limits = self._service.limits
        check_count(param, len(raw), max(limits.texts, limits.images))
        reading = split(self._reader(request).mixed(raw, plain, param))
        behind_urls = sum(isinstance(error, UrlNotFetched) for error in reading.errors.values())
        images = sum(item.modality == "image" for item in reading.items)
        check_count(param, images + behind_urls, limits.images)
        check_count(param, len(reading.items) - images, limits.texts)
        return reading

    async def fetch(
        self, request: Request, reading: Reading, raw: list[object], deadline: Deadline, param: str
    ) -> Reading:
        """The list with its images that stand behind URLs."""
        if not reading.errors:
            return reading
        return await self._reader(request).fetch(reading, raw, deadline, param)

    def _reader(self, request: Request) -> ListReader:
        """Who reads for the request's tenant."""
        return self._service.readers.of(request.tenant)


def is_hopeless(reading: Reading) -> bool:
    """Whether no item of a list was read, nor is one to be fetched."""
    return not reading.items and not any(isinstance(error, UrlNotFetched) for error in reading.errors.values())


def raise_first(reading: Reading, *, even_unfetched: bool = True, param: str | None = None) -> None:
    """Fail where a list has an error.

    Args:
        reading: The list.
        even_unfetched: Whether an image that is still to be fetched counts.
        param: What callers call the item, where the list is one item that is sent alone.

    Raises:
        ApiError: The first of its errors.
    """
    for _, error in sorted(reading.errors.items()):
        if even_unfetched or not isinstance(error, UrlNotFetched):
            raise error if param is None else error.at(param)


def read_traffic_class(request: Request) -> TrafficClass:
    """The class of traffic that a request says it belongs to."""
    try:
        return traffic_class(request.header(b"x-traffic-class"))
    except ValueError as error:
        raise InvalidRequest("X-Traffic-Class: expected live or warm-up", "X-Traffic-Class") from error


def check_count(name: str, count: int, limit: int) -> None:
    """Refuse more items than a request may have.

    Raises:
        TooLarge: There are more than `limit`.
    """
    if count > limit:
        raise TooLarge(f"{name}: at most {limit} in one request", name)
