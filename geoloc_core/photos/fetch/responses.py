"""What a server's response means: a picture, a refusal for good, or a reason to ask again later."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import PurePosixPath

from yarl import URL

# Flickr redirects a removed photo to s.yimg.com/pw/images/en-us/photo_unavailable.png; other languages and older
# years differ in the folders and the suffix.
_PLACEHOLDER_STEM = "photo_unavailable"

_FOR_GOOD = {404: "not_found", 410: "gone", **dict.fromkeys((401, 403, 451), "permission_denied")}
_ASK_LATER = {408: "timeout", 425: "rate_limited", 429: "rate_limited"}


class Outcome(StrEnum):
    """What to do about a photo after a response."""

    OK = "ok"
    PERMANENT = "permanent"
    TRANSIENT = "transient"


@dataclass(frozen=True)
class Response:
    """One attempt's result. `body` is the picture's bytes; `retry_after_s` what the server asked for, if it did."""

    outcome: Outcome
    reason: str = "ok"
    detail: str = ""
    http_status: int = 0
    body: bytes = b""
    retry_after_s: float | None = None


def judge_status(status: int) -> tuple[Outcome, str]:
    """What an HTTP status other than 200 and redirects means, and its reason code (RFC 9110, section 15)."""
    if status in _ASK_LATER or status >= 500:
        return Outcome.TRANSIENT, _ASK_LATER.get(status, "server_error")
    return Outcome.PERMANENT, _FOR_GOOD.get(status, "client_error")


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait, from a Retry-After header: a number of seconds or a date (RFC 9110, 10.2.3); None if neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def backoff_s(attempt: int, first_s: float, longest_s: float, chance: random.Random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): exponential, with full jitter.

    Uniform between 0 and `first_s` * 2^(attempt - 1), at most `longest_s` (Brooker 2015, "Exponential Backoff And
    Jitter"): clients that failed together do not come back together.
    """
    return chance.uniform(0.0, min(longest_s, first_s * 2.0 ** (attempt - 1)))


def is_placeholder(url: URL) -> bool:
    """Whether an address is that of the picture which Flickr shows in place of a removed one."""
    return PurePosixPath(url.path).stem.lower().startswith(_PLACEHOLDER_STEM)
