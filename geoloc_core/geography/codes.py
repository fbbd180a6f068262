"""Codes of countries and sub-divisions: what ISO 3166 has, what it leaves to users, and what map makers use instead."""

from __future__ import annotations

import re

# The shape of an ISO 3166-2 code. AI-X06~, XX-X00 and the like are Natural Earth's own stopgaps.
ISO_3166_2 = re.compile(r"[A-Z]{2}-(?!X[0-9])[A-Z0-9]{1,3}")

# Natural Earth's adm0_a3 where ISO 3166-1 has another alpha-3.
NATURAL_EARTH_TO_ISO = {"ALD": "ALA", "PSX": "PSE", "SAH": "ESH", "SDS": "SSD"}

# Natural Earth's adm0_a3 where ISO has no code: (alpha-3, alpha-2) out of the ranges that ISO 3166-1 leaves to its
# users, XAA to XZZ and XA to XZ. XK and XKX for Kosovo are in wide use; XNC, XSP and XCL are GADM's too.
NATURAL_EARTH_TO_USER_ASSIGNED = {
    "KOS": ("XKX", "XK"),
    "ATC": ("XAC", "XC"),  # Ashmore and Cartier Islands
    "CLP": ("XCL", "XL"),  # Clipperton
    "CYN": ("XNC", "XN"),  # Northern Cyprus
    "ESB": ("XDH", "XD"),  # Dhekelia
    "WSB": ("XAK", "XA"),  # Akrotiri
    "IOA": ("XIO", "XO"),  # Christmas Island and Cocos Islands, one country there though ISO has two
    "KAB": ("XBK", "XB"),  # Baikonur
    "KAS": ("XSG", "XG"),  # Siachen Glacier
    "PGA": ("XSP", "XP"),  # Spratly Islands
    "SOL": ("XSL", "XS"),  # Somaliland
    "USG": ("XGM", "XM"),  # Guantanamo Bay
}

GADM_TO_REGION_ID = {"XKO": "XKX"}


def natural_earth_country_id(adm0_a3: str) -> str:
    """The region_id of a country by its code in Natural Earth; an unknown code stays what it is."""
    if adm0_a3 in NATURAL_EARTH_TO_USER_ASSIGNED:
        return NATURAL_EARTH_TO_USER_ASSIGNED[adm0_a3][0]
    return NATURAL_EARTH_TO_ISO.get(adm0_a3, adm0_a3)
