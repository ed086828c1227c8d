"""An HTTP client that does not mean well.

``python -m integration.attacker KIND HOST PORT CONNECTIONS REQUESTS [SOURCE]`` prints how many answers came, by status;
``408 at once`` are the most that were told within ``WINDOW``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import Counter

URL = "/v1/apps"
REQUEST = "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n"
# Less than the seconds that a slow client is given: who is told to have been too slow within it were there together.
WINDOW = 4.5
LIFE = 20.0  # seconds of one connection at most


class Attacker:
    """Opens connections, and counts what comes back."""

    def __init__(self, host: str, port: int, requests: int, source: str = "") -> None:
        self.host, self.port, self.requests = host, port, requests
        self._source = (source, 0) if source else None
        self.answers: Counter[str] = Counter()
        self._too_slow: list[float] = []

    async def flood(self) -> None:
        """Send all requests at once, one connection after the other, until all are sent."""
        while self.requests > 0:
            reader, writer = await self._connect()
            batch = min(self.requests, 20)
            self.requests -= batch
            writer.write(REQUEST.format(URL, self.host).encode() * batch + b"GET /ping HTTP/1.0\r\n\r\n")
            await self._count(reader)
            writer.close()

    async def loris(self) -> None:
        """Send a header that never ends, a letter at a time."""
        reader, writer = await self._connect()
        counting = asyncio.create_task(self._count(reader))
        writer.write(f"GET {URL} HTTP/1.1\r\nHost: {self.host}\r\nX: ".encode())
        while not counting.done():
            writer.write(b"x")
            await asyncio.sleep(0.3)
        writer.close()

    async def body(self) -> None:
        """Promise a body, and send it a letter at a time."""
        reader, writer = await self._connect()
        counting = asyncio.create_task(self._count(reader))
        writer.write(f"PUT {URL}/x HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: 60000\r\n\r\n".encode())
        while not counting.done():
            writer.write(b" ")
            await asyncio.sleep(0.3)
        writer.close()

    async def idle(self) -> None:
        """Say nothing."""
        reader, writer = await self._connect()
        await self._count(reader)
        writer.close()

    async def deaf(self) -> None:
        """Ask without end, and take no answer."""
        _, writer = await self._connect()
        for _ in range(self.requests):
            writer.write(REQUEST.format(URL, self.host).encode())
            await writer.drain()
        await asyncio.sleep(LIFE)
        writer.close()

    async def framing(self) -> None:
        """Send a body that is all chunk extensions."""
        reader, writer = await self._connect()
        counting = asyncio.create_task(self._count(reader))
        writer.write(f"PUT {URL}/x HTTP/1.1\r\nHost: {self.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(self.requests):
            writer.write(b"1;" + b"x" * 8000 + b"\r\nx\r\n")
            await writer.drain()
        await counting
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port, local_addr=self._source, limit=1 << 12)

    async def _count(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                found = [status.decode() for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]
                self.answers.update(found)
                self._too_slow += [time.monotonic()] * found.count("408")
                together = sum(at > time.monotonic() - WINDOW for at in self._too_slow)
                self.answers["408 at once"] = max(self.answers["408 at once"], together)
        self.answers["closed"] += 1


async def attack(kind: str, host: str, port: int, connections: int, requests: int, source: str) -> Counter[str]:
    """Do so over many connections at once."""
    attacker = Attacker(host, port, requests, source)

    async def one() -> None:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(getattr(attacker, kind)(), LIFE)

    await asyncio.gather(*(one() for _ in range(connections)))
    return attacker.answers


if __name__ == "__main__":
    kind, host, port, connections, requests, *source = sys.argv[1:]
    made = attack(kind, host, int(port), int(connections), int(requests), "".join(source))
    print(json.dumps(asyncio.run(made)))
