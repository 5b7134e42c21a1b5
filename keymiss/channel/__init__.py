"""What both workers stand on: frames, the connection that carries them, jobs, deadlines, tensors on the wire.

The frames are listed in docs/channel.md. A worker makes a `Channel` on its socket with a handler
for each verb it serves, keeps its jobs in a `JobTable`, and answers each by `Job.done`:

    def run(frame):
        job = Job(frame, jobs)
        jobs.add(job)
        ...
        job.done(b"+OK\\r\\n")

    channel = Channel(sock, loop, {b"JOB": run, b"CANCEL": lambda frame:
    jobs.cancel(int(frame[1]))}, on_hello, on_end) jobs = JobTable(channel, loop)
"""

from keymiss.channel.connection import Channel
from keymiss.channel.deadlines import NEVER, deadline_after_ms, remaining_ms, remaining_s
from keymiss.channel.frames import (
    MAX_FRAME_PARTS,
    Frame,
    FrameReader,
    Part,
    element,
    encode,
    encode_pieces,
    error_reply,
    number,
    parse_reply,
)
from keymiss.channel.gathering import flush_gathered, gather
from keymiss.channel.hello import PROTOCOL_VERSION, Hello
from keymiss.channel.job import Job, JobTable, done_frame
from keymiss.channel.process import die_with_parent, peer_pid, watch_pid
from keymiss.channel.tensors import DTYPES, Tensor, parse_tensors, tensor_parts

__all__ = [
    "DTYPES",
    "MAX_FRAME_PARTS",
    "NEVER",
    "PROTOCOL_VERSION",
    "Channel",
    "Frame",
    "FrameReader",
    "Hello",
    "Job",
    "JobTable",
    "Part",
    "Tensor",
    "deadline_after_ms",
    "die_with_parent",
    "done_frame",
    "element",
    "encode",
    "encode_pieces",
    "error_reply",
    "flush_gathered",
    "gather",
    "number",
    "parse_reply",
    "parse_tensors",
    "peer_pid",
    "remaining_ms",
    "remaining_s",
    "tensor_parts",
    "watch_pid",
]
