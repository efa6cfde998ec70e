"""The file of rows that are no good: a line of JSON each, written as they are found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from jobs.errors import CatalogueRefused
from jobs.rows import Reject


@contextmanager
def rejects_file(path: Path | None) -> Iterator[Callable[[Reject], None]]:
    """Yield what writes a row to the file, begun anew; where there is none it writes nothing.

    Raises:
        CatalogueRefused: It can't be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise CatalogueRefused(f"{path}: cannot be written ({type(error).__name__})") from error
    with file:

        def write(reject: Reject) -> None:
            file.write(orjson.dumps(reject._asdict()) + b"\n")
            file.flush()

        yield write
