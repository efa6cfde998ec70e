"""The documents say what the code does: every key, code, route and flag is in them."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from router.config import AppArgs
from router.errors import ERROR_TABLE
from router.openapi import openapi_document
from secondlook import ApiError, AsyncClient, Client, ClientError
from secondlook.cli import build_parser
from secondlook.client.connection import Options
from secondlook.config_reference import reference
from tests.programs import Program, programs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLIENT_PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")


def test_configuration_page_and_schema_are_those_of_the_models() -> None:
    """Made by `secondlook config reference` and `secondlook config schema`."""
    schema = AppArgs.model_json_schema()

    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference(schema)
    assert json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8")) == schema


def test_every_configuration_key_says_what_it_means() -> None:
    """No row of the page is empty."""
    page = reference(AppArgs.model_json_schema())

    assert not re.findall(r"^\| `.*\|  \|$", page, re.MULTILINE)


def test_every_error_code_is_documented_with_its_status() -> None:
    """And no other."""
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")

    documented = set(re.findall(r"^\| (\d{3}) \| `(\w+)`", page, re.MULTILINE))

    assert documented == {(str(error.status), error.code) for error in ERROR_TABLE}


def test_every_route_is_in_the_readme() -> None:
    """The table is complete."""
    for path in openapi_document()["paths"]:
        assert f"{path}`" in README, path


def test_every_command_is_in_the_commands_page() -> None:
    """With each of its flags."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

    for command, parser in _commands().items():
        assert f"`secondlook {command}" in page, command
        for flag in re.findall(r"--[a-z-]+", parser):
            assert f"`{flag}" in page or flag == "--help", (command, flag)


def test_readme_is_short() -> None:
    """It can be read at one go."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("subject", [Client, AsyncClient])
def test_every_method_of_the_client_is_in_its_page(subject: type) -> None:
    """And nothing that both clients do is left out of one."""
    methods = {name for name in vars(subject) if not name.startswith("_")} - {"close", "aclose"}

    assert methods == {name for _, name in re.findall(r"(\| |, )`([a-z]\w+)\([^`]*\)`", CLIENT_PAGE)}


def test_every_option_and_error_of_the_client_is_in_its_page() -> None:
    """What it can be told, and what it can end with."""
    kinds: list[type[ClientError]] = [ClientError, *ClientError.__subclasses__(), *ApiError.__subclasses__()]
    errors = {kind.__name__ for kind in kinds}

    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \| ", CLIENT_PAGE, re.MULTILINE)) == set(Options.__annotations__)
    assert {error for error in errors if f"`{error}`" not in CLIENT_PAGE} == set()


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_program_that_readers_are_shown_can_be_parsed(program: Program) -> None:
    """They are run against a service with the tests that have Ray."""
    if program.language == "python":
        compile(program.source, program.name, "exec")
    else:
        subprocess.run(["bash", "-n"], input=program.source, text=True, check=True)


def test_every_example_is_in_the_clients_page() -> None:
    """Who looks for one finds it."""
    examples = {file.name for file in (ROOT / "examples").iterdir() if file.suffix in {".py", ".sh"}}

    assert {example for example in examples if f"(../examples/{example})" not in CLIENT_PAGE} == set()


@pytest.mark.parametrize("target", ["demo", "test", "serve"])
def test_makefile_has_the_readmes_doors(target: str) -> None:
    """What the README says is typed exists."""
    assert f"make {target}" in README
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def _commands() -> dict[str, str]:
    (actions,) = [action for action in build_parser()._actions if action.dest == "command"]
    assert isinstance(actions.choices, dict)
    return {name: parser.format_help() for name, parser in actions.choices.items()}
