"""`python -m robustness.cli` is the command `robustness`."""

from robustness.cli import main

main()
