"""Fetching pictures, proved against a server on loopback that does everything that servers do."""

import hashlib
import ipaddress
import json
import random
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from geoloc_core.photos.fetch.addresses import is_public
from geoloc_core.photos.fetch.download import fetch_images
from geoloc_core.photos.fetch.responses import backoff_s, parse_retry_after
from geoloc_core.photos.images import build_manifest
from geoloc_core.photos.pictures import explain_missing, mark_placeholders
from geoloc_core.photos.reasons import IMAGE_REASONS
from geoloc_core.photos.schemas import ImageManifest
from geoloc_core.photos.settings import FetchPolicy, ImageLimits
from geoloc_core.tables import validate
from tests.core.photos.loopback import PICTURE

QUICK = FetchPolicy(
    attempts=4,
    first_pause_s=0.01,
    connect_timeout_s=2,
    stall_timeout_s=10,
    total_timeout_s=30,
    longest_retry_after_s=5,
    allowed_networks=("127.0.0.1/32",),
)
LIMITS = ImageLimits(max_bytes=300_000)


def photos(server, paths, host="127.0.0.1"):
    urls = [path if "://" in path else f"http://{host}:{server.port}/{path}" for path in paths]
    return pd.DataFrame({"photo_id": [f"p{n}" for n in range(len(paths))], "image_url": urls, "image_path": ""})


def fetch(server, tmp_path, paths, **changes):
    policy = QUICK.model_copy(update=changes)
    rows = paths if isinstance(paths, pd.DataFrame) else photos(server, paths)
    frame = fetch_images(rows, tmp_path / "images", tmp_path / "ledger.jsonl", policy, LIMITS)
    assert set(frame["status"]) <= {"ok", *IMAGE_REASONS}
    return frame


# path: (status, permanent, attempts)
EXPECTED = {
    "ok/a.jpg": ("ok", False, 1),
    "404/a.jpg": ("not_found", True, 1),
    "410/a.jpg": ("gone", True, 1),
    "403/a.jpg": ("permission_denied", True, 1),
    "418/a.jpg": ("client_error", True, 1),
    "500/a.jpg": ("server_error", False, 4),
    "503/a.jpg": ("server_error", False, 4),
    "429/a.jpg": ("rate_limited", False, 4),
    "reset/a.jpg": ("network_error", False, 4),
    "cut/a.jpg": ("incomplete_body", False, 4),
    "cut-unnoticed/a.jpg": ("truncated_image", False, 4),
    "empty/a.jpg": ("empty_file", False, 4),
    "html/a.jpg": ("not_an_image", True, 1),
    "zeros/a.jpg": ("too_many_bytes", True, 1),
    "declared-gigabyte/a.jpg": ("too_many_bytes", True, 1),
    "gzip-bomb/a.jpg": ("not_an_image", True, 1),
    "pixel-bomb/a.png": ("too_many_pixels", True, 1),
    "to/b.jpg": ("ok", False, 1),
    "relative/a.jpg": ("ok", False, 1),
    "round/a.jpg": ("too_many_redirects", True, 1),
    "inward/127.0.0.2": ("blocked_address", True, 1),
    "inward/loopback6": ("blocked_address", True, 1),
    "inward/10.0.0.1": ("blocked_address", True, 1),
    "inward/link-local": ("blocked_address", True, 1),
    "file/a.jpg": ("bad_url", True, 1),
    "flickr/a.jpg": ("placeholder", True, 1),
    "ftp://127.0.0.1/a.jpg": ("bad_url", True, 1),
    "http://user:word@127.0.0.1/a.jpg": ("bad_url", True, 1),
    "http://[::1/a.jpg": ("bad_url", True, 1),
    "http://192.168.1.1/a.jpg": ("blocked_address", True, 1),
    "http://2130706434/a.jpg": ("bad_url", True, 1),  # 127.0.0.2, written as one number
    "http://127.2/a.jpg": ("bad_url", True, 1),
    "http://127.0.0.1/" + "x" * 3000: ("bad_url", True, 1),
}


def test_every_answer(server, tmp_path):
    frame = fetch(server, tmp_path, EXPECTED)
    found = dict(zip(EXPECTED, frame[["status", "permanent", "attempts"]].itertuples(index=False), strict=True))
    assert {path: tuple(row) for path, row in found.items()} == EXPECTED
    # Of the gigabyte hardly more than the limit and what lay in the sockets' buffers was sent.
    assert server.sent["/zeros/a.jpg"] < 32 * 1024 * 1024
    # What came is whole and lies where it should; what did not left nothing.
    files = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.read_bytes() for path in files} == {PICTURE}
    name = "p0.jpg"
    folder = hashlib.sha1(name.encode()).hexdigest()
    assert (tmp_path / "images" / folder[:2] / folder[2:4] / name).is_file()
    assert server.asked["/404/a.jpg"] == 1


