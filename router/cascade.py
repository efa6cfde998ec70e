"""The cascade: ask the cache, then the fast tier, and where its margin is too small take a second look."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cache.two_level import EmbeddingCache
from router.at_hand import AtHand, answer_at_hand
from router.auditor import Auditor, Seen
from router.budget import EscalationBudget
from router.comparison import Comparison
from router.completion import complete
from router.deadline import Deadline
from router.embedder import Embedder, Embedding
from router.errors import (
    ApiError,
    BadImage,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    TooLarge,
    Unavailable,
    UnknownKey,
    UnsupportedMedia,
)
from router.outcome import Decision, DegradedReason, Outcome, Question, TierName
from router.policy import RouteName, Rule
from router.policy_in_force import Bar, PolicyInForce
from router.reliability import calibrate

CALLERS_FAULTS = (BadImage, InvalidRequest, TooLarge, UnknownKey, UnsupportedMedia)
# What is kept of the deadline to answer with the fast tier's decision when the second look takes too long.
RESERVE_SHARE, RESERVE_MAX_S = 0.1, 0.25


@dataclass(slots=True)
class _Run:
    """One request on its way through the cascade."""

    question: Question
    policy: PolicyInForce
    rule: Rule
    deadline: Deadline
    started: float
    timings_ms: dict[str, float] = field(default_factory=dict)
    first: dict[int, Decision | ApiError] = field(default_factory=dict)
    """What the fast tier decided, before any second look."""


class Cascade:
    """Both tiers behind one question."""

    def __init__(
        self,
        fast: Embedder,
        accurate: Embedder,
        cache: EmbeddingCache,
        auditor: Auditor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fast = fast
        self._accurate = accurate
        self._cache = cache
        self._auditor = auditor
        self._budgets: defaultdict[RouteName, EscalationBudget] = defaultdict(EscalationBudget)
        self._clock = clock

    async def answer(self, question: Question, policy: PolicyInForce, deadline: Deadline) -> Outcome:
        """Decide every image of a question.

        Raises:
            ApiError: A text could not be embedded for a reason that is not the text's own.
        """
        started = self._clock()
        known = answer_at_hand(question, policy, self._fast.memory, self._accurate.memory)
        if known is not None:
            return self._outcome_at_hand(question, policy, known, started)
        run = _Run(question, policy, policy.rule(question.route), deadline, started)
        fast, accurate = await self._look_up(run)
        decisions: Sequence[Decision | ApiError]
        if question.cascades:
            decisions = await self._cascade(run, fast, accurate)
        else:
            tier: TierName = "accurate" if question.tier == "accurate" else "fast"
            comparison = accurate if tier == "accurate" else fast
            await self._complete(run, tier, comparison, range(len(question.images)))
            decisions = [self._decide(run, tier, comparison, i) for i in range(len(question.images))]
        used = {d.tier for d in decisions if isinstance(d, Decision)} or {"fast"}
        views = [view for name, view in (("fast", fast), ("accurate", accurate)) if name in used]
        if question.cascades:
            names = self._names(fast, accurate)
            self._audit(question, policy, decisions, run.first, names)
            decisions = _with_calibrated_confidence(decisions, policy.bar(question.route, question.group, *names))
        return Outcome(
            decisions=tuple(decisions),
            text_errors=views[0].text_errors,
            token_count=views[0].token_count,
            is_truncated=views[0].is_truncated,
            models=self._model_ids() | _models_of({"fast": fast, "accurate": accurate}),
            policy_version=policy.version,
            timings_ms={**run.timings_ms, "total": (self._clock() - run.started) * 1e3},
        )

    def _outcome_at_hand(self, question: Question, policy: PolicyInForce, known: AtHand, started: float) -> Outcome:
        now = self._clock()
        decisions: Sequence[Decision | ApiError] = known.decisions
        if question.cascades:
            self._budgets[question.route].decide(len(known.decisions), now)
            first = dict(enumerate(known.decisions)) if known.tier == "fast" else {}
            names = (self._fast.full_name, self._accurate.full_name)
            self._audit(question, policy, known.decisions, first, names)
            decisions = _with_calibrated_confidence(decisions, policy.bar(question.route, question.group, *names))
        self._cache.count_hits(len(known.decisions) + known.decisions[0].text_hits)
        took_ms = (now - started) * 1e3
        return Outcome(
            decisions=tuple(decisions),
            text_errors={},
            token_count=known.token_count,
            is_truncated=known.is_truncated,
            models={**self._model_ids(), known.tier: known.model_id},
            policy_version=policy.version,
            timings_ms={"cache": took_ms, "total": took_ms},
        )

    def _audit(
        self,
        question: Question,
        policy: PolicyInForce,
        decisions: Sequence[Decision | ApiError],
        first: Mapping[int, Decision | ApiError],
        names: tuple[str | None, str | None],
    ) -> None:
        """Draw lots, which know nothing of what was decided; what they fall on is audited behind the answer."""
        if self._auditor is None:
            return
        share = policy.rule(question.route).audit_share
        for image in self._auditor.draw(len(decisions), share):
            served, fast = decisions[image], first.get(image)
            if isinstance(served, Decision) and served.is_choice:
                bar = policy.bar(question.route, question.group, *names)
                seen_first = fast if isinstance(fast, Decision) else None
                self._auditor.add(Seen(question, image, policy.version, names, bar, share, served, seen_first))

    def _names(self, fast: Comparison, accurate: Comparison) -> tuple[str | None, str | None]:
        """Both spaces' full names: those in which was compared, or else the tiers' present ones."""
        fast_name = self._fast.full_name if fast.model is None else self._fast.full_name_of(fast.model)
        name = self._accurate.full_name if accurate.model is None else self._accurate.full_name_of(accurate.model)
        return fast_name, name

    def _model_ids(self) -> dict[TierName, str | None]:
        return {"fast": self._fast.model_id, "accurate": self._accurate.model_id}

    async def _look_up(self, run: _Run) -> tuple[Comparison, Comparison]:
        """One lookup for whatever tiers the question may use."""
        question, cache = run.question, self._cache
        items = (*question.images, *question.texts)
        fast, accurate = (Comparison(question.images, question.texts) for _ in range(2))
        wanted = _tiers_wanted(question)
        # As of now: a tier may be rolled to another model while the lookup is on its way.
        fast_model, accurate_model = self._fast.description, self._accurate.description
        asked = self._accurate.lookups(items) if "accurate" in wanted else []
        if asked and "fast" in wanted and self._accurate.lacks(question.images):
            asked = []
        also = self._fast.lookups(items) if "fast" in wanted else []
        found = await cache.get_many([*also, *asked])
        if also:
            fast.begin(fast_model, self._fast.found(items, found[: len(also)]))
        if asked:
            accurate.begin(accurate_model, self._accurate.found(items, found[len(also) :]))
        run.timings_ms["cache"] = (self._clock() - run.started) * 1e3
        return fast, accurate

    async def _cascade(self, run: _Run, fast: Comparison, accurate: Comparison) -> list[Decision | ApiError]:
        every = range(len(run.question.images))
        # An accurate answer that is already paid for is the one to give.
        free = {i for i in every if accurate.is_complete(i)}
        decisions: dict[int, Decision | ApiError] = {i: self._decide(run, "accurate", accurate, i) for i in free}
        rest = [i for i in every if i not in free]
        await self._complete(run, "fast", fast, rest)
        # The fast tier is gone: what the accurate tier admits, it answers.
        lost = [i for i in rest if isinstance(fast.error_for(i, ()), Unavailable)]
        decisions |= await self._stand_in(run, accurate, lost)
        rest = [i for i in rest if i not in decisions]
        decisions |= {i: self._decide(run, "fast", fast, i) for i in rest}
        run.first = {i: decisions[i] for i in rest}
        now = self._clock()
        question = run.question
        self._budgets[question.route].decide(len(every), now)
        bar = run.policy.bar(question.route, question.group, *self._names(fast, accurate))
        uncertain = [i for i in rest if _is_uncertain(decisions[i], bar)]
        looked, over = self._within_budget(uncertain, run, now)
        decisions |= {i: _degrade(decisions[i], "budget", _over_budget(), run.rule) for i in over}
        decisions |= await self._second_look(run, accurate, {i: decisions[i] for i in looked})
        return [decisions[i] for i in every]

    async def _stand_in(self, run: _Run, accurate: Comparison, lost: list[int]) -> dict[int, Decision | ApiError]:
        """The accurate tier's decisions on images which the fast tier can't have a first look at; none where it can't.

        No budget counts these: it says how many answers may be looked at twice.
        """
        await self._complete(run, "accurate", accurate, lost)
        answered = [i for i in lost if accurate.error_for(i, ()) is None]
        return {i: self._decide(run, "accurate", accurate, i, escalated=True) for i in answered}

    def _within_budget(self, uncertain: Sequence[int], run: _Run, now: float) -> tuple[list[int], list[int]]:
        budget, rule = self._budgets[run.question.route], run.rule
        looked = [i for i in uncertain if budget.take(rule.escalation_budget, now, rule.escalations_per_s)]
        return looked, [i for i in uncertain if i not in set(looked)]

    async def _second_look(
        self, run: _Run, accurate: Comparison, first: dict[int, Decision | ApiError]
    ) -> dict[int, Decision | ApiError]:
        if not first:
            return {}
        now = self._clock()
        left_s = run.deadline.left_s(now)
        patience = run.deadline.earlier_by(min(RESERVE_MAX_S, RESERVE_SHARE * left_s))
        await self._complete(run, "accurate", accurate, list(first), patience)
        second: dict[int, Decision | ApiError] = {}
        for i, decision in first.items():
            columns = decision.columns if isinstance(decision, Decision) else ()
            error = accurate.error_for(i, columns)
            if error is None:
                second[i] = self._decide(run, "accurate", accurate, i, escalated=True)
            elif isinstance(error, CALLERS_FAULTS):
                second[i] = error
            else:
                second[i] = _degrade(decision, _reason(error), error, run.rule)
        return second

    async def _complete(
        self,
        run: _Run,
        tier: TierName,
        comparison: Comparison,
        images: Sequence[int],
        deadline: Deadline | None = None,
    ) -> None:
        """Have the tier embed what these images' comparison lacks."""
        if not images:
            return
        embedder = self._fast if tier == "fast" else self._accurate
        began = self._clock()
        results = await complete(embedder, comparison, images, deadline or run.deadline, run.question.traffic)
        if not results:
            return
        queue_ms = max((r.queue_ms for r in results if isinstance(r, Embedding)), default=0.0)
        run.timings_ms["queue"] = run.timings_ms.get("queue", 0.0) + queue_ms
        run.timings_ms[tier] = (self._clock() - began) * 1e3

    def _decide(
        self, run: _Run, tier: TierName, comparison: Comparison, image: int, *, escalated: bool = False
    ) -> Decision | ApiError:
        error = comparison.image_error(image)
        if error is not None:
            return error
        comparison.raise_if_texts_failed()
        hits, misses = comparison.text_cache_use
        return Decision(
            verdict=comparison.judge(image, run.question.threshold),
            columns=comparison.columns,
            tier=tier,
            escalated=escalated,
            degraded=None,
            image_hit=comparison.image_hit(image),
            text_hits=hits,
            text_misses=misses,
            is_choice=run.question.threshold is not None or len(comparison.columns) > 1,
        )


