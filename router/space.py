"""A tier's embedding space: the keys under which its model's embeddings are stored."""

from collections.abc import Sequence

from cache.keys import EmbeddingSpace, namespace, storage_key
from cache.two_level import Lookup
from router.confidence import Scale
from router.items import Item
from tiers.messages import Modality, ModelDescription

MODALITIES: tuple[Modality, ...] = ("image", "text")


class Space:
    """What is stored under a tier's model as it is now; a changed model is a new space, and each tenant has its own."""

    __slots__ = ("_dtype", "_names", "description", "full_name", "model_id", "scale")

    def __init__(self, description: ModelDescription, dtype: str) -> None:
        self.description = description
        self.model_id = description.identity
        self.full_name = full_name(description, dtype)
        self.scale = Scale(description.logit_scale, description.logit_bias, description.has_sigmoid)
        self._dtype = dtype
        self._names: dict[str, dict[Modality, bytes]] = {}

    def key(self, item: Item) -> bytes:
        """Return the storage key of an item's embedding."""
        try:
            names = self._names[item.tenant]
        except KeyError:  # tenants are those that have API keys: no stranger adds one
            names = self._names[item.tenant] = self._name_for(item.tenant)
        return storage_key(names[item.modality], item.digest)

    def lookup(self, item: Item) -> Lookup:
        """Return what to ask the cache for."""
        return Lookup(self.key(item), self.description.dimension, item.length)

    def lookups(self, items: Sequence[Item]) -> list[Lookup]:
        """Return what to ask the cache for, in order."""
        key, dimension = self.key, self.description.dimension
        return [Lookup(key(item), dimension, item.length) for item in items]

    def _name_for(self, tenant: str) -> dict[Modality, bytes]:
        return {modality: _name(modality, self.description, self._dtype, tenant) for modality in MODALITIES}


def full_name(model: ModelDescription, dtype: str) -> str:
    """Name everything that changes what a tier answers: two tiers agree as often as their certificate says only so."""
    return f"{model.identity} {model.precision}/{dtype} {model.preprocessing}"


def _name(modality: Modality, model: ModelDescription, dtype: str, tenant: str) -> bytes:
    return namespace(
        EmbeddingSpace(
            modality=modality,
            model=model.model,
            revision=model.revision,
            preprocessing=model.preprocessing,
            precision=f"{model.precision}/{dtype}",
            tenant_salt=tenant,
        )
    )
