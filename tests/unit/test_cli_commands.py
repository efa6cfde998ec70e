"""The command line's own behaviour: arguments, exit codes, what it prints where."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secondlook import cli
from secondlook.commands import query
from secondlook.deployment_file import DEFAULT_CONFIG


def exit_code_of(*arguments: str) -> int:
    """The code that the process would end with."""
    try:
        return cli.main(arguments)
    except SystemExit as ending:
        return int(ending.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [[], ["sreve"], ["serve", "--port", "70000"], ["serve", "--port", "-1"], ["query", "cat.jpg"], ["config"]],
)
def test_wrong_use_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong use is told on standard error."""
    assert exit_code_of(*arguments) == 2
    assert "usage: secondlook" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["serve"], ["query"], ["demo"], ["config"], ["config", "check"]])
def test_help_ends_with_0(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself on standard output."""
    assert exit_code_of(*command, "--help") == 0
    assert "usage: secondlook" in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    """Help and version answer at once: no Ray, no torch, no HTTP client."""
    program = "import sys, secondlook.cli; secondlook.cli.build_parser(); print(*sys.modules)"
    began = time.perf_counter()
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert time.perf_counter() - began < 5
    assert not {"ray", "torch", "httpx", "rich", "pydantic", "numpy"} & set(modules)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program."""
    assert exit_code_of("--version") == 0
    assert capsys.readouterr().out.startswith("secondlook ")


def test_serve_options_default_to_the_file() -> None:
    """Host and port are the file's unless given; 0 is a port."""
    options = cli.build_parser().parse_args(["serve"])
    assert (options.host, options.port, options.config) == (None, None, DEFAULT_CONFIG)
    assert cli.build_parser().parse_args(["serve", "--port", "0"]).port == 0
    assert cli.build_parser().parse_args(["query", "i", "t"]).url == query.DEFAULT_URL


def test_serve_refuses_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started; one line says which address is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert cli.main(["serve", "--port", str(port)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"secondlook: cannot listen on 127.0.0.1:{port}: address already in use\n"


def test_serve_refuses_a_wrong_file_and_names_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message has the key's path."""
    file = tmp_path / "wrong.yaml"
    file.write_text("server: {prot: 8000}\ntiers: {fast: {}}\n")

    assert cli.main(["serve", "--config", str(file)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "server.prot" in printed.err
    assert "port" in printed.err


def test_config_check_accepts_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """The quick start's file is valid."""
    assert cli.main(["config", "check", str(DEFAULT_CONFIG)]) == 0
    assert capsys.readouterr().out.endswith("valid\n")


def test_config_check_of_a_missing_file_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there is a failure, not wrong use."""
    assert cli.main(["config", "check", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_config_schema_describes_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is JSON and forbids unknown keys."""
    assert cli.main(["config", "schema"]) == 0

    schema = json.loads(capsys.readouterr().out)
    assert {"server", "tiers", "cache", "router", "policy", "limits"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
