"""Stands between a host and its Consul agent, passes everything on, and does wrong as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from integration.lab.consul import Consul


@dataclass(frozen=True)
class Reply:
    """An answer as Consul gave it, or as it is to be given. The body is whole: not chunked any more."""

    status: int
    headers: dict[str, str]
    body: bytes

    def with_header(self, name: str, value: str) -> Reply:
        """The same with another value of one header."""
        return replace(self, headers={**self.headers, name: value})


@dataclass(frozen=True)
class Wrong:
    """What the relay does instead of passing on.

    ``answer`` makes an answer of the request's path alone (Consul is not asked), ``change`` another one of Consul's.
    ``hang``: no answer at all. ``cut``: the connection is closed after so many bytes. ``drip``: seconds between two
    bytes of an answer.
    """

    answer: Callable[[str], Reply] | None = None
    change: Callable[[str, Reply], Reply] | None = None
    hang: bool = False
    cut: int | None = None
    drip: float = 0.0


class ConsulRelay:
    """Listens on the agent's host. ``wrong`` counts at once, also for queries that are parked."""

    def __init__(self, consul: Consul, port: int = 8501) -> None:
        self._consul = consul
        self.address = f"127.0.0.1:{port}"
        self.asked = 0  # requests that had a wrong answer
        self._wrong: Wrong | None = None
        with consul.host.inside():
            self._listener = socket.create_server(("127.0.0.1", port))
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="consul-relay", daemon=True)
        self._thread.start()
        consul.host.lab.on_exit(self.close)

    def set(self, wrong: Wrong | None) -> None:
        """Do wrong from now on; ``None``: right again, on new connections."""
        asyncio.run_coroutine_threadsafe(self._set(wrong), self._loop).result(5)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5)
            self._loop.close()

    async def _set(self, wrong: Wrong | None) -> None:
        self._wrong, self.asked = wrong, 0
        self._changed.set()
        self._changed = asyncio.Event()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, sock=self._listener)
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError, EOFError):
            while request := await _read_request(reader):
                if not await self._answer(request, writer):
                    return

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, or not. Returns whether the connection goes on."""
        path = request.split(b" ", 2)[1].decode()
        reply: Reply | None = None
        asking = asyncio.ensure_future(self._ask(request))
        try:
            while True:
                wrong, changed = self._wrong, self._changed
                if wrong is not None:
                    self.asked += 1
                if wrong is not None and wrong.answer is not None:
                    reply = wrong.answer(path)
                elif wrong is not None and wrong.cut == 0:
                    return False
                elif wrong is None or not wrong.hang:
                    turned = asyncio.ensure_future(changed.wait())
                    await asyncio.wait({asking, turned}, return_when=asyncio.FIRST_COMPLETED)
                    turned.cancel()
                    if not asking.done():
                        continue
                    reply = asking.result()
                    if wrong is not None and wrong.change is not None:
                        reply = wrong.change(path, reply)
                else:
                    await changed.wait()
                    return False  # what was asked meanwhile has been given up
                break
        finally:
            asking.cancel()
        raw = _written(reply)
        if wrong is not None and wrong.cut is not None:
            writer.write(raw[: wrong.cut])
            await writer.drain()
            return False
        if wrong is not None and wrong.drip:
            for byte in raw:
                if self._wrong is not wrong:
                    return False
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(wrong.drip)
            return True
        writer.write(raw)
        await writer.drain()
        return True

    async def _ask(self, request: bytes) -> Reply:
        """Ask Consul, over a connection of its own. An agent that refuses is an ``OSError``."""
        with self._consul.host.inside():
            upstream = socket.socket()
        upstream.setblocking(False)
        try:
            await self._loop.sock_connect(upstream, (self._consul.ip, self._consul.port))
        except BaseException:
            upstream.close()
            raise
        reader, writer = await asyncio.open_connection(sock=upstream)
        with contextlib.closing(writer):
            head, blank, body = request.partition(b"\r\n\r\n")
            writer.write(head + b"\r\nConnection: close" + blank + body)
            await writer.drain()
            return _parsed(await reader.read())


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    size = next((line.split(b":")[1] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), b"0")
    return head + await reader.readexactly(int(size))


def _parsed(raw: bytes) -> Reply:
    head, blank, body = raw.partition(b"\r\n\r\n")
    if not blank:
        raise ConnectionResetError("Consul closed the connection without an answer")
    first, *lines = head.decode().split("\r\n")
    headers = {name.title(): value for name, _, value in (line.partition(": ") for line in lines)}
    headers.pop("Connection", None)
    if headers.pop("Transfer-Encoding", "") == "chunked":
        parts = []
        while body:
            size, _, body = body.partition(b"\r\n")
            length = int(size, 16)
            parts.append(body[:length])
            body = body[length + 2 :] if length else b""
        body = b"".join(parts)
    return Reply(int(first.split()[1]), headers, body)


def _written(reply: Reply) -> bytes:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    lines = [f"HTTP/1.1 {reply.status} Word", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body