def test_what_may_pass_is_tried_again(server, tmp_path):
    assert fetch(server, tmp_path, ["shaky/a.jpg"])["status"].tolist() == ["ok"]
    assert server.asked["/shaky/a.jpg"] == 4  # a 500, a reset, a cut body, the picture


def test_stalls_and_drips_end(server, tmp_path):
    start = time.monotonic()
    impatient = {"attempts": 2, "stall_timeout_s": 0.5, "total_timeout_s": 1.5}
    frame = fetch(server, tmp_path, ["stall/a.jpg", "drip/a.jpg"], **impatient)
    assert frame[["status", "permanent", "attempts"]].values.tolist() == [["timeout", False, 2]] * 2
    assert time.monotonic() - start < 10  # a server that is waited for takes 5 s or 10 s an attempt


def test_retry_after_holds_the_whole_host(server, tmp_path):
    fetch(server, tmp_path, ["busy-once/x.jpg"])
    first, second = server.times["/busy-once/x.jpg"]
    assert second - first >= 1.0
    frame = fetch(server, tmp_path / "2", ["busy-once/y.jpg", *[f"ok/{n}.jpg" for n in range(40)]])
    assert (frame["status"] == "ok").all()
    told = server.times["/busy-once/y.jpg"][0]
    later = [moment for n in range(40) for moment in server.times[f"/ok/{n}.jpg"] if moment > told + 0.1]
    assert min(later) >= told + 0.95


def test_a_host_that_asks_for_hours_is_left_to_the_next_run(server, tmp_path):
    before = sum(server.asked.values())
    frame = fetch(server, tmp_path, ["busy-for-hours/0.jpg", *[f"busy-for-hours/{n}.jpg" for n in range(1, 30)]])
    assert set(frame["status"]) == {"rate_limited"}
    assert not frame["permanent"].any()
    assert sum(server.asked.values()) - before <= QUICK.per_host


@pytest.mark.parametrize("per_host", [1, 3])
def test_no_host_is_asked_more_than_so_often_at_once(server, tmp_path, per_host):
    server.most_at_once = 0
    paths = [f"ok/{per_host}-{n}.jpg" for n in range(20)] + [f"to/{per_host}-to-{n}.jpg" for n in range(10)]
    frame = fetch(server, tmp_path, paths, per_host=per_host)
    assert (frame["status"] == "ok").all()
    assert server.most_at_once == per_host


def test_a_second_run_asks_only_for_what_failed_and_may_succeed(server, tmp_path):
    paths = ["ok/resume.jpg", "404/resume.jpg", "500/resume.jpg", "html/resume.jpg"]
    fetch(server, tmp_path, paths)
    asked = [server.asked[f"/{path}"] for path in paths]
    assert asked == [1, 1, 4, 1]
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"photo_id": "p2", "url": "half')  # a crash in the middle of a line
    again = fetch(server, tmp_path, paths)
    assert [server.asked[f"/{path}"] for path in paths] == [1, 1, 8, 1]
    assert again["status"].tolist() == ["ok", "not_found", "server_error", "not_an_image"]
    assert again["attempts"].tolist() == [0, 0, 4, 0]
    # Another address for the same photo is a new question, and a lost file is asked for again.
    next((tmp_path / "images").rglob("p0.jpg")).unlink()
    paths[1] = "ok/found-elsewhere.jpg"
    third = fetch(server, tmp_path, paths)
    assert third["status"].tolist() == ["ok", "ok", "server_error", "not_an_image"]
    assert server.asked["/ok/resume.jpg"] == 2


def test_the_manifest_says_why_a_picture_is_missing(server, tmp_path):
    rows = photos(server, ["ok/m.jpg", "404/m.jpg", "html/m.jpg"]).assign(image_path=["a/0.jpg", "a/1.jpg", "../2.jpg"])
    fetched = fetch_images(rows, tmp_path / "images", tmp_path / "ledger.jsonl", QUICK)
    assert fetched["status"].tolist() == ["ok", "not_found", "unsafe_path"]
    manifest = explain_missing(build_manifest(rows, tmp_path / "images"), fetched)
    assert manifest["status"].tolist() == ["ok", "not_found", "unsafe_path"]
    assert manifest["detail"][1] == "HTTP 404"
    assert manifest["sha256"][0] == hashlib.sha256(PICTURE).hexdigest()


