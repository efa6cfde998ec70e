"""`secondlook config`: check a deployment file, print the schema of all of them."""

import argparse
import json
from pathlib import Path

from secondlook.deployment_file import load

SUMMARY = "check a deployment file, print its schema"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say whether a deployment file is valid, and what is wrong with it")
    check.add_argument("file", type=Path, metavar="F")
    actions.add_parser("schema", help="print the JSON Schema of deployment files")
    actions.add_parser("reference", help="print what every key means, as Markdown")


def run(options: argparse.Namespace) -> int:
    """Check the file, or print the schema."""
    if options.action == "check":
        load(options.file)
        print(f"{options.file}: valid")
        return 0
    from router.config import AppArgs  # noqa: PLC0415 - --help does not need it
    from secondlook.config_reference import reference  # noqa: PLC0415

    schema = AppArgs.model_json_schema()
    print(reference(schema) if options.action == "reference" else json.dumps(schema, indent=2) + "\n", end="")
    return 0
