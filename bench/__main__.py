"""`python -m bench`: measure layer by layer, ours next to its floor, and report the ratios."""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.cache_layers import measure_cache
from bench.certified import measure_certified
from bench.figures import Findings
from bench.ingress import measure_ingress
from bench.machine import describe
from bench.misses import measure_misses
from bench.neighbours import measure_neighbours
from bench.outage import measure_outage
from bench.overload import measure_overload
from bench.peers.comparison import measure_peers
from bench.plot import write_plot
from bench.poison import measure_poison
from bench.report import document, table, write_json
from bench.scenario import Options, Scenario, say
from bench.single import measure_single
from bench.soak import measure_soak
from bench.start import measure_start
from bench.tail import measure_tail
from bench.tiers_ceiling import measure_tiers
from bench.warmup import measure_warmup
from bench.zipf import measure_zipf

SCENARIOS: dict[str, Scenario] = {
    "start": measure_start,
    "ingress": measure_ingress,
    "cache": measure_cache,
    "tail": measure_tail,
    "zipf": measure_zipf,
    "miss": measure_misses,
    "outage": measure_outage,
    "soak": measure_soak,
    "tiers": measure_tiers,
    "single": measure_single,
    "neighbours": measure_neighbours,
    "poison": measure_poison,
    "overload": measure_overload,
    "peers": measure_peers,
    "certified": measure_certified,
    "warmup": measure_warmup,
}
NOT_BY_DEFAULT = ("soak", "tiers", "single", "neighbours", "poison", "overload", "peers", "certified", "warmup")
FOLDERS = ("folder", "peers")


def main(arguments: list[str]) -> int:
    """Run the chosen scenarios; the exit code is 0 whatever the figures are."""
    options = _parse(arguments)
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        chosen = Options(
            folder=Path(work),
            rounds=options.rounds,
            seconds=options.seconds,
            connections=options.connections,
            replicas=options.replicas,
            pause_s=options.pause_seconds,
            soak_s=options.soak_seconds,
            flood_s=options.flood_seconds,
            peers=options.peers_folder.resolve(),
        )
        findings: dict[str, Findings] = {}
        for name in options.only:
            say(f"scenario {name}")
            findings[name] = SCENARIOS[name](chosen)
    settings = {name: value for name, value in asdict(chosen).items() if name not in FOLDERS}
    stem = folder / f"bench-{machine['date'].replace(':', '').replace('+0000', 'Z')}"
    write_json(stem.with_suffix(".json"), document(findings, machine, settings))
    sys.stdout.write(table(findings))
    caption = f"{machine['cpu']}, {machine['cores']} cores, {machine['date']}"
    if not write_plot(stem.with_suffix(".png"), findings, caption):
        say("no plot: matplotlib is not installed, or there is no ratio to draw")
    say(f"every round is in {stem.with_suffix('.json')}")
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    default = [name for name in SCENARIOS if name not in NOT_BY_DEFAULT]
    parser.add_argument(
        "--only",
        type=_names,
        default=default,
        metavar="NAMES",
        help=f"scenarios, comma-separated, of {', '.join(SCENARIOS)} (default: all but {', '.join(NOT_BY_DEFAULT)})",
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that every measure is taken (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measure (default 5)")
    parser.add_argument("--connections", type=int, default=16, help="concurrent requests at saturation (default 16)")
    parser.add_argument("--replicas", type=int, default=1, help="router replicas, and of the empty app (default 1)")
    parser.add_argument("--pause-seconds", type=float, default=10.0, help="how long Redis is stopped (default 10)")
    parser.add_argument("--soak-seconds", type=float, default=600.0, help="length of the soak (default 600)")
    parser.add_argument("--flood-seconds", type=float, default=30.0, help="length of a flood (default 30)")
    parser.add_argument(
        "--peers-folder",
        type=Path,
        default=Path(".peers"),
        help="what `python -m bench.peers.setup` made (default .peers)",
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results"), help="folder of the reports")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(unknown) or 'none named'}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
