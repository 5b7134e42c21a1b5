"""`python -m keymiss.functions.process <descriptor>`: beside the worker, started by processes.py."""

from __future__ import annotations

import sys

from keymiss.functions.starting import start

if __name__ == "__main__":
    start(int(sys.argv[1]), beside=True)
