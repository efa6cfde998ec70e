"""`secondlook demo`: start a service, ask it real questions, ask them again, stop it."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from secondlook.deployment_file import DEFAULT_CONFIG, load
from secondlook.errors import DemoFailed

if TYPE_CHECKING:
    import httpx

    from secondlook.questions import DemoQuestion
    from secondlook.similarity import Answer

SUMMARY = "start a service, ask it about pictures, show what it does"
QUESTIONS = 6
MOST_QUESTIONS = 60
"""Where nothing among the first questions takes a second look, so many are asked to find one that does."""
COLUMNS = ("picture", "best text", "right", "probability", "tier", "confidence", "cached", "ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="F", help="deployment file (default: quick start)"
    )


def run(options: argparse.Namespace) -> int:
    """Show the service at work."""
    from secondlook.background import background_service  # noqa: PLC0415 - --help needs neither
    from secondlook.similarity import connect  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="secondlook-demo-") as folder:
        config = _with_empty_cache(options.config, Path(folder))
        print("Starting a service on the embedded defaults ...", flush=True)
        with background_service(config) as url, connect(url) as client:
            print(f"It listens at {url}.\n", flush=True)
            _show(client)
    print("The service has been stopped.")
    return 0


def _with_empty_cache(config: Path, folder: Path) -> Path:
    """A copy of the deployment file whose cache is a new folder."""
    document = load(config).model_dump(mode="json")
    document["cache"]["url"] = f"embedded:{folder / 'cache'}"
    copy = folder / "demo.yaml"  # JSON is YAML
    copy.write_text(json.dumps(document), encoding="utf-8")
    return copy


def _show(client: "httpx.Client") -> None:
    from secondlook.similarity import ask  # noqa: PLC0415

    asked = _ask_until_second_look(client)
    questions = [question for question, _ in asked]
    print("Pictures drawn for this demo, of compositions that the models have never seen:")
    for number, question in enumerate(questions, 1):
        print(f"  {number}  {question.caption}")
    print(f"\nWhich of {len(questions[0].texts)} texts fits? Most of the wrong ones differ in one word.\n")
    _print_answers("Asked for the first time (rows marked: a second look)", asked)
    _explain_second_look(client, asked)
    again = [(question, ask(client, [question.image], question.texts)) for question in questions]
    _print_answers("The same questions again", again)
    if not all(answer.pictures[0].hits == answer.pictures[0].lookups for _, answer in again):
        raise DemoFailed("the second time, not every embedding came from the cache")
    print("\nEvery embedding came from the cache; no model ran.\n")


def _ask_until_second_look(client: "httpx.Client") -> list[tuple["DemoQuestion", "Answer"]]:
    from secondlook.questions import draw_question  # noqa: PLC0415
    from secondlook.similarity import ask  # noqa: PLC0415

    asked: list[tuple[DemoQuestion, Answer]] = []
    for seed in range(MOST_QUESTIONS):
        question = draw_question(seed)
        answer = ask(client, [question.image], question.texts)
        # Past the table's length only a second look is of interest.
        if len(asked) < QUESTIONS:
            asked.append((question, answer))
        elif _took_second_look(answer):
            asked[-1] = (question, answer)
        if len(asked) == QUESTIONS and any(_took_second_look(one) for _, one in asked):
            return asked
    raise DemoFailed(f"none of {MOST_QUESTIONS} questions took a second look")


def _took_second_look(answer: "Answer") -> bool:
    picture = answer.pictures[0]
    return picture.escalated and picture.degraded is None and picture.tier == "accurate"


def _print_answers(title: str, asked: list[tuple["DemoQuestion", "Answer"]]) -> None:
    from secondlook.tables import print_table  # noqa: PLC0415

    marked = [index for index, (_, answer) in enumerate(asked) if _took_second_look(answer)]
    rows = [_row(number, question, answer) for number, (question, answer) in enumerate(asked, 1)]
    print_table(COLUMNS, rows, sys.stdout, title=title, marked=marked)


def _row(number: int, question: "DemoQuestion", answer: "Answer") -> tuple[str, ...]:
    picture = answer.pictures[0]
    chance = picture.probability[picture.best] if picture.probability else None
    return (
        str(number),
        question.texts[picture.best],
        "yes" if picture.best == question.true else "no",
        "-" if chance is None else f"{chance:.3f}",
        picture.tier,
        f"{picture.confidence:.3f}",
        f"{picture.hits}/{picture.lookups}",
        f"{answer.elapsed_ms:.0f}",
    )


def _explain_second_look(client: "httpx.Client", asked: list[tuple["DemoQuestion", "Answer"]]) -> None:
    from secondlook.similarity import ask  # noqa: PLC0415

    number, question, answer = next(
        (number, question, answer) for number, (question, answer) in enumerate(asked, 1) if _took_second_look(answer)
    )
    fast = ask(client, [question.image], question.texts, tier="fast").pictures[0]
    accurate = answer.pictures[0]
    print(f"\nPicture {number} took a second look. The fast tier was not sure enough:")
    print(f"  fast      {fast.confidence:.3f}  {question.texts[fast.best]}")
    print(f"  accurate  {accurate.confidence:.3f}  {question.texts[accurate.best]}\n")
