"""Why a row or a picture was turned away: stable codes, each with the sentence a person reads.

Codes are data: they stand in Parquet files, tables and reports, so they are never renamed, only added.
"""

from __future__ import annotations

# Why a row of metadata is not a usable photo.
ROW_REASONS = {
    "empty_line": "the line is empty",
    "line_too_long": "the line is longer than any line of this format can be",
    "undecodable_text": "the line, or the file's name, is not valid UTF-8",
    "truncated_line": "the line has fewer fields than the layout",
    "extra_fields": "the line has more fields than the layout",
    "not_a_photo": "the row or file is not a photo (a video, or another kind of file)",
    "no_photo_id": "the row names no photo",
    "unsafe_path": "the image path is absolute or leads out of its folder",
    "no_coordinates": "the photo has no coordinates",
    "bad_coordinates": "the coordinates are not numbers",
    "no_hemisphere": "the EXIF position does not say north or south, or east or west",
    "bad_gps": "the EXIF position contradicts itself or is not made of numbers",
    "out_of_range": "the latitude is beyond 90 degrees or the longitude beyond 180",
    "null_island": "the coordinates are exactly (0, 0), which software writes for 'unknown'",
    "duplicate_id": "an earlier row has the same photo id",
    "licence": "the photo's licence is not among those that the profile accepts",
    "other_rows": "the row belongs to another dataset of the same file",
    "held_out": "the row is held out for a benchmark",
    "not_held_out": "the row is not held out: it belongs to the dataset to learn from",
}

# Why there is no usable picture. `ImageManifest.status` is one of these, or "ok".
IMAGE_REASONS = {
    "no_image": "the row names no image file",
    "unsafe_path": "the image path is absolute or leads out of its folder",
    "missing_file": "there is no such file",
    "unreadable_file": "the file cannot be read",
    "empty_file": "the file is empty",
    "too_many_bytes": "the file is larger than the limit",
    "too_many_pixels": "the picture has more pixels than the limit",
    "not_an_image": "the content is not JPEG, PNG, WebP, GIF, TIFF or BMP",
    "truncated_image": "the picture ends before its last pixel",
    "undecodable_image": "the picture is damaged and cannot be decoded",
    "unsupported_pixels": "the picture's pixel type is not a photo's (floating point, 32-bit integers, Lab)",
    "permission_denied": "the server refused the picture",
    "not_found": "the server has no such picture",
    "gone": "the server says that the picture was removed",
    "placeholder": "the server sent its picture for 'no longer available'",
    "blocked_address": "the address is private, local or otherwise not on the public internet",
    "bad_url": "the address is not a usable http(s) address",
    "too_many_redirects": "the server redirected too often",
    "client_error": "the server refused the request for good",
    "rate_limited": "the server asked to come back later, and still did at the last attempt",
    "server_error": "the server failed at every attempt",
    "network_error": "the connection failed at every attempt",
    "timeout": "the server took too long at every attempt",
    "incomplete_body": "the connection ended before the whole picture had come, at every attempt",
}
