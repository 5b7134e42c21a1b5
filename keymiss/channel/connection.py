"""One end of a channel: frames in, frames out, on an asyncio loop.

Threads
1. A Channel is made, read and closed on its loop's thread. Frames are parsed and handled there, one
   after the other, in the order received.
2. `write` and `send` are for every thread. A frame is never mixed with another, and the frames of
   one thread stay in order.
3. On the loop's thread frames are gathered and written once an iteration: a batch of answers is one
   system call. On other threads they are written at once, since that thread is about to wait for
   the answer; but for answers of a thread that gathers them, see gathering. The loop's thread may
   gather too, so that it can write before its turn ends.
4. What waits to be written is bounded (`max_unsent_bytes`): a thread that goes over it waits, up to
   STALLED_S; then the channel ends.
5. `read_until` is the one place where the loop's thread reads outside of the loop's own turn: code
   on that thread needs an answer now. Handlers then run nested, `nesting` tells them how deep.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice

from keymiss.channel.deadlines import remaining_s
from keymiss.channel.frames import (
    MAX_FRAME_BYTES,
    MAX_FRAME_PARTS,
    Frame,
    FrameReader,
    Part,
    encode,
    encode_pieces,
)
from keymiss.channel.gathering import drop, keep
from keymiss.channel.hello import PROTOCOL_VERSION, Hello
from keymiss.errors import ChannelError, DeadlineError

Handler = Callable[[Frame], None]

READ_BYTES = 1 << 18
STALLED_S = 10.0
_BUFFERS_PER_WRITE = 512  # below IOV_MAX
_KEPT_BYTES = 1 << 16  # a thread that gathers keeps no more back
_SMALL_FRAME = 1 << 16  # keymiss.max-frame-bytes is never less
_LATER = (errno.EAGAIN, errno.EINTR, errno.ENOBUFS, errno.ENOMEM)  # no room, or no memory, now
_ANSWERS_KEPT = 16  # of frames that are answered as they are read: the server works beside us


class Channel:
    """Serves one channel.

    `handlers` maps verbs to what handles their frames; HELLO, SETTING and PING are handled here.

    `on_hello(hello)` is called when the server has introduced itself, before READY is sent.
    `on_end(reason)` is called once, when the other end closed, or the stream is of no use (`reason`
    says why, None for a plain end of file). `on_handled()` is called when all frames that one read
    brought have been handled. A handler that raises ends the channel: one that runs jobs must answer
    a job's failure itself.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        handlers: Mapping[bytes, Handler],
        on_hello: Callable[[Hello], None],
        on_end: Callable[[Exception | None], None],
        on_handled: Callable[[], None] = lambda: None,
    ) -> None:
        sock.setblocking(False)
        self.hello = Hello()
        self.closed = False
        self.nesting = 0
        self.max_unsent_bytes = MAX_FRAME_BYTES
        self._sock = sock
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._reader = FrameReader()
        # One for all reads: to make one of this size costs more than to read.
        self._buffer = bytearray(READ_BYTES)
        self._poll, self._poll_both = select.poll(), select.poll()
        self._poll.register(sock, select.POLLIN)
        self._poll_both.register(sock, select.POLLIN | select.POLLOUT)
        self._on_hello = on_hello
        self._on_end = on_end
        self._on_handled = on_handled
        self._handlers = {b"HELLO": self._greet, b"SETTING": self.set, b"PING": self._pong, **handlers}
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_bytes = 0
        self._flush_planned = False  # the loop's thread will write what it gathered
        self._broken = False  # nothing more can be written; the loop's thread will end it
        self._writer_armed = False  # the loop waits for the socket to take more
        loop.add_reader(sock, self._on_readable)

    @property
    def on_loop_thread(self) -> bool:
        return threading.get_ident() == self._loop_thread

    # Writing

    def too_large(self, size: int, elements: int) -> str:
        """Why the server would not take a frame of so many bytes and elements: it closes the channel on one.
        Empty where it does. Whoever writes what others gave asks first."""
        if elements > MAX_FRAME_PARTS:
            return f"{elements} elements, {MAX_FRAME_PARTS} are allowed"
        if size > _SMALL_FRAME and size > self._reader.max_frame_bytes:
            return f"{size} bytes, {self._reader.max_frame_bytes} are allowed (keymiss.max-frame-bytes)"
        return ""

    def send(self, *parts: Part) -> None:
        """Write one frame. ChannelError where the channel has ended."""
        self.write(encode(*parts))

    def send_large(self, *parts: Part | memoryview) -> None:
        """As `send`, without copying the large parts: they must not change until they are written."""
        self.write(*encode_pieces(*parts))

    def write(self, *pieces: bytes | memoryview, later: bool = False) -> None:
        """Write bytes that make whole frames; `later`: a thread that gathers may keep them back."""
        on_loop = threading.get_ident() == self._loop_thread
        with self._lock:
            if self._unsent_bytes > self.max_unsent_bytes and not self._broken:
                self._wait_for_room(on_loop)
            if self.closed or self._broken:
                raise ChannelError("the channel has ended")
            self._unsent.extend(pieces)
            for piece in pieces:
                self._unsent_bytes += len(piece)
            kept = later and keep(self)
            if not on_loop:
                if not kept or self._unsent_bytes >= _KEPT_BYTES:
                    self._flush()
            elif not self._flush_planned:
                self._flush_planned = True
                self._loop.call_soon(self._flush_gathered)

    def flush(self) -> None:
        """Write now what the loop's thread has gathered; the loop writes what the socket does not take."""
        with self._lock:
            self._flush()

    def _flush_gathered(self) -> None:
        with self._lock:
            self._flush_planned = False
            self._flush()

    def _flush(self) -> None:
        """The lock is held."""
        unsent = self._unsent
        try:
            while unsent:
                sent = (
                    self._sock.sendmsg(islice(unsent, _BUFFERS_PER_WRITE))
                    if len(unsent) > 1
                    else self._sock.send(unsent[0])
                )
                self._unsent_bytes -= sent
                while sent:
                    piece = unsent.popleft()
                    if sent < len(piece):
                        unsent.appendleft(memoryview(piece)[sent:])
                        break
                    sent -= len(piece)
        except OSError as error:
            if error.errno in _LATER:
                if not self._writer_armed:
                    self._writer_armed = True
                    self._loop.call_soon_threadsafe(self._arm_writer)
            else:  # the other end is gone; the reader finds the end of file and says so
                unsent.clear()
                self._unsent_bytes = 0
        self._room.notify_all()

    def _arm_writer(self) -> None:
        if not self.closed:
            self._loop.add_writer(self._sock, self._on_writable)

    def _on_writable(self) -> None:
        with self._lock:
            self._flush()
            if not self._unsent:
                self._writer_armed = False
                self._loop.remove_writer(self._sock)

    def _wait_for_room(self, on_loop: bool) -> None:
        """The lock is held. The loop's thread writes by itself, since nobody else would; so does at first one
        that has kept back what waits."""
        self._flush()
        if on_loop:
            poll = select.poll()
            poll.register(self._sock, select.POLLOUT)
            while self._unsent_bytes > self.max_unsent_bytes:
                if not poll.poll(STALLED_S * 1000):
                    self._give_up()
                self._flush()
        elif not self._room.wait_for(
            lambda: self._broken or self.closed or self._unsent_bytes <= self.max_unsent_bytes, STALLED_S
        ):
            self._give_up()

    def _give_up(self) -> None:
        """The lock is held."""
        error = ChannelError(f"the server has read nothing for {STALLED_S:g} s")
        self._broken = True
        self._room.notify_all()
        self._loop.call_soon_threadsafe(self.end, error)
        raise error

    # Reading

    def read_until(self, arrived: Callable[[], bool], deadline: float) -> None:
        """Read and handle frames until `arrived()`. The loop's thread only. DeadlineError, ChannelError."""
        self.nesting += 1
        try:
            self._handle(0)  # what an outer call has read already but not yet handled
            self.flush()
            while not arrived():
                if self.closed:
                    raise ChannelError("the channel has ended")
                timeout_s = remaining_s(deadline)
                # The loop, which would write what is unsent, stands.
                poll = self._poll_both if self._unsent else self._poll
                if poll.poll(None if timeout_s is None else timeout_s * 1000):
                    self._receive()
                elif remaining_s(deadline) == 0:
                    raise DeadlineError("the deadline passed before the answer came")
                self.flush()
        finally:
            self.nesting -= 1

    def _on_readable(self) -> None:
        """The loop's turn: read once, handle all of it, then write the answers that this has made."""
        self._flush_planned = True
        try:
            self._receive()
        finally:
            self._flush_gathered()

    def _receive(self) -> None:
        try:
            received = self._sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            return self.end(ChannelError(str(error)))
        if not received:
            return self.end(None)
        self._handle(received)

    def _handle(self, received: int) -> None:
        """Handle the frames that the first `received` bytes of the buffer complete, and those left over."""
        handlers = self._handlers
        try:
            for frame in self._reader.feed(self._buffer, received):
                handler = handlers.get(frame[0])
                if handler is None:
                    raise ChannelError(f"unknown verb {frame[0][:32]!r}")
                handler(frame)
                if self.closed:
                    return
                if len(self._unsent) >= _ANSWERS_KEPT and not self._writer_armed:
                    self.flush()
            self._on_handled()
        except Exception as error:
            # Whatever it was: the frames behind it cannot be trusted to be handled in order.
            self.end(error)
        except BaseException:  # what runs at once in a handler wants the process to end, which it may not
            self._loop.call_soon(self._handle_rest)
            raise

    def _handle_rest(self) -> None:
        """Of what was read, when its handling was broken off."""
        if not self.closed:
            self._handle(0)

    def end(self, reason: Exception | None) -> None:
        """Close the channel. The loop's thread only; a second call does nothing."""
        if self.closed:
            return
        with self._lock:
            self._flush()
            self.closed = True
            self._room.notify_all()
        drop(self)
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._on_end(reason)

    # Frames that both workers handle alike

    def _greet(self, frame: Frame) -> None:
        self.hello = Hello.parse(frame)
        self._apply_settings()
        self._on_hello(self.hello)
        self.send("READY", PROTOCOL_VERSION, os.getpid())

    def set(self, frame: Frame) -> None:
        """SETTING. A worker that has to act on a change handles the frame itself, and gives it on to this."""
        if len(frame) != 3:
            raise ChannelError("malformed SETTING")
        self.hello.settings[frame[1].decode()] = frame[2].decode("utf-8", "surrogateescape")
        self._apply_settings()

    def _apply_settings(self) -> None:
        self._reader.max_frame_bytes = self.hello.setting("max-frame-bytes", MAX_FRAME_BYTES)
        self.max_unsent_bytes = self.hello.setting("max-channel-bytes", MAX_FRAME_BYTES)

    def _pong(self, frame: Frame) -> None:
        self.send("PONG")
        self.flush()
