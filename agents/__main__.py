"""Run one agent by hand, in this network namespace: `... | python -m agents client`."""

import os
import sys

from agents import process

if len(sys.argv) != 2:
    sys.exit("usage: python -m agents PROGRAM   (job and commands piped to standard input, one JSON object a line)")
sys.exit(process.run(sys.argv[1], os.dup(0), 1))
