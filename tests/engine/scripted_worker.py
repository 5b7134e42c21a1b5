"""A worker that does what each RG.PYEXECUTE, or each script of AI.SCRIPTSET, says, right or wrong.

To see how the module takes it. Speaks docs/channel.md by itself, on purpose: what keymiss.functions and
keymiss.inference would never send must be sendable here. A script is one line, its words separated by spaces;
`call` takes the command's remaining arguments as they are, or the remaining lines of AI.SCRIPTSET's source.
What such a script sees is the error of its run, `SAW ...`.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import time
from collections.abc import Callable

import hiredis

Then = Callable[[bytes], None]


class ScriptedWorker:
    def __init__(self) -> None:
        self.channel = socket.socket(fileno=3)
        self.out = b""
        self.asked: dict[int, Then] = {}  # by the number of the CALL, BEGIN or HOOK
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.ended_job = 0
        self.graphs: set[int] = set()  # the jobs that are a DAG
        self.settings: dict[bytes, bytes] = {}

    def send(self, *parts: object) -> None:
        encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
        self.out += b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in encoded)

    def send_raw(self, data: bytes) -> None:
        self.flush()
        self.channel.sendall(data)

    def ask(self, verb: str, then: Then, *parts: object) -> None:
        number = len(self.asked) + 1
        self.asked[number] = then
        self.send(verb, number, *parts)

    def flush(self) -> None:
        self.channel.sendall(self.out)
        self.out = b""

    def handle(self, frame: list[bytes]) -> None:
        match frame:
            case [b"HELLO", _, *pairs]:
                self.settings = dict(zip(pairs[::2], pairs[1::2], strict=True))
                self.send("READY", 1, os.getpid())
            case [b"SETTING", name, value]:
                self.settings[name] = value
            case [b"PING"]:
                self.send("PONG")
            case [b"RESULT", number, reply]:
                self.asked[int(number)](reply)
            case [b"JOB", job, b"COMMAND", _, _, _, _, *arguments]:
                self.run(int(job), arguments[0].split(b" "), arguments)
            case [b"JOB", job, b"COMPILE", *_]:
                self.send("DONE", job, "+OK\r\n")
            case [b"JOB", job, b"DAG", *elements]:
                lines = elements[elements.index(b"SCRIPT") + 3].split(b"\n")
                self.graphs.add(int(job))
                self.run(int(job), lines[0].split(b" "), lines)
            case [b"JOB", job, _, _, _, _, registration, key, *_]:
                self.run(int(job), [registration, key], [registration, key])

    def run(self, job: int, words: list[bytes], arguments: list[bytes]) -> None:
        def done(reply: bytes) -> None:
            self.ended_job = job
            if job in self.graphs:
                self.send("DONE", job, b"-SAW " + reply.replace(b"\r\n", b"|") + b"\r\n", 0, 0)
            else:
                self.send("DONE", job, reply)

        match words:
            case [b"raw", *_]:  # | stands for a line end
                done(arguments[0][4:].replace(b"|", b"\r\n"))
            case [b"big", size]:
                done(b"$%s\r\n%s\r\n" % (size, b"x" * int(size)))
            case [b"setting", name]:
                done(b"+%s\r\n" % self.settings[name])
            case [b"twice"]:
                done(b"+one\r\n")
                done(b"+two\r\n")
            case [b"call"]:
                self.ask("CALL", done, job, *arguments[1:])
            case [
                b"calls",
                count,
            ]:  # the same command so many times, # replaced by the number; the last reply
                replies: list[bytes] = []
                for n in range(int(count)):
                    command = [argument.replace(b"#", b"%d" % n) for argument in arguments[1:]]
                    self.ask(
                        "CALL",
                        lambda r: (replies.append(r), len(replies) == int(count) and done(r)),  # type: ignore
                        job,
                        *command,
                    )
            case [b"call-for", owner]:  # another job
                self.ask("CALL", done, owner, *arguments[1:])
            case [b"peer", node, size]:  # so many bytes for the worker of that node
                self.ask("SEND", done, node, b"x" * int(size))
            case [b"calls-unread", count, key]:  # so many GETs, then a command; stands until it is continued
                for _ in range(int(count)):
                    self.ask("CALL", lambda _: None, job, "GET", key)
                self.ask("CALL", done, job, *arguments[1:])
                self.flush()
                os.kill(os.getpid(), signal.SIGSTOP)
            case [b"model", key]:
                self.ask("MODEL", done, job, key)
            case [b"model-for", owner, key]:
                self.ask("MODEL", done, owner, key)
            case [b"frame"]:  # its elements as they are, then the end of the job
                self.send(*arguments[1:])
                done(b"+sent\r\n")
            case [b"frames", count, seed]:  # so many of random elements
                self.send_random(job, int(count), int(seed))
                done(b"+sent\r\n")
            case [b"call-late"]:  # for a job that has ended
                self.ask("CALL", done, self.ended_job, "PING")
            case [b"atomic", seconds, key]:  # two INCRs with a pause between
                self.atomic(job, done, float(seconds), key)
            case [b"register", name, prefix, mode, event, command]:
                hook = (name, b"", "keys", mode, "", prefix, 1, event, 0, 1, command)
                self.ask("HOOK", done, *(hook if command != b"-" else (*hook[:-2], 0)))
            case [b"answers", key]:
                done(b"$%d\r\n%s\r\n" % (len(key), key))
            case [b"writes", key]:
                self.ask("CALL", lambda reply: done(b""), job, "SET", b"written:" + key, "1")
            case [b"die" | b"dies", *_]:
                self.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            case [b"hang"]:
                self.flush()
                time.sleep(3600)
            case [b"never" | b"nevers", *_]:
                pass
            case [b"pid"]:
                done(b":%d\r\n" % os.getpid())
            case [b"garbage"]:
                self.send_raw(b"hello\r\n")
            case [b"endless"]:
                self.send_raw(b"*99999999\r\n")
            case [b"nested"]:
                self.send_raw(b"*1\r\n*1\r\n$4\r\nPONG\r\n")
            case [b"unknown-verb"]:
                self.send("NONSENSE")
            case [b"short-frame"]:
                self.send("CALL", 1)
            case [b"no-number"]:
                self.send("CALL", "x", 0, "PING")
            case _:
                done(b"-ERR what?\r\n")

    def send_random(self, job: int, count: int, seed: int) -> None:
        choice = random.Random(seed).choice
        words = [
            b"",
            b"0",
            b"-1",
            b"x",
            b"\0",
            b"%d" % job,
            b"9" * 30,
            b"GET",
            b"SET",
            b"k",
            b"eval",
            b"return 1",
            b"*",
        ]
        for _ in range(count):
            verb = choice([b"CALL", b"CALL", b"MODEL"])
            parts = [choice(words) for _ in range(choice([2, 3, 5, 9]))]
            self.ask(verb.decode(), lambda _: None, choice([b"%d" % job, parts[0]]), *parts)

    def atomic(self, job: int, done: Then, seconds: float, key: bytes) -> None:
        def end(reply: bytes) -> None:
            self.send("END", job)
            done(reply)

        def pause(_: bytes) -> None:
            self.later.append((time.monotonic() + seconds, lambda: self.ask("CALL", end, job, "INCR", key)))

        self.ask("BEGIN", lambda _: self.ask("CALL", pause, job, "INCR", key), job)

    def serve(self) -> None:
        reader = hiredis.Reader()
        while True:
            wait_s = max(0.0, min(at for at, _ in self.later) - time.monotonic()) if self.later else None
            if select.select([self.channel], [], [], wait_s)[0]:
                data = self.channel.recv(1 << 16)
                if not data:
                    return
                reader.feed(data)
                while (frame := reader.gets()) is not False:
                    self.handle(frame)
            due = [entry for entry in self.later if entry[0] <= time.monotonic()]
            for entry in due:
                self.later.remove(entry)
                entry[1]()
            self.flush()


if __name__ == "__main__":
    ScriptedWorker().serve()
