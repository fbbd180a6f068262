"""Make geoloc_sample/manifest.csv from the labels.csv of a folder of photos: the facts of those on Wikimedia Commons.

    python scripts/build_manifest.py FOLDER

The pictures themselves are not part of the project; geoloc_sample/README.md says why, and what the columns mean.
"""

import csv
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

MANIFEST = Path(__file__).resolve().parents[1] / "geoloc_sample" / "manifest.csv"
COLUMNS = (
    "file", "commons_file", "lat", "lon", "accuracy_km", "country_iso3", "place", "kind", "author", "licence",
    "licence_url", "source",
)  # fmt: skip


def commons_file(source: str) -> str | None:
    """The name of a file on Commons by the address of its page; "" where that has a number only, None off Commons."""
    address = urlsplit(source)
    if address.netloc != "commons.wikimedia.org":
        return None
    # Titles may hold a question mark, which pages write as it is and parsers take for the start of a query.
    title = unquote(source.partition("/wiki/")[2])
    if title.startswith("File:"):
        return title.removeprefix("File:")
    if parse_qs(address.query).get("curid"):
        return ""
    raise ValueError(f"{source} is no page of a file on Commons")


def manifest_rows(labels: Path) -> list[dict[str, str]]:
    """The rows of labels.csv that lie on Commons, with the columns of the manifest, by file name."""
    with labels.open(encoding="utf-8", newline="") as file:
        rows = [{**row, "commons_file": commons_file(row["source"])} for row in csv.DictReader(file)]
    kept = [{name: row[name] or "" for name in COLUMNS} for row in rows if row["commons_file"] is not None]
    return sorted(kept, key=lambda row: row["file"])


def main(folder: str) -> None:
    """Write the manifest."""
    rows = manifest_rows(Path(folder) / "labels.csv")
    with MANIFEST.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(f"{len(rows)} photos, {sum(not row['commons_file'] for row in rows)} without a file name: {MANIFEST}")


if __name__ == "__main__":
    main(*sys.argv[1:])
