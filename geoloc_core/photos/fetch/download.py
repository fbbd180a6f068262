"""Pictures by URL: many hosts at a time, each asked politely, and never more than once for what will not come.

- A limit of requests per host and in all; a host that says Retry-After is left alone for that long by everyone.
- What may pass (429, 5xx, resets, time-outs) is tried again after exponentially growing, jittered pauses; what will not
  (404, 410, a page in place of a picture) is not.
- Resumable by row: the ledger knows what came and what never will; a second run asks only for what failed and may
  succeed now. A picture is on disk only when it is whole and decodes.
- Redirects are followed by hand, and every hop is checked like the first (see `addresses`). Bodies are bounded, and
  never decompressed on the way.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import pandas as pd
from tqdm import tqdm
from yarl import URL

from geoloc_core.line.profile import Fetching
from geoloc_core.photos.fetch.addresses import AddressRules, BadUrlError, BlockedAddressError, CheckedResolver
from geoloc_core.photos.fetch.answers import Answer, Outcome, backoff_s, is_placeholder, judge_status, parse_retry_after
from geoloc_core.photos.fetch.ledger import Entry, Ledger
from geoloc_core.photos.images import ImageLimits, RefusedImage, load_image, resolve_inside
from geoloc_core.photos.layouts import mp16_path
from geoloc_core.photos.schemas import FetchedImages, column_names, validate
from geoloc_core.progress import bar
from geoloc_core.storage import write_bytes

T = TypeVar("T")

_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 64 * 1024
PLACEHOLDER_COPIES = 5


@dataclass(frozen=True)
class FetchPolicy:
    """How to ask. Times are in seconds."""

    per_host: int = Fetching().per_host
    concurrent: int = Fetching().concurrent
    attempts: int = Fetching().attempts
    first_pause_s: float = 0.5
    longest_pause_s: float = 60.0
    longest_retry_after_s: float = 300.0  # a host that asks for more is left to the next run
    connect_timeout_s: float = 15.0
    stall_timeout_s: float = 30.0
    total_timeout_s: float = 180.0
    max_redirects: int = 5
    user_agent: str = Fetching().user_agent
    limits: ImageLimits = field(default_factory=lambda: ImageLimits(max_bytes=32 * 1024 * 1024))
    addresses: AddressRules = field(default_factory=AddressRules)
    jitter_seed: int | None = None


def fetch_images(
    photos: pd.DataFrame,
    folder: Path,
    ledger: Path,
    policy: FetchPolicy | None = None,
    retry_permanent: bool = False,
) -> pd.DataFrame:
    """Fetch the picture of each photo (`RawPhotos` with `image_url`) into `folder`; `FetchedImages` in the same order.

    A picture is kept at the photo's `image_path`, or in MP-16's layout where it has none. `ledger` is the file that
    remembers outcomes between runs. With `retry_permanent` even photos that were refused for good are asked for again.
    """
    policy = policy or FetchPolicy()
    with Ledger(ledger) as book, bar("fetching", total=len(photos), unit="photo") as shown:
        fetcher = _Fetcher(folder, policy, book, book.read(), retry_permanent, shown)
        rows = _run(lambda: fetcher.fetch(photos))
    frame = pd.DataFrame(rows, columns=column_names(FetchedImages))
    return validate(FetchedImages, frame, "the fetched images")


def explain_missing(manifest: pd.DataFrame, fetched: pd.DataFrame) -> pd.DataFrame:
    """`ImageManifest` that says of each missing file why it could not be fetched (`FetchedImages`)."""
    why = fetched[fetched["status"] != "ok"].set_index("photo_id")
    missing = manifest["status"].isin(["missing_file", "no_image"]) & manifest["photo_id"].isin(why.index)
    told = manifest.copy()
    ids = told.loc[missing, "photo_id"]
    told.loc[missing, "status"] = why["status"].reindex(ids).to_numpy()
    told.loc[missing, "detail"] = why["detail"].reindex(ids).to_numpy()
    return told


def mark_placeholders(manifest: pd.DataFrame, photos: pd.DataFrame, copies: int = PLACEHOLDER_COPIES) -> pd.DataFrame:
    """`ImageManifest` in which a picture whose very bytes stand for `copies` places or more is status `placeholder`.

    `photos` (`RawPhotos`, the same photos in the same order) say where each was taken; copies of one photo are no places.

    A host that answers for a removed photo with a stand-in, without a redirect that tells, is found out in this way:
    no picture is the photo of several places.
    """
    ok = manifest["status"] == "ok"
    where = pd.DataFrame(
        {name: photos[name].to_numpy() for name in ("latitude", "longitude")}
        | {"sha256": manifest["sha256"].to_numpy()}
    )
    places = where[ok.to_numpy()].drop_duplicates()["sha256"].value_counts()
    shared = ok & (manifest["sha256"].map(places).fillna(0) >= copies)
    told = manifest.copy()
    told.loc[shared, ["status", "detail", "phash"]] = ["placeholder", "the same bytes stand for several photos", ""]
    told.loc[shared, ["width", "height"]] = 0
    return told


@dataclass
class _Host:
    """What is shared by all who ask one host."""

    free: asyncio.Semaphore
    resume_at: float = 0.0
    closed: bool = False  # it asked for more patience than this run has


@dataclass(frozen=True)
class _Row:
    position: int
    photo_id: str
    url: str
    image_path: str


class _Fetcher:
    """One run."""

    def __init__(
        self,
        folder: Path,
        policy: FetchPolicy,
        book: Ledger,
        known: Mapping[str, Entry],
        retry_permanent: bool,
        shown: tqdm,
    ) -> None:
        self._folder = folder
        self._policy = policy
        self._book = book
        self._known = known
        self._retry_permanent = retry_permanent
        self._shown = shown
        self._chance = random.Random(policy.jitter_seed)
        self._hosts: defaultdict[str, _Host] = defaultdict(lambda: _Host(asyncio.Semaphore(policy.per_host)))
        self._free = asyncio.Semaphore(policy.concurrent)

    async def fetch(self, photos: pd.DataFrame) -> list[tuple[object, ...]]:
        """One tuple of `FetchedImages` for each photo, in order."""
        results: list[tuple[object, ...]] = [()] * len(photos)
        queues: defaultdict[str, deque[_Row]] = defaultdict(deque)
        columns = zip(photos["photo_id"], photos["image_url"], photos["image_path"], strict=True)
        for position, (photo_id, url, image_path) in enumerate(columns):
            row = _Row(position, photo_id, url, image_path or mp16_path(photo_id))
            entry = self._settled(row)
            if entry is None:
                queues[_host_of(url)].append(row)
            else:
                results[position] = _result(row, entry, asked=False)
                self._shown.update(1)

        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._policy.connect_timeout_s, sock_read=self._policy.stall_timeout_s
        )
        connector = aiohttp.TCPConnector(limit=0, resolver=CheckedResolver(self._policy.addresses))
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._policy.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        ) as session:

            async def work(queue: deque[_Row]) -> None:
                while queue:
                    row = queue.popleft()
                    entry = await self._fetch_row(session, row)
                    results[row.position] = _result(row, entry, asked=True)
                    self._book.write(entry)
                    self._shown.update(1)

            async with asyncio.TaskGroup() as tasks:
                for queue in queues.values():
                    for _ in range(min(self._policy.per_host, len(queue))):
                        tasks.create_task(work(queue))
        return results

    def _settled(self, row: _Row) -> Entry | None:
        """What is known of a row that need not be asked for, or None."""
        entry = self._known.get(row.photo_id)
        try:
            on_disk = resolve_inside(self._folder, row.image_path).is_file()
        except RefusedImage as refusal:
            return Entry(row.photo_id, row.url, Outcome.PERMANENT, refusal.reason, str(refusal))
        if on_disk:
            return entry if entry and entry.outcome == Outcome.OK else Entry(row.photo_id, row.url, Outcome.OK, "ok")
        if entry is None or entry.outcome == Outcome.OK or self._retry_permanent:
            return None  # unknown, or it came once and the file is gone
        return entry if entry.settled_for(row.url) else None

    async def _fetch_row(self, session: aiohttp.ClientSession, row: _Row) -> Entry:
        """Ask until there is an answer that stands."""
        attempt = 0
        while True:
            attempt += 1
            answer = await self._ask(session, row)
            if answer.outcome == Outcome.OK:
                answer = await asyncio.to_thread(self._keep, row, answer)
            give_up = attempt >= self._policy.attempts or self._hosts[_host_of(row.url)].closed
            if answer.outcome != Outcome.TRANSIENT or give_up:
                return Entry(
                    row.photo_id,
                    row.url,
                    str(answer.outcome),
                    answer.reason,
                    answer.detail,
                    answer.http_status,
                    attempt,
                )
            if answer.retry_after_s is None:  # else the host's gate makes everyone wait
                pause = backoff_s(attempt, self._policy.first_pause_s, self._policy.longest_pause_s, self._chance)
                await asyncio.sleep(pause)

    async def _ask(self, session: aiohttp.ClientSession, row: _Row) -> Answer:
        """One attempt, over all its redirects."""
        try:
            url = URL(row.url)
            for _ in range(self._policy.max_redirects + 1):
                self._policy.addresses.check_url(url)
                if is_placeholder(url):
                    return Answer(Outcome.PERMANENT, "placeholder", str(url))
                answer, onward = await self._hop(session, url)
                if onward is None:
                    return answer
                url = onward
            return Answer(Outcome.PERMANENT, "too_many_redirects", f"more than {self._policy.max_redirects}")
        except BlockedAddressError as error:
            return Answer(Outcome.PERMANENT, "blocked_address", str(error))
        except (BadUrlError, aiohttp.InvalidURL, ValueError) as error:
            return Answer(Outcome.PERMANENT, "bad_url", str(error))
        except TimeoutError as error:
            return Answer(Outcome.TRANSIENT, "timeout", _words(error))
        except aiohttp.ClientPayloadError as error:
            return Answer(Outcome.TRANSIENT, "incomplete_body", _words(error))
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Outcome.TRANSIENT, "network_error", _words(error))

    async def _hop(self, session: aiohttp.ClientSession, url: URL) -> tuple[Answer, URL | None]:
        """Ask one address once the host is free: the answer, or where it sends us."""
        host = self._hosts[_host_of(str(url))]
        async with host.free:
            while not host.closed and (wait := host.resume_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if host.closed:
                return Answer(
                    Outcome.TRANSIENT, "rate_limited", "the host asked for a longer pause than this run has"
                ), None
            async with (
                self._free,
                asyncio.timeout(self._policy.total_timeout_s),
                session.get(url, allow_redirects=False) as response,
            ):
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return Answer(Outcome.TRANSIENT), url.join(URL(response.headers["Location"]))
                if response.status == 200:
                    return await self._body(response), None
                outcome, reason = judge_status(response.status)
                wait_s = (
                    parse_retry_after(response.headers.get("Retry-After")) if outcome == Outcome.TRANSIENT else None
                )
                if wait_s is not None:
                    host.resume_at = max(host.resume_at, time.monotonic() + wait_s)
                    host.closed = host.closed or wait_s > self._policy.longest_retry_after_s
                answer = Answer(outcome, reason, f"HTTP {response.status}", response.status, retry_after_s=wait_s)
                return answer, None

    async def _body(self, response: aiohttp.ClientResponse) -> Answer:
        """The body, up to the limit."""
        limit = self._policy.limits.max_bytes
        too_long = Answer(Outcome.PERMANENT, "too_many_bytes", f"more than {limit} bytes", response.status)
        if response.content_length is not None and response.content_length > limit:
            response.close()
            return too_long
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > limit:
                response.close()  # the rest is not read
                return too_long
        return Answer(Outcome.OK, detail=response.content_type, http_status=response.status, body=bytes(body))

    def _keep(self, row: _Row, answer: Answer) -> Answer:
        """Put a body on disk if it is a picture that decodes."""
        try:
            load_image(answer.body, self._policy.limits)
        except RefusedImage as refusal:
            detail = f"{answer.detail}; {refusal.detail}" if refusal.detail else answer.detail
            # A body that came whole and is empty or cut off was so on the server: it may be mended there.
            passing = refusal.reason in ("empty_file", "truncated_image")
            return Answer(
                Outcome.TRANSIENT if passing else Outcome.PERMANENT, refusal.reason, detail, answer.http_status
            )
        write_bytes(self._folder / row.image_path, answer.body)
        return Answer(Outcome.OK, http_status=answer.http_status)


def _result(row: _Row, entry: Entry, asked: bool) -> tuple[object, ...]:
    return (
        row.photo_id,
        row.image_path,
        entry.reason,
        entry.outcome == Outcome.PERMANENT,
        entry.detail,
        entry.http_status,
        entry.attempts if asked else 0,
    )


def _host_of(url: str) -> str:
    """What requests are counted by: the host and port, "" where the URL has none."""
    try:
        return URL(url).authority.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _run(work: Callable[[], Awaitable[T]]) -> T:
    """The result of a coroutine, also where a loop is running already (a notebook)."""

    async def main() -> T:
        return await work()

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    results: list[T] = []
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            results.append(asyncio.run(main()))
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
