"""The programs that readers are shown, in examples/ and in the documents, to be run against a real service."""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PICTURE = EXAMPLES / "picture.png"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|sh|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASKS_A_SERVICE = re.compile(r"localhost:8000|secondlook (query|status)|from secondlook import")
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Program:
    """What a reader would type or run."""

    name: str
    language: str
    source: str = field(repr=False)

    def run(self, base_url: str, folder: Path) -> str:
        """Run it in a folder where `picture.png` is, against this service; what it printed.

        Raises:
            AssertionError: It failed.
        """
        (folder / PICTURE.name).write_bytes(PICTURE.read_bytes())
        script = folder / f"program.{self.language}"
        script.write_text(_at(base_url, self.source), encoding="utf-8")
        command = [sys.executable] if self.language == "python" else ["bash", "-euo", "pipefail"]
        done = subprocess.run(
            [*command, script], check=False, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert done.returncode == 0, f"{self.name}: {done.stdout}{done.stderr}"
        return done.stdout


def programs() -> list[Program]:
    """Every example, and every block of a document that asks a service."""
    return [*_examples(), *_blocks()]


def _examples() -> list[Program]:
    files = sorted(file for file in EXAMPLES.iterdir() if file.suffix in {".py", ".sh"})
    languages = {".py": "python", ".sh": "sh"}
    return [Program(file.name, languages[file.suffix], file.read_text(encoding="utf-8")) for file in files]


def _blocks() -> list[Program]:
    """A page's blocks of Python are one program after another in one session, as a reader would type them."""
    found: list[Program] = []
    for page in DOCUMENTS:
        blocks = [(m[1], m[2]) for m in BLOCK.finditer(page.read_text(encoding="utf-8")) if ASKS_A_SERVICE.search(m[2])]
        python = "\n".join(source for language, source in blocks if language == "python")
        shell = [source for language, source in blocks if language != "python"]
        found += [Program(f"{page.name}: {source.splitlines()[0][:60]}", "sh", source) for source in shell]
        found += [Program(f"{page.name}: Python", "python", python)] if python else []
    return found


def _at(base_url: str, source: str) -> str:
    """The program, asking this service instead of the one on port 8000, by this interpreter instead of .venv's."""
    host = base_url.removeprefix("http://")
    moved = source.replace("localhost:8000", host).replace("Client()", f"Client({base_url!r})")
    return re.sub(
        r"\.venv/bin/secondlook (query|status)", rf"{sys.executable} -m secondlook \1 --url {base_url}", moved
    )
