"""Pairs to be scored, and the questions to the cascade that score them. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from router.errors import ApiError, InvalidRequest
from router.items import Item
from router.outcome import Question
from router.readings import Reading
from router.schemas import TierChoice
from tiers.messages import TrafficClass


class Pair(NamedTuple):
    """A query and a document that were both read; `place` is that of their score in the answer."""

    place: int
    query: Item
    query_name: str
    document: Item
    document_name: str

    @property
    def is_crossed(self) -> bool:
        """Whether an image meets a text."""
        return self.query.modality != self.document.modality


class Scoring(NamedTuple):
    """One question, and the pairs that its decisions are about, in order."""

    question: Question
    pairs: tuple[Pair, ...]


def check_lengths(queries: Reading, documents: Reading, names: tuple[str, str]) -> None:
    """Refuse lists that can't be paired.

    Raises:
        InvalidRequest: There are several queries, and not as many documents.
    """
    if queries.width not in (1, documents.width):
        raise InvalidRequest(f"{names[0]}: expected one, or as many as there are {names[1]}", names[0])


def pair_up(queries: Reading, documents: Reading, names: tuple[str, str]) -> tuple[list[Pair], dict[int, ApiError]]:
    """One query with each document, or each query with its document; the errors of pairs that lack one.

    Args:
        queries: One, or as many as there are documents.
        documents: What they are scored with.
        names: What the caller calls both lists.
    """
    query_at, document_at = (dict(zip(one.places, one.items, strict=True)) for one in (queries, documents))
    pairs: list[Pair] = []
    errors: dict[int, ApiError] = {}
    for place in range(documents.width):
        asked = place if queries.width > 1 else 0
        error = queries.errors.get(asked) or documents.errors.get(place)
        if error is None:
            query_name, document_name = f"{names[0]}[{asked}]", f"{names[1]}[{place}]"
            pairs.append(Pair(place, query_at[asked], query_name, document_at[place], document_name))
        else:
            errors[place] = error
    return pairs, errors


def scorings(pairs: Sequence[Pair], threshold: float | None, tier: TierChoice, traffic: TrafficClass) -> list[Scoring]:
    """The questions that score these pairs: one for each query; given a threshold, one for each kind of pair, too.

    The documents are what is decided about, so that each has a margin of its own; the query is the one candidate.
    Pairs of one modality, and all pairs where there is no threshold, are scored by one tier: `auto` is the fast one.
    """
    together: dict[tuple[bytes, bool], list[Pair]] = {}
    for pair in pairs:
        may_cascade = threshold is not None and pair.is_crossed
        together.setdefault((pair.query.digest, may_cascade), []).append(pair)
    return [Scoring(_question(group, threshold, tier, traffic), tuple(group)) for group in together.values()]


def _question(group: Sequence[Pair], threshold: float | None, tier: TierChoice, traffic: TrafficClass) -> Question:
    query = group[0].query
    documents = tuple(pair.document for pair in group)
    return Question(documents, (query,), threshold, tier, query.digest, traffic, "score").pinned_unless_crossed()
