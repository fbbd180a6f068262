"""How often each country is photographed: the imbalance of MP-16."""

from __future__ import annotations

from collections.abc import Collection

# Per cent of the photos of MP-16 (MediaEval Placing Task 2016). The first ten from the published 12,893-cell S2
# partition of its 4.66 M photos, the others from a sample of 100,000 of its coordinates looked up in Natural Earth
# (points outside every polygon left out). Namibia, 0.03 %, stays in: "NA" is a country, not a missing value.
MP16_SHARES: dict[str, float] = {
    "USA": 30.1, "GBR": 9.9, "ESP": 5.7, "FRA": 4.8, "ITA": 4.6, "DEU": 4.3, "CAN": 3.8, "JPN": 2.6, "AUS": 2.4,
    "NLD": 1.7, "BRA": 1.73, "TWN": 1.53, "CHN": 1.37, "IND": 1.23, "SWE": 1.09, "CHE": 1.09, "MEX": 0.99,
    "BEL": 0.81, "AUT": 0.80, "CHL": 0.76, "PRT": 0.75, "NOR": 0.74, "ARG": 0.70, "NZL": 0.63, "THA": 0.62,
    "RUS": 0.62, "FIN": 0.60, "IRL": 0.57, "GRC": 0.56, "POL": 0.55, "CZE": 0.52, "TUR": 0.42, "KOR": 0.41,
    "SGP": 0.41, "DNK": 0.40, "COL": 0.38, "ZAF": 0.38, "MYS": 0.37, "IDN": 0.37, "HKG": 0.35, "HUN": 0.34,
    "PHL": 0.32, "VNM": 0.31, "ISL": 0.29, "PER": 0.25, "ISR": 0.25, "MAR": 0.23, "ROU": 0.22, "EGY": 0.20,
    "KHM": 0.17, "CRI": 0.16, "HRV": 0.15, "EST": 0.14, "ECU": 0.14, "NPL": 0.13, "VEN": 0.13, "CUB": 0.13,
    "KEN": 0.13, "NAM": 0.03, "GTM": 0.12, "UKR": 0.12, "TZA": 0.10, "BGR": 0.10, "LVA": 0.10, "BOL": 0.10,
    "SVK": 0.10, "ARE": 0.10, "SVN": 0.09, "URY": 0.09, "LAO": 0.09, "LKA": 0.09, "JOR": 0.08, "SRB": 0.08,
    "NIC": 0.08, "IRN": 0.06, "DOM": 0.06, "MMR": 0.06, "TUN": 0.05, "ETH": 0.05, "LTU": 0.05, "GEO": 0.04,
    "PAK": 0.04, "LUX": 0.04, "BIH": 0.04, "UGA": 0.04, "CYP": 0.04, "BGD": 0.04, "MLT": 0.04, "MNG": 0.04,
    "BWA": 0.04,
}  # fmt: skip

# A country of the tail has a few photos in a sample of thousands, where MP-16 with millions has hundreds.
SMALLEST_SHARE = 0.15


def country_shares(known: Collection[str], count: int) -> dict[str, float]:
    """Share of photos of each of the first `count` countries of MP-16 that are among `known`; the shares add up to 1.

    Empty when none of them is known.
    """
    kept = {country: max(share, SMALLEST_SHARE) for country, share in MP16_SHARES.items() if country in known}
    kept = dict(list(kept.items())[:count])
    total = sum(kept.values())
    return {country: share / total for country, share in kept.items()}
