"""A disk that can be full: a small file system, or a bound on files where none may be mounted."""

import resource
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_BYTES = 128 * 2**20
PAGE = b"\0" * 4096


class SmallDisk:
    """A folder that has little room."""

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self.is_mounted = is_mounted

    def fill(self, file: Path, writers: Iterable[int]) -> None:
        """Leave no room for `file`, which these processes write."""
        if not self.is_mounted:
            _bound(writers, file.stat().st_size)
            return
        with self._filler.open("ab", buffering=0) as filler:
            while True:
                try:
                    filler.write(PAGE)
                except OSError:
                    return

    def clear(self, writers: Iterable[int]) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)
        if not self.is_mounted:
            _bound(writers, resource.RLIM_INFINITY)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mount a small file system at a folder, where that is allowed, until the block ends."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "secondlook-test", str(folder)]
    is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield SmallDisk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _bound(processes: Iterable[int], size: int) -> None:
    for pid in processes:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
