"""`python -m estimator.commands` is `estimate`."""

from estimator.commands import main

main()
