"""Where on earth: boundary sets, the ways of dividing the earth, and the point that a region answers with."""

from pathlib import Path

# The boundary set that comes with the package; scripts/build_regions.py makes it.
EMBEDDED_FILE = Path(__file__).parent / "data" / "regions.parquet"
