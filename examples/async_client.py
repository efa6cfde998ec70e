"""Ask a running service (`secondlook serve`) many questions at once, with a deadline for each."""

import asyncio
from pathlib import Path

from secondlook import AsyncClient, DeadlineExceeded, Overloaded

PICTURE = Path(__file__).with_name("picture.png")
QUESTIONS = [
    ["a big red circle", "a small red circle"],
    ["a red circle", "a blue circle"],
    ["a circle", "a star", "a cross"],
]


async def ask(client: AsyncClient, texts: list[str]) -> str:
    """The text that fits best, or why there is no answer."""
    try:
        (item,) = (await client.similarity(PICTURE, texts)).items
    except (DeadlineExceeded, Overloaded) as error:
        return f"no answer: {error}"
    return str(item)


async def main() -> None:
    """Ask all of them on one connection pool."""
    async with AsyncClient("http://localhost:8000", deadline_s=10) as client:
        for answer in await asyncio.gather(*(ask(client, texts) for texts in QUESTIONS)):
            print(answer)


asyncio.run(main())
