"""A stand-in for Wikimedia Commons on loopback: Special:FilePath sends on to a thumbnail, as there."""

import hashlib
import io
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np
from PIL import Image

FILE_PATH = "/wiki/Special:FilePath/"


def picture(name):
    """A small JPEG that belongs to a file's name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    noise = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((330, 248), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


class Commons(ThreadingHTTPServer):
    """`asked`: requests by file name; `agents`, `widths`: what they said; `status`: by name, what is answered in place."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked, self.status = Counter(), {}
        self.agents, self.widths = set(), set()
        self.address = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        address = urlsplit(self.path)
        self.server.agents.add(self.headers["User-Agent"])
        if address.path.startswith(FILE_PATH):
            name = unquote(address.path.removeprefix(FILE_PATH))
            self.server.asked[name] += self.command == "GET"
            self.server.widths.update(parse_qs(address.query).get("width", ["none"]))
            status = self.server.status.get(name, 302)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{self.server.address}/thumb/{quote(name, safe='')}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = picture(unquote(address.path.removeprefix("/thumb/")))
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


@contextmanager
def commons_server():
    """The server, running on a thread of its own."""
    server = Commons()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
