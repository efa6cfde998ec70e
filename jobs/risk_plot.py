"""What a calibration found, as a picture: disagreement against second looks, and whether confidence keeps its word."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.calibrate import GroupResult
from router.reliability import Bin

RISK, BOUND, TARGET, CHOSEN, PLAIN = "#2b5f9e", "#9db8d9", "#b3372f", "#2f7d4f", "#8a8f98"


def write_risk_plot(path: Path, result: GroupResult) -> None:
    """Draw one group's calibration; the file's suffix says how (`.png`, `.svg`)."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second, for who draws

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    picture, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    _draw_risk(left, result)
    _draw_reliability(right, result)
    picture.suptitle(f"{result.group}: {result.calibration.count} questions", fontsize=11)
    picture.savefig(path, dpi=140)
    plt.close(picture)


def _draw_risk(axes: Any, result: GroupResult) -> None:
    calibration = result.calibration
    shares = [100 * point.escalation_share for point in calibration.points]
    axes.plot(shares, [100 * (1 - one.agreement) for one in calibration.points], color=RISK, label="disagreement")
    bounds = [100 * (1 - one.agreement_bound) for one in calibration.points]
    axes.plot(shares, bounds, color=BOUND, label=f"at most, with {calibration.confidence:.0%} confidence")
    allowed = 100 * (1 - calibration.target_agreement)
    axes.axhline(allowed, color=TARGET, linewidth=1, linestyle="--", label=f"allowed: {allowed:.3g} %")
    if calibration.chosen is not None:
        share = 100 * calibration.chosen.escalation_share
        label = f"certified: margin {calibration.chosen.threshold:g}, {share:.1f} % second looks"
        axes.axvline(share, color=CHOSEN, linewidth=1.5, label=label)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, max(2.5 * allowed, 0.1))
    axes.set_xlabel("second looks, % of questions")
    axes.set_ylabel("served by the fast tier and not as the accurate one, %")
    axes.legend(fontsize=8)


def _draw_reliability(axes: Any, result: GroupResult) -> None:
    axes.plot([0, 1], [0, 1], color=PLAIN, linewidth=0.8, linestyle=":")
    _draw_bins(axes, result.raw, BOUND, f"as the model says, error {result.raw_error:.3f}")
    label = f"at temperature {result.temperature:.2f}, error {result.fitted_error:.3f}"
    _draw_bins(axes, result.fitted, RISK, label)
    axes.set_xlabel("the fast tier's confidence")
    axes.set_ylabel("share that the accurate tier agrees with")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)


def _draw_bins(axes: Any, bins: Sequence[Bin], colour: str, label: str) -> None:
    shares = [one.correct_share for one in bins]
    low = [one.correct_share - one.correct_low for one in bins]
    high = [one.correct_high - one.correct_share for one in bins]
    places = [one.mean_confidence for one in bins]
    axes.errorbar(places, shares, yerr=[low, high], color=colour, marker="o", markersize=4, capsize=2, label=label)
