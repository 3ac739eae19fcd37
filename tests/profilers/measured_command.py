"""`measure -- COMMAND` on a steady meter, without a look at the load: what the tests of signals and children run."""

from __future__ import annotations

import sys
import time

from profilers.command import run_command
from profilers.report import measurement_lines
from tests.profilers.steady import SteadyMeter

if __name__ == "__main__":
    outcome = run_command(sys.argv[1:], [SteadyMeter(time.perf_counter)], policy=None)
    for line in measurement_lines(outcome.measurement):
        print(line, file=sys.stderr)
    if outcome.left_over:
        print(f"{outcome.left_over} left running were ended", file=sys.stderr)
    sys.exit(outcome.exit_code)
