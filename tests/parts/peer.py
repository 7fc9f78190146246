"""
A scripted agent for tests of its clients: it answers what a test says, frame by frame, right or wrong.

    with Peer(tmp_path) as peer:
        peer.answer = lambda line, type_, number, payload: …     # called for every frame
        client = AgentClient(peer.path)

By default it greets, takes claims, echoes pings, and answers a READ with the name that was asked for.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from strongroom.caller import frames


class Peer:
    """
    Attributes:
        path: of its socket, in a folder of its own.
        answer: gives the bytes to answer a frame with; None closes the connection.
        seen: (type, id, payload) of every frame, of all connections.
        lines: connections so far.
    """

    def __init__(self, folder, name="agent.sock"):
        self.folder = folder / "run"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.path = str(self.folder / name)
        self.answer = usual
        self.seen = []
        self.lines = 0
        self._open = []
        self._listener = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_details):
        self.stop()

    def start(self):
        Path(self.path).unlink(missing_ok=True)
        listener = self._listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self):
        """End every connection and listen no more."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.drop()

    def drop(self):
        """End every connection, as a crash would."""
        while self._open:
            line = self._open.pop()
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def say(self, data):
        """Send *data* on every connection, unasked."""
        for line in list(self._open):
            with suppress(OSError):
                line.sendall(data)

    def names(self):
        """Give the names that were asked for, in order."""
        return [frames.read_read(payload)[1] for type_, _, payload in list(self.seen) if type_ == frames.READ]

    def _accept(self, listener):
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            self.lines += 1
            self._open.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line):
        held = bytearray()
        try:
            while data := line.recv(65536):
                held += data
                while found := frames.take(held, 0, frames.MAX_REQUEST_BYTES):
                    *told, end = found
                    del held[:end]
                    self.seen.append(tuple(told))
                    answer = self.answer(line, *told)
                    if answer is None:
                        return
                    line.sendall(answer)
        except OSError:
            pass
        finally:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()


def text(number, value, *, backend="fake", version="1", flags=0):
    """Give the frame that answers a READ with a variable's text."""
    return frames.pack_answer(number, frames.FOUND, frames.pack_text(backend, version, value), flags, 0, 1000)


def refused(number, code, message="no", *, outcome=frames.DENIED, **more):
    """Give the frame that refuses a READ."""
    return frames.pack_answer(number, outcome, frames.pack_refused(frames.Refusal(code, message, **more)))


def error(number, code, message="no", **more):
    """Give the frame of an ERROR."""
    return frames.frame(frames.ERROR, number, frames.pack_refusal(frames.Refusal(code, message, **more)))


def usual(_line, type_, number, payload):
    """Answer as the module says."""
    if type_ == frames.HELLO:
        return frames.frame(frames.HELLO | frames.ANSWER, number, frames.pack_hello("fake"))
    if type_ in (frames.CLAIM, frames.PING):
        return frames.frame(type_ | frames.ANSWER, number, payload if type_ == frames.PING else b"")
    if type_ == frames.READ:
        return text(number, frames.read_read(payload)[1])
    if type_ == frames.READ_MANY:
        refs, _ = frames.read_read_many(payload)
        results = [frames.pack_result(frames.FOUND, frames.pack_text(None, None, ref[1])) for ref in refs]
        return frames.frame(frames.READ_MANY | frames.ANSWER, number, frames.pack_results(0, results))
    if type_ == frames.FOLLOW:
        return frames.frame(frames.FOLLOW | frames.ANSWER, number, frames.pack_version("1"))
    return error(number, "unsupported")
