"""The names by which callers mean a tier: the tier's own, its model's id, or `id@revision`."""

from typing import NamedTuple

from router.embedder import Embedder
from router.errors import InvalidRequest, UnknownModel
from router.outcome import TierName
from router.schemas import TierChoice


class Named(NamedTuple):
    """A tier that was named, and its way to embeddings."""

    tier: TierName
    embedder: Embedder


def find_tier(name: str, fast: Embedder, accurate: Embedder) -> Named:
    """The tier that a name means.

    Raises:
        UnknownModel: It means none.
    """
    for one in (Named("fast", fast), Named("accurate", accurate)):
        description = one.embedder.description
        names = {one.tier} if description is None else {one.tier, description.model, description.identity}
        if name in names:
            return one
    raise UnknownModel("model names neither a tier nor a tier's model; see /v1/models", "model")


def choose_tier(name: str | None, tier: TierChoice, fast: Embedder, accurate: Embedder) -> TierChoice:
    """Who is to answer, where clients of other services have to name a model and ours may choose a tier.

    Raises:
        UnknownModel: The model is none of ours.
        InvalidRequest: Model and tier contradict each other.
    """
    if name is None or name == "auto":
        return tier
    named = find_tier(name, fast, accurate).tier
    if tier not in ("auto", named):
        raise InvalidRequest("tier: model names the other tier", "tier")
    return named
