"""Run the benches and print their figures beside the goals; exit code 1 if one is missed."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import daemons, fleet, proofs, sealing
from bench.figures import Figure

BENCHES: dict[str, Callable[[], Iterator[Figure]]] = {
    "proofs": proofs.figures,
    "daemons": daemons.figures,
    "sealing": sealing.figures,
    "fleet": fleet.figures,
}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="which (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    console = Console()
    load = os.getloadavg()[0]
    console.print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load before {load:.2f}")
    if load > 0.5:
        console.print("[yellow]Something else is running: these figures are not worth much.[/yellow]")
    table = Table("figure", "value", "goal", "holds", "against")
    figures: list[Figure] = []
    for name in options.names or BENCHES:
        with console.status(f"bench {name}"):
            for figure in BENCHES[name]():
                figures.append(figure)
                table.add_row(figure.name, figure.text, figure.goal_text, figure.verdict, figure.against)
                console.log(f"{figure.name}: {figure.text}")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    return 1 if any(figure.verdict == "NO" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
