"""How far a job has come: a bar on a terminal, a line every tenth in a pipe; on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TENTHS = 10


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show the progress of a job until the block ends; call what is yielded with how much is done.

    `total` None: nobody knows how much there is.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not need it
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(what: str, total: int | None) -> Callable[[int], None]:
    said = 0

    def advance(done: int) -> None:
        nonlocal said
        tenth = TENTHS * done // total if total else 0
        if tenth > said:
            said = tenth
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return advance