def test_one_picture_for_many_photos_is_a_placeholder(tmp_path):
    for n in range(7):
        content = PICTURE if n < 5 else PICTURE + bytes([n])
        (tmp_path / f"{n}.jpg").write_bytes(content)
    rows = pd.DataFrame({"photo_id": [str(n) for n in range(8)], "image_path": [f"{n}.jpg" for n in range(8)]})
    rows = rows.assign(latitude=np.arange(8.0), longitude=7.0)
    manifest = build_manifest(rows, tmp_path)
    marked = mark_placeholders(manifest, rows)
    assert marked["status"].tolist() == ["placeholder"] * 5 + ["ok", "ok", "missing_file"]
    validate(ImageManifest, marked, "marked")
    assert mark_placeholders(manifest, rows, copies=6)["status"].tolist() == manifest["status"].tolist()
    # Five copies of one photo, all of the same place, are copies and nothing else.
    assert mark_placeholders(manifest, rows.assign(latitude=1.0))["status"].tolist() == manifest["status"].tolist()


PUBLIC = "8.8.8.8 2001:4860:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808"
PRIVATE = (
    "127.0.0.1 127.8.9.10 10.1.2.3 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 240.0.0.1"
    " 255.255.255.255 :: ::1 fe80::1 fc00::1 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:192.168.0.1 64:ff9b::7f00:1"
    " 2002:7f00:1::"
)


def test_public_addresses():
    assert all(is_public(ipaddress.ip_address(address)) for address in PUBLIC.split())
    assert not any(is_public(ipaddress.ip_address(address)) for address in PRIVATE.split())


def test_a_name_that_leads_inward_is_refused(server, tmp_path):
    rows = photos(server, ["ok/by-name.jpg"], host="localhost")
    strict = QUICK.model_copy(update={"allowed_networks": ()})
    frame = fetch_images(rows, tmp_path / "images", tmp_path / "ledger.jsonl", strict)
    assert frame["status"].tolist() == ["blocked_address"]
    assert server.asked["/ok/by-name.jpg"] == 0


def test_retry_after():
    now = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert parse_retry_after("120") == 120.0
    assert parse_retry_after("Wed, 01 May 2024 12:01:30 GMT", now) == 90.0
    assert parse_retry_after("Wed, 01 May 2024 11:00:00 GMT", now) == 0.0
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None
    assert parse_retry_after("-5") is None


def test_backoff_grows_and_is_jittered():
    chance = random.Random(0)
    for attempt, most in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (9, 60.0)]:
        pauses = [backoff_s(attempt, 0.5, 60.0, chance) for _ in range(4000)]
        assert 0.98 * most < max(pauses) <= most
        assert np.mean(pauses) == pytest.approx(most / 2, rel=0.05)


def test_a_verdict_stands_as_long_as_the_settings_that_it_depends_on(server, tmp_path):
    """Each was refused for good under one setting; under another it is asked for again, and no other is."""
    paths = ["ok/settings", "declared-gigabyte/settings", "404/settings"]
    first = fetch(server, tmp_path, paths, allowed_networks=("127.0.0.2/32",))
    assert first["status"].tolist() == ["blocked_address"] * 3
    assert first["permanent"].all()
    second = fetch(server, tmp_path, paths)
    assert second["status"].tolist() == ["ok", "too_many_bytes", "not_found"]
    again = fetch(server, tmp_path, paths, per_host=2, attempts=9)  # what the verdicts do not depend on
    assert again["status"].tolist() == second["status"].tolist()
    assert again["attempts"].tolist() == [0, 0, 0]
    larger = LIMITS.model_copy(update={"max_bytes": 400_000})
    rows = photos(server, paths)
    frame = fetch_images(rows, tmp_path / "images", tmp_path / "ledger.jsonl", QUICK, larger)
    assert frame["attempts"].tolist() == [0, 1, 0]
    # A ledger of before says nothing of settings: what depends on them is asked for once more.
    old = {"photo_id": "p0", "url": rows["image_url"][0], "outcome": "permanent", "reason": "blocked_address"}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "ledger.jsonl").write_text(json.dumps({**old, "detail": "", "http_status": 0, "attempts": 1}))
    assert fetch(server, tmp_path / "old", paths[:1])["status"].tolist() == ["ok"]
