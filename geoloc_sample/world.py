"""Where the sample's photos are taken and by whom: MP-16's imbalance of countries, real boundaries, authors with homes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import shapely

from geoloc_core.errors import InputError
from geoloc_core.geography.boundaries import BoundarySet

# Per cent of the photos of MP-16 (MediaEval Placing Task 2016). The first ten from the published 12,893-cell S2
# partition of its 4.66 M photos, the others from a sample of 100,000 of its coordinates looked up in Natural Earth
# (points outside every polygon left out).
HEAD = """
    USA=30.1 GBR=9.9 ESP=5.7 FRA=4.8 ITA=4.6 DEU=4.3 CAN=3.8 JPN=2.6 AUS=2.4 NLD=1.7 BRA=1.73 TWN=1.53 CHN=1.37 IND=1.23
    SWE=1.09 CHE=1.09 MEX=0.99 BEL=0.81 AUT=0.8 CHL=0.76 PRT=0.75 NOR=0.74 ARG=0.7 NZL=0.63 THA=0.62 RUS=0.62 FIN=0.6
    IRL=0.57 GRC=0.56 POL=0.55 CZE=0.52 TUR=0.42 KOR=0.41 SGP=0.41 DNK=0.4 COL=0.38 ZAF=0.38 MYS=0.37 IDN=0.37 HKG=0.35
    HUN=0.34 PHL=0.32 VNM=0.31 ISL=0.29 PER=0.25 ISR=0.25 MAR=0.23 ROU=0.22 EGY=0.2 KHM=0.17 CRI=0.16 HRV=0.15
