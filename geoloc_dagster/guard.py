"""Who may ask Dagster's webserver, which has no login: pages of its own, and programs, but no page of another site.

A browser sends the requests of any page to this machine too, behind a proxy even with the visitor's login. So a request is
answered only under a name that we know (a foreign name that leads here is DNS rebinding); a page of another origin may link
to us and nothing else; and no GET executes GraphQL, which would do what it says for an `<img>`.

`python -m geoloc_dagster.guard` is `dagster-webserver`, with the same options, behind these rules.
"""

import os
import re
import sys
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geoloc_core.errors import GeolocError, InputError

SETTING = "GEOLOC_ALLOWED_HOSTS"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# As the header Host has it: a name or an address, without its port.
_NAME = r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)"
# No page of another origin may show ours in a frame and have the visitor click there, or read what it loads from us.
_ANSWERED_WITH = {"X-Frame-Options": "SAMEORIGIN", "Cross-Origin-Resource-Policy": "same-origin"}


def allowed_hosts() -> frozenset[str]:
    """The names that we answer to, at any port: those of loopback, and those that GEOLOC_ALLOWED_HOSTS lists (commas)."""
    named = {name for name in os.environ.get(SETTING, "").lower().replace(" ", "").split(",") if name}
    if wrong := [name for name in sorted(named) if not re.fullmatch(_NAME, name)]:
        raise InputError(f"{SETTING} names {wrong[0]!r}; write names alone, as `geoloc.example.org,10.0.0.7`")
    return frozenset(named | set(LOOPBACK))


def refusal(scope: Scope, hosts: Collection[str]) -> str:
    """Why an HTTP request or a WebSocket is not answered, as a sentence; empty if it is.

    Browsers send `Origin` with every POST and every WebSocket, and `Sec-Fetch-Site` with everything to loopback and by TLS
    (W3C Fetch Metadata); programs send neither.
    """
    headers = Headers(scope=scope)
    host, origin = headers.get("host", "").lower(), headers.get("origin")
    match = re.fullmatch(_NAME + r"(:\d+)?", host)
    if match is None or match[1] not in hosts:
        return f"this server does not answer to that host name; use 127.0.0.1, or list the name in {SETTING}"
    # The scheme is left out: behind a proxy that ends TLS only the browser knows it.
    foreign = origin is not None and urlsplit(origin.lower()).netloc != host
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        foreign |= not link or scope.get("method") != "GET"
    if foreign:
        return "a page of another origin may link to this server and ask nothing else of it; open the UI itself"
    reads = scope.get("method") in {"GET", "HEAD"}
    # What accepts HTML gets GraphQL's console, and nothing is executed.
    if reads and scope["path"].rstrip("/").endswith("/graphql") and "text/html" not in headers.get("accept", ""):
        return "GraphQL is executed by POST only; send the query as JSON"
    return ""


class Guard:
    """The ASGI application `app`, for requests that `refusal` has nothing against; the others get a 403."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_ANSWERED_WITH)
            await send(message)

        sentence = refusal(scope, self.hosts) if scope["type"] in {"http", "websocket"} else ""
        if not sentence:
            await self.app(scope, receive, send_marked)
        elif scope["type"] == "websocket":
            # Closed before it was accepted, which the browser hears as a 403.
            await send({"type": "websocket.close", "code": 1008, "reason": sentence})
        else:
            await PlainTextResponse(f"{sentence}\n", status_code=403)(scope, receive, send_marked)


def main() -> None:
    """`dagster-webserver`, guarded."""
    from dagster_webserver import cli

    try:
        hosts = allowed_hosts()
    except GeolocError as error:
        print(f"geoloc: {error}", file=sys.stderr)
        sys.exit(2)
    # The command has no option for middleware, but it makes its application by this function.
    create = cli.create_app_from_workspace_process_context

    def create_guarded(*given: Any, **options: Any) -> Any:
        return Guard(create(*given, **options), hosts)

    cli.create_app_from_workspace_process_context = create_guarded
    cli.main()


if __name__ == "__main__":
    main()
