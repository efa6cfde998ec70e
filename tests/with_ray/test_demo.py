"""`secondlook demo`, as a newcomer runs it: a real service, real questions, a second look, exit code 0."""

import re
import subprocess
import sys

from tests.deployment_files import ROOT


def test_demo_shows_answers_a_second_look_and_cache_hits() -> None:
    """Both tables are printed, one row is marked, and the second time everything is cached."""
    command = [sys.executable, "-m", "secondlook", "demo"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)

    assert done.returncode == 0, done.stderr
    assert "took a second look" in done.stdout
    first, again = done.stdout.split("The same questions again")
    assert re.search(r"accurate .* 0/9", first)
    assert len(re.findall(r" 9/9 ", again)) == 6
