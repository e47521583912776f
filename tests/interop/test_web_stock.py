"""Stock web programs with the configurations that the plan writes: a proxy's tunnels, and a cache that asks once."""

import asyncio
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents.sip.errors import TransportFailure
from agents.sip.tunnel import WebProxy, open_tunnel
from agents.stock import Settings, StockProgram
from testbed.plan import stock

pytestmark = pytest.mark.interop
ADMIN = "/usr/sbin:/usr/bin:/sbin:/bin"
needs_nginx = pytest.mark.skipif(shutil.which("nginx", path=ADMIN) is None, reason="needs nginx (package nginx-light)")
needs_tinyproxy = pytest.mark.skipif(
    shutil.which("tinyproxy", path=ADMIN) is None, reason="needs tinyproxy (package tinyproxy-bin)"
)
# Loopback addresses of this process alone, so that two test runs at once do not meet.
ORIGIN, CACHE, PROXY = (f"127.{net}.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}" for net in (21, 22, 23))
WEB_PORT = 18_080


@asynccontextmanager
async def running(arguments: dict[str, Any], port: int, usual: int) -> AsyncIterator[StockProgram]:
    """Run a stock program, at *port* in place of its *usual* one, which is root's."""
    files = {
        name: text.replace(f":{usual}", f":{port}").replace(f"Port {usual}", f"Port {port}")
        for name, text in arguments["files"].items()
    }
    ready = [{**end, "port": port} for end in arguments["ready"]]
    program = StockProgram(Settings.from_job({**arguments, "files": files, "ready": ready}))
    try:
        await program.start()
        yield program
    finally:
        await program.stop()


async def get(url: str) -> tuple[int, bytes]:
    """Return status and body of what is at *url*."""

    def ask() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, b""

    return await asyncio.to_thread(ask)


@needs_nginx
@pytest.mark.parametrize("caches", [True, False])
def test_a_segment_is_kept_and_a_playlist_never_is(caches: bool) -> None:
    async def scene() -> None:
        origin = stock.nginx(stock.origin_configuration(ORIGIN), ORIGIN)
        cache = stock.nginx(stock.cache_configuration(CACHE, upstream=ORIGIN, caches=caches), CACHE)
        async with (
            running(origin, WEB_PORT, stock.HTTP_PORT) as source,
            running(cache, WEB_PORT, stock.HTTP_PORT),
        ):
            live = source.home / "www" / "live"
            live.mkdir(parents=True)
            url = f"http://{CACHE}:{WEB_PORT}/live"
            assert await get(f"{url}/1.au") == (404, b"")
            for name, text in (("1.au", b"first"), ("index.m3u8", b"first")):
                (live / name).write_bytes(text)
            assert await get(f"{url}/1.au") == await get(f"{url}/index.m3u8") == (200, b"first")
            for name in ("1.au", "index.m3u8"):
                (live / name).write_bytes(b"second")
            assert await get(f"{url}/1.au") == (200, b"first" if caches else b"second")
            assert await get(f"{url}/index.m3u8") == (200, b"second")

    asyncio.run(scene())


@needs_tinyproxy
def test_a_proxy_opens_tunnels_to_the_ports_of_signaling_only() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scene() -> None:
        server = await asyncio.start_server(echo, ORIGIN, 5060)
        proxy = WebProxy(PROXY, stock.PROXY_PORT)
        async with running(stock.tinyproxy(PROXY, connect_ports=(5060,)), stock.PROXY_PORT, stock.PROXY_PORT):
            loop = asyncio.get_running_loop()
            with await open_tunnel(proxy, (ORIGIN, 5060), None) as tunnel:
                await loop.sock_sendall(tunnel, b"hello")
                assert await loop.sock_recv(tunnel, 100) == b"hello"
            with pytest.raises(TransportFailure, match=f"opens no tunnel to {ORIGIN}:5061: 403"):
                await open_tunnel(proxy, (ORIGIN, 5061), None)
        server.close()

    asyncio.run(scene())
