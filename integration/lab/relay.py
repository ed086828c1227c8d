"""A TCP relay from one host to another place, so that a container can answer on a host's own loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable

from integration.lab.host import Host


class Relay:
    """Listens on ``host`` at ``address`` and passes every connection on to ``target()``.

    The target is looked for from ``origin`` (None: from this machine itself). A connection that it refuses is closed
    without an answer.
    """

    def __init__(
        self, host: Host, address: tuple[str, int], origin: Host | None, target: Callable[[], tuple[str, int]]
    ) -> None:
        self._origin = origin
        self._target = target
        with host.inside():
            self._listener = socket.create_server(address)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, sock=self._listener)
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            with self._origin.inside() if self._origin else contextlib.nullcontext():
                upstream = socket.socket()
            upstream.setblocking(False)
            try:
                await self._loop.sock_connect(upstream, self._target())
            except BaseException:
                upstream.close()
                raise
            back_reader, back_writer = await asyncio.open_connection(sock=upstream)
            with contextlib.closing(back_writer):
                there = asyncio.ensure_future(_copy(reader, back_writer))
                back = asyncio.ensure_future(_copy(back_reader, writer))
                ways = [there, back]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
