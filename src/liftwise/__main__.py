"""`python -m liftwise`."""

from liftwise.cli import main

main()