"""
# These have 0.03 (Namibia) to 0.14: hundreds of photos in MP-16, hardly one in a sample of thousands; so more here.
TAIL = "EST ECU NPL VEN CUB KEN NAM GTM UKR TZA BGR LVA BOL SVK ARE SVN URY LAO LKA JOR SRB NIC IRN DOM MMR TUN ETH LTU"
MP16_SHARES = {pair[:3]: float(pair[4:]) for pair in HEAD.split()} | dict.fromkeys(TAIL.split(), 0.15)
# Shares of the photos: taken by somebody who lives in that country; of these, in the author's home cell; at sea, half of them
# within sight of a coast.
LOCAL_SHARE, HOME_SHARE, SEA_SHARE = 0.8, 0.7, 0.02
# People take photos at so many spots of a cell, with this deviation around each in degrees.
SPOTS, SPREAD = 3, 0.12


def stream(*name: str | int) -> np.random.Generator:
    """The random generator that belongs to a name, such as (seed, "sample-00", 17).

    Seeded with a hash of the name: a shard, an author or a photo is the same whichever is drawn first, in any process.
    """
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(repr(name).encode()).digest()[:16])))


class Cell(NamedTuple):
    """A photographed cell of the finest level; `spots` (n, 2) are (longitude, latitude)."""

    country_id: str
    cell_id: str
    geometry: shapely.Geometry
    spots: np.ndarray


class Place(NamedTuple):
    """Where a photo was taken and by whom.

    `cells` are the ids of its cells, coarsest first (those of the coast in sight, none on the open sea); `setting` is
    "land", "coast" (at sea, land in sight) or "ocean".
    """

    latitude: float
    longitude: float
    cells: tuple[str, ...]
    author_id: str
    setting: str


class World:
    """What is photographed: cells, their weights (n,), which add up to 1, and a tree of all land."""

    def __init__(self, seed: int, boundaries: BoundarySet) -> None:
        """Choose cells and spots; `InputError` where the set has none of the countries of `MP16_SHARES`."""
        ids = boundaries.countries["region_id"]
        shares = {name: share for name, share in MP16_SHARES.items() if name in set(ids)}
        if not shares:
            raise InputError(f"the boundary set {boundaries.name!r} has no country of the sample; use the embedded set")
        # A country without sub-divisions is its own and only cell.
        whole = boundaries.countries[~ids.isin(boundaries.subdivisions["parent_id"])]
        regions = pd.concat([boundaries.subdivisions, whole.assign(parent_id=whole["region_id"])])
        groups = dict(list(regions.groupby("parent_id")))
        self.seed, self.shares = seed, {name: share / sum(shares.values()) for name, share in shares.items()}
        self.land = shapely.STRtree(regions["geometry"].to_numpy())
        self.cells: list[Cell] = []
        self.weights = np.empty(0)
        for name, share in self.shares.items():
            rng, geometries = stream(seed, "cells", name), groups[name]["geometry"].to_numpy()
            # 3 to 17 cells of a country; larger ones are likelier, but a small one with a famous city may come first.
            score = 0.5 * np.log(shapely.area(geometries) + 1e-6) + rng.gumbel(size=len(geometries))
            for position in np.argsort(-score, kind="stable")[: 2 + round(28 * share**0.5)]:
                cell_id = groups[name]["region_id"].iloc[position]
                self.cells.append(Cell(name, cell_id, geometries[position], _spots(geometries[position], rng)))
            weights = 1.0 / (np.arange(len(self.cells) - len(self.weights)) + 1.5)
            self.weights = np.append(self.weights, share * weights / weights.sum())

    def authors(self, role: str, count: int) -> dict[str, list[tuple[str, int]]]:
        """About `count` authors (id of Flickr's shape, position of the home cell) by country, at least two in each."""
        authors = {}
        for name, share in self.shares.items():
            rng, local = stream(self.seed, "authors", role, name), [cell.country_id == name for cell in self.cells]
            number = max(2, round(count * share))
            homes = rng.choice(len(self.cells), number, p=self.weights * local / (self.weights * local).sum())
            ids = [f"{digits[:8]}@N0{digits[8]}" for digits in map(str, rng.integers(10**8, 10**9, number))]
            authors[name] = list(zip(ids, homes.tolist(), strict=True))
        return authors

    def place(self, authors: dict[str, list[tuple[str, int]]], rng: np.random.Generator) -> Place:
        """Where the next photo is taken, and by which of the authors."""
        at_sea = rng.random()
        here, elsewhere = (self.cells[i] for i in rng.choice(len(self.cells), 2, p=self.weights))
        local = bool(rng.random() < LOCAL_SHARE)
        residents = authors[(here if local else elsewhere).country_id]
        # A few are busy, most are not.
        author_id, home = residents[int(len(residents) * rng.random() ** 2)]
        if at_sea < SEA_SHARE:
            return self._at_sea(author_id, at_sea < SEA_SHARE / 2, rng)
        cell = self.cells[home] if local and rng.random() < HOME_SHARE else here
        spot = rng.choice(cell.spots)
        # The spot itself comes last; it lies inside.
        points = np.round(np.vstack([spot + rng.normal(0.0, SPREAD, (16, 2)), spot]), 6)
        shapely.prepare(cell.geometry)
        longitude, latitude = points[int(np.argmax(shapely.contains_xy(cell.geometry, points)))].tolist()
        return Place(latitude, longitude, (cell.country_id, cell.cell_id), author_id, "land")

    def _at_sea(self, author_id: str, near_coast: bool, rng: np.random.Generator) -> Place:
        """A place within 0.15 degree (17 km) of a coast, or more than 1.5 degrees from all land."""
        while True:
            longitude, latitude = np.round((rng.uniform(-179.9, 179.9), rng.uniform(-60, 65)), 6).tolist()
            if near_coast:
                cell = self.cells[int(rng.choice(len(self.cells), p=self.weights))]
                corner = rng.choice(shapely.get_coordinates(cell.geometry))
                longitude, latitude = np.round(corner + rng.uniform(-0.1, 0.1, 2), 6).tolist()
            distance = 0.0 if near_coast else 1.5
            if len(self.land.query(shapely.Point(longitude, latitude), predicate="dwithin", distance=distance)) == 0:
                cells = (cell.country_id, cell.cell_id) if near_coast else ()
                return Place(latitude, longitude, cells, author_id, "coast" if near_coast else "ocean")


def _spots(geometry: shapely.Geometry, rng: np.random.Generator) -> np.ndarray:
    """Points (n, 2) within a polygon, at most `SPOTS`."""
    bounds = shapely.bounds(geometry)
    points = rng.uniform(bounds[:2], bounds[2:], (64, 2))
    inside = points[shapely.contains_xy(geometry, points)][:SPOTS]
    return inside if len(inside) else shapely.get_coordinates(shapely.point_on_surface(geometry))
