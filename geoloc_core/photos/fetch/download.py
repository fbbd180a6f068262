"""Pictures by URL: many hosts at a time, each asked politely, and never more than once for what will not come.

- A limit of requests per host and in all; a host that says Retry-After is left alone for that long by everyone. What
  may pass (429, 5xx, resets, time-outs) is tried again after growing, jittered pauses; what will not (404, a page for a
  picture) is not.
- The ledger holds what came and what never will; a second run asks only for the rest. A picture on disk is whole and
  decodes.
- Every hop of a redirect is checked like the first (`addresses`). Bodies are bounded, and never decompressed on the way.
"""

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import pandas as pd
from tqdm import tqdm
from yarl import URL

from geoloc_core.photos.fetch import responses
from geoloc_core.photos.fetch.addresses import AddressRules, CheckedResolver
from geoloc_core.photos.fetch.ledger import Entry, open_ledger, read_ledger
from geoloc_core.photos.fetch.responses import Outcome, Response
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image, one_line, resolve_inside, write_inside
from geoloc_core.photos.picture_paths import mp16_path
from geoloc_core.photos.settings import FetchPolicy
from geoloc_core.progress import bar

T = TypeVar("T")

MAX_FETCHED_BYTES = 32 * 1024 * 1024
# The settings that a verdict for good depends on: with another value the photo is asked for again.
_DEPENDS_ON = {
    "blocked_address": "allowed_networks",
    "too_many_redirects": "max_redirects",
    "too_many_bytes": "max_bytes",
    "too_many_pixels": "max_pixels",
}
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 64 * 1024


def fetch_images(
    photos: pd.DataFrame,
    folder: Path,
    ledger: Path,
    policy: FetchPolicy | None = None,
    limits: ImageLimits | None = None,
) -> pd.DataFrame:
    """Fetch the picture of each photo (`RawPhotos` with `image_url`) into `folder`.

    It goes to the photo's `image_path`, or to MP-16's layout where it has none; it has at most `MAX_FETCHED_BYTES`.
    `ledger` is the file that remembers outcomes between runs.

    Returns, in the same order, `photo_id`, `image_path`, `status` ("ok" or the reason), `permanent` (whether it need not be
    asked for again), `detail`, `http_status` and `attempts` (0 where it was not asked for in this run).
    """
    limits = limits or ImageLimits()
    limits = limits.model_copy(update={"max_bytes": min(limits.max_bytes, MAX_FETCHED_BYTES)})
    with open_ledger(ledger) as write, bar("fetching", total=len(photos), unit="photo") as progress:
        fetcher = _Fetcher(folder, policy or FetchPolicy(), limits, read_ledger(ledger), write, progress)
        paths = [path or mp16_path(photo) for photo, path in zip(photos["photo_id"], photos["image_path"], strict=True)]
        entries = _run(fetcher.fetch(list(photos["photo_id"]), list(photos["image_url"]), paths))
    frame = pd.DataFrame([asdict(entry) for entry in entries], columns=[field.name for field in fields(Entry)])
    frame = frame.rename(columns={"reason": "status"}).drop(columns=["url", "settings"])
    return frame.assign(image_path=paths, permanent=frame.pop("outcome") == Outcome.PERMANENT)


@dataclass
class _Host:
    """What is shared by all who ask one host."""

    free: asyncio.Semaphore
    resume_at: float = 0.0
    closed: bool = False  # it asked for more patience than this run has


class _Row(NamedTuple):
    position: int
    photo_id: str
    url: str
    image_path: str


