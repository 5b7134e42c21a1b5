"""`python -m keymiss.functions`:

the functions worker, started by the module with the channel as descriptor 3.
"""

from __future__ import annotations

import faulthandler
import signal
import socket
import sys

from keymiss.channel import die_with_parent
from keymiss.functions.output import Allowance, Output

CHANNEL_FD = 3


def main() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the server's terminal is for the server
    try:
        sock = socket.socket(fileno=CHANNEL_FD)
    except OSError:
        sys.exit("keymiss.functions is started by keymiss.so, with a socket as descriptor 3")
    sock.set_inheritable(False)
    output = Output(Allowance())
    faulthandler.enable(output.stderr)
    from keymiss.functions import (
        gears,
        gearsclient,
        runtime,
        worker,
    )  # after the checks: what they import takes the time of a start

    runtime.install_modules()
    gearsclient.install()
    worker.main(sock, gears.Gears, output)


main()
