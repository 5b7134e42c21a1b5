"""What HELLO and SETTING tell a worker about the server it works for."""

from __future__ import annotations

from dataclasses import dataclass, field

from keymiss.channel.frames import Frame, Part, number
from keymiss.errors import ChannelError

PROTOCOL_VERSION = 1


@dataclass
class Hello:
    """The server at the other end.

    `settings` holds every setting by its name without the prefix and follows SETTING frames.
    """

    role: str = ""
    node: str = "0" * 40
    run_id: str = ""
    cluster: bool = False
    server: str = "redis"
    server_version: str = ""
    pid: int = 0
    port: int = 0
    dir: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, frame: Frame) -> Hello:
        """`HELLO 1 <name> <value> ...`. ChannelError where it is malformed or of another protocol version."""
        if len(frame) < 2 or len(frame) % 2:
            raise ChannelError("malformed HELLO: names and values do not pair")
        if number(frame[1]) != PROTOCOL_VERSION:
            raise ChannelError(
                f"the module speaks channel version {frame[1].decode()}, this worker {PROTOCOL_VERSION}"
            )
        told = {
            name.decode(): value.decode("utf-8", "surrogateescape")
            for name, value in zip(frame[2::2], frame[3::2], strict=True)
        }
        return cls(
            role=told.pop("role", ""),
            node=told.pop("node", cls.node),
            run_id=told.pop("run_id", ""),
            cluster=told.pop("cluster", "0") == "1",
            server=told.pop("server", cls.server),
            server_version=told.pop("server_version", ""),
            pid=number(told.pop("pid", "0").encode()),
            port=number(told.pop("port", "0").encode()),
            dir=told.pop("dir", ""),
            settings=told,
        )

    def frame(self) -> list[Part]:
        """The frame that says this, for a process that works for the same server."""
        told: dict[str, Part] = {
            "role": self.role,
            "node": self.node,
            "run_id": self.run_id,
            "cluster": int(self.cluster),
            "server": self.server,
            "server_version": self.server_version,
            "pid": self.pid,
            "port": self.port,
            "dir": self.dir.encode("utf-8", "surrogateescape"),
        }
        for name, value in self.settings.items():
            told[name] = value.encode("utf-8", "surrogateescape")
        return ["HELLO", PROTOCOL_VERSION, *(part for pair in told.items() for part in pair)]

    @property
    def shard_name(self) -> str:
        """What metrics, logs and traces call the shard."""
        return self.settings.get("shard-name") or (str(self.port) if self.port else "")

    def request_name(self, number: int) -> str:
        """What logs and traces call a request: that of the job with this number. "" for 0, none.

        With some of the server's run id, since numbers begin anew with each run."""
        return f"{self.shard_name}-{self.run_id[:6]}-{number}" if number else ""

    def setting(self, name: str, default: int) -> int:
        """A setting that is a number; `default` where the module does not know it or it is none."""
        try:
            return int(self.settings[name])
        except (KeyError, ValueError):
            return default
