"""`python -m xooai`: the command line."""

from xooai.cli import main

main()
