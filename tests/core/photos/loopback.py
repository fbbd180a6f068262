"""A server on loopback that does everything that servers do."""

import asyncio
import gzip
import threading
import time
from collections import Counter

from tests.core.photos.conftest import jpeg, png_of

PICTURE = jpeg(seed=0, size=(80, 60))
GZIP_BOMB = gzip.compress(bytes(100_000_000))


class Server:
    """Answers by path, on a thread of its own; counts requests and bytes."""

    def __init__(self):
        self.asked = Counter()
        self.times = {}
        self.sent = Counter()
        self.at_once = 0
        self.most_at_once = 0
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()), daemon=True)
        self.thread.start()
        assert self.ready.wait(10)

    async def main(self):
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stop.wait()
        server.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(10)

    async def serve(self, reader, writer):
        try:
            while (request := await reader.readuntil(b"\r\n\r\n")) and await self.answer(request, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, request, writer):
        path = request.split()[1].decode()
        self.asked[path] += 1
        self.times.setdefault(path, []).append(time.monotonic())
        kind = path.strip("/").split("/")[0]

        def reply(status, body=b"", **headers):
            lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {headers.pop('length', len(body))}"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

        def whole(body=b"", **headers):
            reply(200, body, **headers)

        last, time_of_asking, here = path.rsplit("/", 1)[-1], self.asked[path], f"http://127.0.0.1:{self.port}"
        inward = {"link-local": "169.254.169.254", "loopback6": f"[::1]:{self.port}"}.get(last, last)
        redirects = {
            "to": f"{here}/ok/{last}",
            "relative": "../ok/relative.jpg",
            "round": path,
            "inward": f"http://{inward}/latest/meta-data/",
            "file": "file:///etc/passwd",
            "flickr": f"{here}/pw/images/en-us/photo_unavailable.png",
        }
        if kind == "shaky":  # 500, a reset, a cut body, then the picture
            kind = {1: "500", 2: "reset", 3: "cut"}.get(time_of_asking, "picture")
        if kind == "ok":
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(0.02)
            self.at_once -= 1
            whole(PICTURE)
        elif kind.isdigit():
            reply(int(kind), b"no")
        elif kind in redirects:
            reply(302, Location=redirects[kind])
        elif kind == "busy-once" and time_of_asking == 1:
            reply(429, Retry_After="1")
        elif kind == "busy-for-hours":
            reply(429, Retry_After="7200")
        elif kind == "reset":
            writer.transport.abort()
            return False
        elif kind in ("cut", "stall"):
            reply(200, PICTURE[:1000], length=len(PICTURE))
            await asyncio.sleep(5 * (kind == "stall"))
            return False
        elif kind == "drip":
            reply(200, length=1000)
            for _ in range(100):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        elif kind == "cut-unnoticed":
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PICTURE[:1000])
            return False
        elif kind == "html":
            whole(b"<html><body>The photo was removed</body></html>", Content_Type="text/html")
        elif kind == "zeros":  # a gigabyte, in chunks, without saying so
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(16384):
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                await writer.drain()
                self.sent[path] += 0x10000
        elif kind == "declared-gigabyte":
            reply(200, length=1 << 30)
        elif kind == "gzip-bomb":
            whole(GZIP_BOMB, Content_Encoding="gzip")
        elif kind == "pixel-bomb":
            whole(png_of(60_000, 60_000), Content_Type="image/png")
        elif kind == "noise":  # the same for ten numbers
            whole(jpeg(seed=int(last.split(".")[0]) // 10))
        elif kind == "empty":
            whole()
        else:
            whole(PICTURE)
        await writer.drain()
        return True
