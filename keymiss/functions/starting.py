"""How a functions worker, and the processes beside it, start."""

from __future__ import annotations

import faulthandler
import signal
import socket
import sys

from keymiss.channel import die_with_parent
from keymiss.functions.output import Allowance, Output

CHANNEL_FD = 3


def start(descriptor: int = CHANNEL_FD, beside: bool = False) -> None:
    """Serve the channel on this descriptor until it ends. Does not return.

    `beside`: at its other end is a worker, not the server.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the server's terminal is for the server
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        sys.exit("functions workers are started by keymiss.so, with a socket as descriptor 3")
    sock.set_inheritable(False)
    output = Output(Allowance())
    faulthandler.enable(output.stderr)
    # After the checks: what they import takes the time of a start.
    from keymiss.functions import gearsclient, runtime, serving

    runtime.install_modules()
    gearsclient.install()
    if beside:
        from keymiss.functions.legs import Legs

        serving.main(sock, Legs, output)
    else:
        from keymiss.functions.gears import Gears
        from keymiss.functions.worker import Worker

        serving.main(sock, lambda sock, loop: Worker(sock, loop, Gears), output)
