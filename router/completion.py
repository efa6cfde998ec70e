"""Have a tier embed what a comparison lacks."""

from collections.abc import Sequence

from router.comparison import Comparison
from router.deadline import Deadline
from router.embedder import Embedder, Embedding
from router.errors import ApiError, Unavailable
from tiers.messages import TrafficClass


async def complete(
    embedder: Embedder, comparison: Comparison, images: Sequence[int], deadline: Deadline, traffic: TrafficClass
) -> Sequence[Embedding | ApiError]:
    """Fill in what these images' comparison lacks, from the cache first; return what the tier was asked for."""
    if not comparison.has_begun:
        comparison.begin(embedder.description, await embedder.cached(comparison.items))
    missing = comparison.missing(images)
    if not missing:
        return []
    results: Sequence[Embedding | ApiError] = await embedder.encode(
        [comparison.items[i] for i in missing], deadline, traffic
    )
    if embedder.description != comparison.model:
        # Rolled to another model meanwhile: what was cached and what was encoded can't be compared.
        results = [Unavailable("the tier's model has just changed", retry_after_s=1) for _ in missing]
    comparison.fill(missing, results)
    return results