@dataclass
class _Fetcher:
    """One run."""

    folder: Path
    policy: FetchPolicy
    limits: ImageLimits
    ledger: Mapping[str, Entry]
    write: Callable[[Entry], None]
    progress: tqdm

    def __post_init__(self) -> None:
        self.addresses = AddressRules(self.policy.allowed_networks)
        self.chance = random.Random()
        self.hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(asyncio.Semaphore(self.policy.per_host)))
        self.free = asyncio.Semaphore(self.policy.concurrent)

    async def fetch(self, photo_ids: list[str], urls: list[str], paths: list[str]) -> list[Entry]:
        """The entry of each photo, in order."""
        rows = [_Row(*columns) for columns in zip(range(len(urls)), photo_ids, urls, paths, strict=True)]
        entries = [self._settled(row) for row in rows]
        queues: defaultdict[str, deque[_Row]] = defaultdict(deque)
        for row in rows:
            if entries[row.position] is None:
                queues[_host_of(row.url)].append(row)
        self.progress.update(len(entries) - entries.count(None))

        async def work(session: aiohttp.ClientSession, queue: deque[_Row]) -> None:
            while queue:
                row = queue.popleft()
                entry = entries[row.position] = await self._fetch_row(session, row)
                self.write(entry)
                self.progress.update(1)

        client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=CheckedResolver(self.addresses)),
            timeout=aiohttp.ClientTimeout(None, None, self.policy.stall_timeout_s, self.policy.connect_timeout_s),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.policy.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        )
        async with client as session, asyncio.TaskGroup() as tasks:
            for queue in queues.values():
                for _ in range(min(self.policy.per_host, len(queue))):
                    tasks.create_task(work(session, queue))
        return [entry for entry in entries if entry is not None]

    def _settled(self, row: _Row) -> Entry | None:
        """The entry of a row that need not be asked for, or None."""
        entry = self.ledger.get(row.photo_id)
        entry = replace(entry, attempts=0) if entry else None
        try:
            on_disk = resolve_inside(self.folder, row.image_path).is_file()
        except RefusedImage as refusal:
            return Entry(row.photo_id, row.url, Outcome.PERMANENT, refusal.reason, str(refusal))
        if on_disk:
            return entry if entry and entry.outcome == Outcome.OK else Entry(row.photo_id, row.url, Outcome.OK, "ok")
        # A permanent refusal holds for the address that was asked and the settings that it depends on. What came once may
        # be gone from the disk.
        asked = entry is not None and (entry.url, entry.settings) == (row.url, self._settings_of(entry.reason))
        return entry if entry and entry.outcome == Outcome.PERMANENT and asked else None

    def _settings_of(self, reason: str) -> str:
        """What the verdict `reason` depends on, as it is now."""
        values = {**self.policy.model_dump(), **self.limits.model_dump()}
        return f"{name}={values[name]}" if (name := _DEPENDS_ON.get(reason)) else ""

    async def _fetch_row(self, session: aiohttp.ClientSession, row: _Row) -> Entry:
        """Ask until there is a response that stands."""
        pauses = (self.policy.first_pause_s, self.policy.longest_pause_s, self.chance)
        for attempt in count(1):
            response = await self._ask(session, row.url)
            if response.outcome == Outcome.OK:
                response = await asyncio.to_thread(self._keep, row, response)
            give_up = attempt >= self.policy.attempts or self.hosts[_host_of(row.url)].closed
            if response.outcome != Outcome.TRANSIENT or give_up:
                judged = (str(response.outcome), response.reason, response.detail, response.http_status)
                return Entry(row.photo_id, row.url, *judged, attempt, self._settings_of(response.reason))
            if response.retry_after_s is None:  # else everyone waits for the host
                await asyncio.sleep(responses.backoff_s(attempt, *pauses))
        raise AssertionError("there is always a next attempt")

    async def _ask(self, session: aiohttp.ClientSession, address: str) -> Response:
        """One attempt, over all its redirects."""
        try:
            url = URL(address)
            for _ in range(self.policy.max_redirects + 1):
                self.addresses.check_url(url)
                if responses.is_placeholder(url):
                    return Response(Outcome.PERMANENT, "placeholder", str(url))
                response = await self._hop(session, url)
                if isinstance(response, Response):
                    return response
                url = response
            return Response(Outcome.PERMANENT, "too_many_redirects", f"more than {self.policy.max_redirects}")
        except RefusedImage as refusal:
            return Response(Outcome.PERMANENT, refusal.reason, str(refusal))
        except (aiohttp.InvalidURL, ValueError) as error:
            return Response(Outcome.PERMANENT, "bad_url", str(error))
        except TimeoutError as error:
            return Response(Outcome.TRANSIENT, "timeout", one_line(error))
        except aiohttp.ClientPayloadError as error:
            return Response(Outcome.TRANSIENT, "incomplete_body", one_line(error))
        except (aiohttp.ClientError, OSError) as error:
            return Response(Outcome.TRANSIENT, "network_error", one_line(error))

    async def _hop(self, session: aiohttp.ClientSession, url: URL) -> Response | URL:
        """Ask one address once the host is free: the response, or where it sends us."""
        host = self.hosts[_host_of(str(url))]
        async with host.free:
            while not host.closed and (wait := host.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if host.closed:
                sentence = "the host asked for a longer pause than this run has"
                return Response(Outcome.TRANSIENT, "rate_limited", sentence)
            within_time = asyncio.timeout(self.policy.total_timeout_s)
            async with self.free, within_time, session.get(url, allow_redirects=False) as reply:
                if reply.status in _REDIRECTS and "Location" in reply.headers:
                    return url.join(URL(reply.headers["Location"]))
                if reply.status == 200:
                    return await self._body(reply)
                outcome, reason = responses.judge_status(reply.status)
                asked_for = reply.headers.get("Retry-After") if outcome == Outcome.TRANSIENT else None
                wait_s = responses.parse_retry_after(asked_for)
                if wait_s is not None:
                    host.resume_at = max(host.resume_at, time.monotonic() + wait_s)
                    host.closed = host.closed or wait_s > self.policy.longest_retry_after_s
                return Response(outcome, reason, f"HTTP {reply.status}", reply.status, retry_after_s=wait_s)

    async def _body(self, reply: aiohttp.ClientResponse) -> Response:
        """The body, up to the limit."""
        limit = self.limits.max_bytes
        body = bytearray()
        if (reply.content_length or 0) <= limit:
            async for chunk in reply.content.iter_chunked(_CHUNK):
                body += chunk
                if len(body) > limit:
                    break
            else:
                return Response(Outcome.OK, detail=reply.content_type, http_status=reply.status, body=bytes(body))
        reply.close()  # the rest is not read
        return Response(Outcome.PERMANENT, "too_many_bytes", f"more than {limit} bytes", reply.status)

    def _keep(self, row: _Row, response: Response) -> Response:
        """Put a body on disk if it is a picture that decodes."""
        try:
            load_image(response.body, self.limits)
            write_inside(self.folder, row.image_path, response.body)
        except RefusedImage as refusal:
            detail = f"{response.detail}; {refusal.detail}" if refusal.detail else response.detail
            # A body that came whole and is empty or cut off was so on the server: it may be mended there.
            passing = refusal.reason in ("empty_file", "truncated_image")
            outcome = Outcome.TRANSIENT if passing else Outcome.PERMANENT
            return Response(outcome, refusal.reason, detail, response.http_status)
        return Response(Outcome.OK, http_status=response.http_status)


def _host_of(url: str) -> str:
    """What requests are counted by: the host and port, "" where the URL has none."""
    try:
        return URL(url).authority.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, also where a loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
