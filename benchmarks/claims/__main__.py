# Copyright 2026 The vidpretrain Authors.
# SPDX-License-Identifier: Apache-2.0
"""The papers' claims in miniature, on moving digits.

    python -m benchmarks.claims [CLAIM ...] [--seeds 3] [--workdir runs/claims]

Trains what is missing, one training after the other, and prints a table for each claim; tables,
`results.json` and a chart for each claim are left in the working folder. The same command goes on
where it was interrupted. `--results FILE` trains nothing and reports on the results in a file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.claims import report, run
from benchmarks.claims.claims import CLAIMS
from vidpretrain.suggest import closest
from vidpretrain.train import workdirs
from vidpretrain.train.interrupt import EXIT_INTERRUPTED, Interrupted


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "claims", nargs="*", metavar="CLAIM", help=f"of {', '.join(CLAIMS)}; default: all"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N - 1 (%(default)s)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/claims"), metavar="DIR")
    parser.add_argument("--results", type=Path, metavar="FILE", help="report on these alone")
    flags = parser.parse_args()
    if unknown := set(flags.claims) - set(CLAIMS):
        parser.error(f"unknown claim {min(unknown)!r}; {closest(min(unknown), CLAIMS)}")
    if flags.seeds < 1:
        parser.error(f"--seeds {flags.seeds}; at least 1 is needed")
    claims = {name: CLAIMS[name] for name in flags.claims or CLAIMS}
    if flags.results:
        results = json.loads(flags.results.read_text())
    else:
        try:
            run.run_claims(list(claims.values()), flags.seeds, flags.workdir)
        except Interrupted as stopped:
            print(f"interrupted: {stopped}; the same command goes on from there", file=sys.stderr)
            return EXIT_INTERRUPTED
        results = run.gather(flags.workdir)
        workdirs.write_json(flags.workdir / "results.json", results)
    runs = report.read_runs(results)
    flags.workdir.mkdir(parents=True, exist_ok=True)
    done = {name: claim for name, claim in claims.items() if report.is_complete(claim, runs)}
    for name, claim in done.items():
        print(f"## {name}: {claim.title} ({claim.tables})\n\n{report.table(claim, runs)}\n")
        report.draw(claim, runs, flags.workdir / f"{name}.png")
    print(f"{report.cost_table(done, runs)}\n\n{results['machine']}; charts: {flags.workdir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
