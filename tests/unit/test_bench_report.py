"""The benchmarks' report: what is compared, what is promised, and how it reads."""

import itertools
import json
from pathlib import Path

import pytest

from bench.figures import Figure, Findings, Promise, compare, interleave
from bench.redis_floor import parse
from bench.report import document, table, write_json
from bench.soak import growth_percent


def test_rounds_are_taken_in_turn() -> None:
    """A B A B, so that a disturbance meets both."""
    turns = itertools.count(1)

    def measure() -> dict[str, int]:
        return {"turn": next(turns)}

    assert interleave({"a": measure, "b": measure}, 2) == {
        "a": [{"turn": 1}, {"turn": 3}],
        "b": [{"turn": 2}, {"turn": 4}],
    }


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A round in which the whole machine was slow counts by its ratio."""
    samples = {"ours": [{"v": 60}, {"v": 6}, {"v": 90}], "floor": [{"v": 100}, {"v": 10}, {"v": 100}]}

    figure = compare(samples, "ours", "floor", key="v", name="n", unit="u", promise=Promise("ratio", at_least=0.6))

    assert (figure.ours, figure.floor) == (60, 100)
    assert figure.ratio == pytest.approx(0.6)
    assert figure.is_kept


def test_promise_is_of_the_figure_or_of_its_ratio() -> None:
    """Without a promise there is nothing to hold."""
    promises = [Promise("ours", at_most=12), Promise("ours", at_most=9), Promise("ratio", at_least=0.5), None]

    kept = [Figure("n", "us", 10.0, 40.0, "floor", 0.25, promise).is_kept for promise in promises]

    assert kept == [True, False, False, None]


def test_nothing_measured_keeps_no_promise() -> None:
    """Not-a-number is no success."""
    assert not Promise("ours", at_most=5).holds(float("nan"))


def test_table_names_what_is_missed_and_every_note() -> None:
    """One line a figure, notes below."""
    figure = Figure("lookups", "keys/s", 10_000.0, 40_000.0, "redis", 0.25, Promise("ratio", at_least=0.5))

    text = table({"cache": Findings([figure], notes=["the machine was busy"])})

    assert "10,000" in text
    assert ">= 0.5x" in text
    assert "MISSED" in text
    assert "note (cache): the machine was busy" in text


def test_document_is_json_also_where_something_was_not_measured(tmp_path: Path) -> None:
    """Not-a-number becomes null."""
    findings = {"s": Findings([Figure("n", "u", float("nan"))], {"m": [{"v": 1.0}]})}

    write_json(tmp_path / "out.json", document(findings, {"cores": 2}, {"rounds": 1}))

    read = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert read["scenarios"]["s"]["figures"][0]["ours"] is None
    assert read["scenarios"]["s"]["rounds"] == {"m": [{"v": 1.0}]}


def test_redis_benchmarks_csv_is_read_by_its_header() -> None:
    """The first column repeats the command."""
    output = '"test","rps","p50_latency_ms"\n"MGET a, b","1000.50","0.25"\n'

    assert parse(output) == {"rps": 1000.5, "p50_latency_ms": 0.25}


def test_memory_growth_compares_the_last_tenth_with_the_second() -> None:
    """What is filled in the first tenth does not count."""
    assert growth_percent([50.0] * 10 + [100.0] * 80 + [102.0] * 10) == pytest.approx(2)
