"""Questions to calibrate with: pictures and texts from files, each mistake named by its place."""

import json
from pathlib import Path

import pytest

from jobs.errors import QuestionsRefused
from jobs.questions import FileQuestion, draw, from_folder, from_lines


def labels(folder: Path, text: str) -> Path:
    """A file of labels."""
    file = folder / "labels.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_picture_of_a_folder_is_asked_about_with_all_labels(tmp_path: Path) -> None:
    """Also below it; other files are not pictures, and a label counts once."""
    (tmp_path / "below").mkdir()
    for name in ("b.JPG", "below/a.png", "notes.txt"):
        (tmp_path / name).touch()

    questions = from_folder(tmp_path, labels(tmp_path, "a cat\n\n a dog \na cat\n"))

    assert questions == [
        FileQuestion(tmp_path / "b.JPG", ("a cat", "a dog")),
        FileQuestion(tmp_path / "below" / "a.png", ("a cat", "a dog")),
    ]


def test_lines_have_texts_of_their_own_and_paths_beside_the_file(tmp_path: Path) -> None:
    """Empty lines are nothing."""
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"image": "x/1.png", "texts": ["a", "b"]}) + "\n\n", encoding="utf-8")

    assert from_lines(file) == [FileQuestion(tmp_path / "x" / "1.png", ("a", "b"))]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"image": 1, "texts": ["a", "b"]}',
        '{"image": "x", "texts": ["a"]}',
        '{"image": "x", "texts": [1, 2]}',
    ],
)
def test_line_that_is_no_question_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    """The first one that is wrong."""
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"image": "x", "texts": ["a", "b"]}) + "\n" + line, encoding="utf-8")

    with pytest.raises(QuestionsRefused, match="line 2"):
        from_lines(file)


def test_what_holds_no_question_is_refused(tmp_path: Path) -> None:
    """No file, an empty one, no pictures, one label, bytes that are no text."""
    empty = labels(tmp_path, "")
    two = tmp_path / "two.txt"
    two.write_text("a\nb", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    bare = tmp_path / "bare"
    bare.mkdir()

    for file in (tmp_path / "absent", empty, tmp_path / "binary"):
        with pytest.raises(QuestionsRefused):
            from_lines(file)
    for folder, texts in ((tmp_path, empty), (tmp_path / "absent", two), (bare, two)):
        with pytest.raises(QuestionsRefused):
            from_folder(folder, texts)


def test_draw_is_the_same_for_the_same_seed() -> None:
    """And never more than there are."""
    questions = [FileQuestion(Path(str(number)), ("a", "b")) for number in range(20)]

    assert draw(questions, 5, 1) == draw(questions, 5, 1) != draw(questions, 5, 2)
    assert sorted(question.image for question in draw(questions, None, 1)) == sorted(q.image for q in questions)
    assert len(draw(questions, 100, 1)) == len(questions)
