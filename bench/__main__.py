"""Run the benches and print their figures beside the goals; exit code 1 if one is missed."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import daemons, dashboards, databases, demo, far, fleet, outbox, proofs, provers, sealing, windows
from bench.figures import Figure


@dataclass(frozen=True, slots=True)
class Bench:
    """A group of figures."""

    figures: Callable[[], Iterator[Figure]]
    about: str
    is_usual: bool = True


BENCHES = {
    "proofs": Bench(proofs.figures, "PC1 of 8MiB against hashing as many bytes"),
    "provers": Bench(
        provers.figures,
        "all proofs, and the parameters of window PoSt, by us and by the library: time, memory; 4 minutes",
    ),
    "windows": Bench(
        windows.figures, "a window PoSt from challenge and confidence to its message against the proof alone; 2 minutes"
    ),
    "daemons": Bench(daemons.figures, "memory, CPU, wakes, start and answers of idle daemons; 2 minutes"),
    "sealing": Bench(sealing.figures, "sectors through the daemons against the bare proofs"),
    "fleet": Bench(fleet.figures, "the manager with 200 workers and 10,000 threads; the longest of the usual groups"),
    "outbox": Bench(
        outbox.figures, "messages against bare inserts, and an idle manager of ten miners on a devnode; 4 minutes"
    ),
    "databases": Bench(
        databases.figures,
        "writes and claims on SQLite and PostgreSQL with several managers against bare inserts, fail-over of a lease; 2 minutes",
    ),
    "miners": Bench(
        outbox.figures_of_miners, "an idle manager of a hundred miners on a devnode; 8 minutes", is_usual=False
    ),
    "dashboards": Bench(dashboards.figures, "the same fleet, watched in twenty browsers; 6 minutes", is_usual=False),
    "far": Bench(far.figures, "hand-over of a stage and C2, here and through Ray, and a worker without it; 6 minutes"),
    "params": Bench(
        provers.figures_of_porep,
        "the parameters of PoRep by us and by the library, into temporary folders; a quarter of an hour",
        is_usual=False,
    ),
    "demo": Bench(
        demo.figures,
        "the first finished sector of the demo, with parameters to make and without; 10 minutes",
        is_usual=False,
    ),
}


def main() -> int:
    """Run what was asked for."""
    usual = [name for name, bench in BENCHES.items() if bench.is_usual]
    width = max(map(len, BENCHES))
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog="\n".join(f"{name:{width}}  {bench.about}" for name, bench in BENCHES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", choices=[*BENCHES, []], metavar="GROUP", help=f"which (default: {' '.join(usual)})"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160, log_path=False)
    load = os.getloadavg()[0]
    console.print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load before {load:.2f}")
    if load > 0.5:
        console.print("[yellow]Something else is running: these figures are not worth much.[/yellow]")
    table = Table("figure", "value", "goal", "holds", "against")
    figures: list[Figure] = []
    for name in options.names or usual:
        with console.status(f"bench {name}"):
            for figure in BENCHES[name].figures():
                figures.append(figure)
                table.add_row(figure.name, figure.text, figure.goal_text, figure.verdict, figure.against)
                console.log(f"{figure.name}: {figure.text}")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 1 if any(figure.verdict == "NO" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
