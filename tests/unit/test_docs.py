"""The documents say what the code does: every key, code, route and flag is in them."""

import json
import re
from pathlib import Path

import pytest

from router.config import AppArgs
from router.errors import ERROR_TABLE
from router.openapi import openapi_document
from secondlook.cli import build_parser
from secondlook.config_reference import reference

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


@pytest.mark.parametrize("target", ["demo", "test", "serve"])
def test_makefile_has_the_readmes_doors(target: str) -> None:
    """What the README says is typed exists."""
    assert f"make {target}" in README
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def _commands() -> dict[str, str]:
    (actions,) = [action for action in build_parser()._actions if action.dest == "command"]
    assert isinstance(actions.choices, dict)
    return {name: parser.format_help() for name, parser in actions.choices.items()}
