"""What is served: models and collections. `GET` routes of OpenAI's shape."""

from router.answers import model_cards
from router.errors import UnknownCollection, UnknownModel
from router.http import Request, Response
from router.model_names import find_tier
from router.service import Service

MODELS, COLLECTIONS = "/v1/models/", "/v1/collections/"
MAX_NAME_CHARS = 200


class Listings:
    """What one router can say of what it serves."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self, _request: Request) -> Response:
        """Every model that has come up."""
        return Response({"object": "list", "data": self._cards()})

    async def model(self, request: Request) -> Response:
        """One model, by any name that `model` takes; ids may hold slashes."""
        service = self._service
        tier = find_tier(request.path.removeprefix(MODELS), service.fast, service.accurate).tier
        card = next((card for card in self._cards() if card["tier"] == tier), None)
        if card is None:
            raise UnknownModel("the tier's model has not come up yet", "model")
        return Response(card)

    async def collections(self, _request: Request) -> Response:
        """Every text collection."""
        return Response({"object": "list", "data": []})

    async def collection(self, request: Request) -> Response:
        """One text collection."""
        raise unknown_collection(request.path.removeprefix(COLLECTIONS))

    def _cards(self) -> list[dict[str, object]]:
        return model_cards({"fast": self._service.fast, "accurate": self._service.accurate})


def unknown_collection(name: str) -> UnknownCollection:
    """Say that there is no such collection."""
    return UnknownCollection(f"no collection {name[:MAX_NAME_CHARS]}; see /v1/collections", "collection")
