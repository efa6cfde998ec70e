"""A calibration as a person reads it, and as a machine does."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

from secondlook.tables import print_table

if TYPE_CHECKING:
    from jobs.calibrate import GroupResult
    from router.certificate import Point
    from router.dry_run import Costs

COLUMNS = ("margin", "second looks", "errors", "agreement", "at least", "certified", "hours/million", "price/million")
ROWS = 14
HOUR_MS, MILLION = 3.6e6, 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """Of one replica's hour, in whatever currency; None: not given."""

    fast: float | None
    accurate: float | None


def report(results: "Sequence[GroupResult]", costs: "Costs", prices: Prices, stream: TextIO) -> None:
    """Print every group's table, what was chosen, and how far it can be trusted."""
    for result in results:
        calibration = result.calibration
        shown = _shown(result)
        title = (
            f"{result.group}: {calibration.count} questions, target {calibration.target_agreement:.2%} with "
            f"{calibration.confidence:.0%} confidence"
        )
        rows = [_row(point, costs, prices) for point in shown]
        marked = [shown.index(calibration.chosen)] if calibration.chosen else []
        print_table(COLUMNS, rows, stream, title=title, marked=marked)
        print(_verdict(result), file=stream)
        print(
            f"confidence of the fast tier: calibration error {result.raw_error:.3f}, at temperature "
            f"{result.temperature:.2f} {result.fitted_error:.3f}",
            file=stream,
        )
        if result.lost:
            share = result.lost / (result.lost + calibration.count)
            print(
                f"{result.lost} questions ({share:.1%}) were lost: what they would have said is not known", file=stream
            )


def report_json(results: "Sequence[GroupResult]", costs: "Costs", prices: Prices) -> dict[str, Any]:
    """The same, as data."""
    return {
        "groups": [
            {
                "group": result.group,
                "count": result.calibration.count,
                "lost": result.lost,
                "target_agreement": result.calibration.target_agreement,
                "confidence": result.calibration.confidence,
                "chosen": asdict(result.calibration.chosen) if result.calibration.chosen else None,
                "certificate": result.certificate.id if result.certificate else None,
                "temperature": result.temperature,
                "calibration_error": {"raw": result.raw_error, "fitted": result.fitted_error},
                "reliability": [asdict(one) for one in result.fitted],
                "points": [
                    asdict(point) | {"hours_per_million": _hours(point, costs), "price_per_million": price}
                    for point in result.calibration.points
                    for price in [_price(point, costs, prices)]
                ],
            }
            for result in results
        ]
    }


def _verdict(result: "GroupResult") -> str:
    calibration = result.calibration
    if calibration.chosen is None:
        if calibration.count < result.needed:
            return f"NOT certified: at least {result.needed} questions are needed; every item takes a second look"
        return "NOT certified at any margin: every item takes a second look"
    chosen = calibration.chosen
    return (
        f"certified: a second look below a margin of {chosen.threshold:g}, {chosen.escalation_share:.1%} of questions. "
        f"Agreement with the accurate tier is at least {chosen.agreement_bound:.2%}\non traffic like these questions; "
        "it says nothing of whether either tier is right"
    )


def _shown(result: "GroupResult") -> "list[Point]":
    """A table's worth of the grid: points at about even steps of escalation, the chosen one among them."""
    points = list(result.calibration.points)
    shown: list[Point] = []
    for target in range(ROWS, -1, -1):
        nearest = min(points, key=lambda point: abs(point.escalation_share - target / ROWS))
        if nearest not in shown:
            shown.append(nearest)
    chosen = result.calibration.chosen
    if chosen is not None and chosen not in shown:
        shown.append(chosen)
    return sorted(shown, key=lambda point: -point.threshold)


def _row(point: "Point", costs: "Costs", prices: Prices) -> Sequence[str]:
    hours, price = _hours(point, costs), _price(point, costs, prices)
    return (
        f"{point.threshold:g}",
        f"{point.escalation_share:.1%}",
        str(point.errors),
        f"{point.agreement:.2%}",
        f"{point.agreement_bound:.2%}",
        "yes" if point.passed else "no",
        "-" if hours is None else f"{hours:.2f}",
        "-" if price is None else f"{price:.2f}",
    )


def _hours(point: "Point", costs: "Costs") -> float | None:
    """Replica hours for a million images: every one on the fast tier, the escalated on the accurate one too."""
    if costs.fast_ms is None or costs.accurate_ms is None:
        return None
    return MILLION * (costs.fast_ms + point.escalation_share * costs.accurate_ms) / HOUR_MS


def _price(point: "Point", costs: "Costs", prices: Prices) -> float | None:
    if None in (costs.fast_ms, costs.accurate_ms, prices.fast, prices.accurate):
        return None
    fast = (costs.fast_ms or 0.0) * (prices.fast or 0.0)
    accurate = point.escalation_share * (costs.accurate_ms or 0.0) * (prices.accurate or 0.0)
    return MILLION * (fast + accurate) / HOUR_MS