def _with_calibrated_confidence(decisions: Sequence[Decision | ApiError], bar: Bar) -> Sequence[Decision | ApiError]:
    """Say of the fast tier's decisions how often such are the accurate tier's, where a certificate knows it."""
    if bar.temperature is None:
        return decisions
    calibrated: list[Decision | ApiError] = []
    for one in decisions:
        if isinstance(one, Decision) and one.tier == "fast" and one.is_choice:
            verdict = one.verdict._replace(confidence=calibrate(one.verdict.confidence, bar.temperature))
            calibrated.append(one._replace(verdict=verdict))
        else:
            calibrated.append(one)
    return calibrated


def _tiers_wanted(question: Question) -> tuple[TierName, ...]:
    if question.tier != "auto":
        return (question.tier,)
    return ("fast", "accurate") if question.has_decision else ("fast",)


def _models_of(comparisons: dict[TierName, Comparison]) -> dict[TierName, str | None]:
    """The models in whose spaces was compared: a tier may be rolled to another before the answer is written."""
    return {tier: one.model.identity for tier, one in comparisons.items() if one.model is not None}


def _is_uncertain(decision: Decision | ApiError, bar: Bar) -> bool:
    return isinstance(decision, Decision) and decision.is_choice and decision.verdict.margin < bar.threshold


def _reason(error: ApiError) -> DegradedReason:
    if isinstance(error, Overloaded):
        return "accurate_shed"
    if isinstance(error, DeadlineExceeded):
        return "accurate_timeout"
    return "accurate_open"


def _over_budget() -> ApiError:
    return Overloaded("the escalation budget is spent", retry_after_s=1)


def _degrade(decision: Decision | ApiError, reason: DegradedReason, error: ApiError, rule: Rule) -> Decision | ApiError:
    """The fast tier's decision, marked, or the error, as the policy says."""
    if isinstance(decision, ApiError) or rule.degraded == "fail":
        return decision if isinstance(decision, ApiError) else error
    return decision._replace(degraded=reason)
