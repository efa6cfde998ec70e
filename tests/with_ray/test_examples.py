"""Every program that readers are shown works against a service on the quickstart's defaults."""

from pathlib import Path

import pytest

from tests.programs import Program, programs


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_program_works(program: Program, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends well, and the service told it of no error but the one that it is there to show."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    printed = program.run(base_url, tmp_path)

    assert '"error"' not in printed
    assert "no answer" not in printed


def test_programs_are_found() -> None:
    """The examples, and blocks of the README and of the client's page."""
    names = {program.name.split(":")[0] for program in programs()}

    assert {"curl.sh", "client_quickstart.py", "async_client.py", "openai_embeddings.py"} <= names
    assert {"README.md", "client.md"} <= names
