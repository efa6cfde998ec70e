"""The watchdog: everything that carries the marker goes, everything else stays."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from secondlook import watchdog

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def sleeper(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process that would go on for a minute."""
    return subprocess.Popen(SLEEP, env={**os.environ, **environment}, start_new_session=True)


def test_end_of_the_launcher_ends_its_processes_and_removes_its_folder(tmp_path: Path) -> None:
    """The pipe closes as it does at the launcher's death; another service's process goes on."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    (mine / "file").touch()
    command = [sys.executable, "-S", "-E", watchdog.__file__, str(mine)]
    with (
        sleeper({watchdog.MARKER: str(mine)}) as marked,
        sleeper({watchdog.MARKER: str(other)}) as unmarked,
        subprocess.Popen(command, stdin=subprocess.PIPE) as guard,
    ):
        assert watchdog.marked_processes(str(mine)) == {marked.pid}

        guard.communicate(timeout=30)

        assert marked.wait(10) == -9
        assert not mine.exists()
        assert unmarked.poll() is None
        unmarked.kill()
