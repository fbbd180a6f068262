"""Where photos are taken and by whom: countries with MP-16's imbalance, their photographed sub-divisions, authors.

An `Atlas` is what the boundaries and the seed decide once: which sub-divisions are photographed and at which spots.
Authors live at one of the spots; most of their photos are from home, some from elsewhere in their country, some from
abroad.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from geoloc_core.errors import InputError
from geoloc_core.photos.sample.randomness import digits, stream
from geoloc_core.photos.sample.shares import country_shares
from geoloc_core.photos.sample.spec import SampleSpec

if TYPE_CHECKING:
    from geoloc_core.geography.boundaries import BoundarySet

KM_PER_DEGREE = 111.2
SPOTS_PER_SUBDIVISION = 3
SPREAD_DEGREES = 0.12
HOME_SUBDIVISION_SHARE = 0.7
"""Share of an author's photos at home that are from the home sub-division."""


@dataclass(frozen=True, eq=False)
class Subdivision:
    """A photographed sub-division: its polygon, the spots where people take photos (n, 2) (latitude, longitude)."""

    region_id: str
    geometry: shapely.Geometry
    spots: np.ndarray


@dataclass(frozen=True, eq=False)
class Country:
    """A photographed country; `weights` (n,) says how often each of its `subdivisions` is photographed."""

    region_id: str
    continent: str
    latitude: float
    longitude: float
    share: float
    subdivisions: tuple[Subdivision, ...]
    weights: np.ndarray


@dataclass(frozen=True)
class Author:
    """Somebody who takes photos; `home` and `spot` are positions in the country's sub-divisions and in its spots."""

    author_id: str
    country: int
    home: int
    spot: int


@dataclass(frozen=True, eq=False)
class Atlas:
    """The photographed world; `land` finds the sub-divisions (of all countries) near a point."""

    countries: tuple[Country, ...]
    shares: np.ndarray
    land: shapely.STRtree


@dataclass(frozen=True)
class Place:
    """Where one photo was taken and by whom; `setting` is "land", "coast" (at sea, land in sight) or "ocean"."""

    latitude: float
    longitude: float
    country_id: str
    subdivision_id: str
    continent: str
    author_id: str
    setting: str


@dataclass(frozen=True, eq=False)
class AuthorPool:
    """The authors of one role, with the positions of those who live in each country and how often each is active."""

    authors: tuple[Author, ...]
    by_country: tuple[range, ...]
    activity: np.ndarray


def build_atlas(spec: SampleSpec, boundaries: BoundarySet) -> Atlas:
    """Choose the photographed countries, sub-divisions and spots.

    Raises `InputError` when the boundaries hold none of the countries that the sample photographs.
    """
    present = boundaries.countries.set_index("region_id")
    shares = country_shares(set(present.index), spec.countries)
    if not shares:
        raise InputError(
            f"the boundary set {boundaries.name!r} holds no country that the sample photographs; "
            "use the embedded boundaries or a set whose country ids are ISO 3166-1 alpha-3"
        )
    units = {name: group for name, group in boundaries.subdivisions.groupby("parent_id") if name in shares}
    countries = []
    for region_id, share in shares.items():
        # A set may have countries alone: then the country is its own and only unit.
        chosen, weights = _photographed(
            spec, region_id, units.get(region_id, present.loc[[region_id]].reset_index()), share
        )
        anchor = chosen[0].spots[0]
        countries.append(
            Country(
                region_id=region_id,
                continent=str(present.loc[region_id, "continent"]),
                latitude=float(anchor[0]),
                longitude=float(anchor[1]),
                share=share,
                subdivisions=chosen,
                weights=weights,
            )
        )
    # Many small polygons are searched faster than few large ones.
    whole = present[~present.index.isin(boundaries.subdivisions["parent_id"])]
    geometries = np.concatenate([boundaries.subdivisions["geometry"].to_numpy(), whole["geometry"].to_numpy()])
    land = shapely.STRtree(geometries)
    return Atlas(tuple(countries), np.array([country.share for country in countries]), land)


def subdivisions_photographed(share: float) -> int:
    """How many sub-divisions of a country with this share of the photos are photographed: 3 in the tail, 17 of the US.

    >>> subdivisions_photographed(0.0015), subdivisions_photographed(0.10), subdivisions_photographed(0.30)
    (3, 11, 17)
    """
    return 2 + round(28 * share**0.5)


def _photographed(
    spec: SampleSpec, country_id: str, units: pd.DataFrame, share: float
) -> tuple[tuple[Subdivision, ...], np.ndarray]:
    """The units of one country that people photograph, most photographed first, and their weights."""
    frame = units.sort_values("region_id")
    geometries = frame["geometry"].to_numpy()
    names = frame["region_id"].tolist()
    rng = stream(spec.seed, "subdivisions", country_id)
    # Larger units are likelier, but a small one with a famous city may come first.
    latitude = np.radians(shapely.get_y(shapely.centroid(geometries)))
    size = np.sqrt(shapely.area(geometries) * np.cos(latitude.clip(-1.4, 1.4)))
    order = np.argsort(-(np.log(size + 1e-6) + rng.gumbel(size=len(size))), kind="stable")
    chosen = order[: subdivisions_photographed(share)]
    weights = 1.0 / (np.arange(len(chosen)) + 1.5)
    found = tuple(
        Subdivision(names[i], geometries[i], _spots(geometries[i], stream(spec.seed, "spots", names[i])))
        for i in chosen
    )
    return found, weights / weights.sum()


def _spots(geometry: shapely.Geometry, rng: np.random.Generator) -> np.ndarray:
    """Points (n, 2) (latitude, longitude) inside the largest part of a polygon."""
    parts = shapely.get_parts(geometry)
    largest = parts[int(np.argmax(shapely.area(parts)))]
    shapely.prepare(largest)
    west, south, east, north = shapely.bounds(largest)
    longitude = rng.uniform(west, east, 64)
    latitude = rng.uniform(south, north, 64)
    inside = np.flatnonzero(shapely.contains_xy(largest, longitude, latitude))[:SPOTS_PER_SUBDIVISION]
    if len(inside) == 0:
        point = shapely.point_on_surface(largest)
        return np.array([[shapely.get_y(point), shapely.get_x(point)]])
    return np.column_stack([latitude[inside], longitude[inside]])


def author_pool(spec: SampleSpec, atlas: Atlas, pool: str) -> AuthorPool:
    """The authors of one role. Every country has at least two; ids of different pools differ."""
    authors: list[Author] = []
    by_country = []
    activity = []
    for position, country in enumerate(atlas.countries):
        rng = stream(spec.seed, "authors", pool, country.region_id)
        count = max(2, round(spec.authors * country.share))
        by_country.append(range(len(authors), len(authors) + count))
        for number in range(count):
            home = int(rng.choice(len(country.weights), p=country.weights))
            authors.append(
                Author(
                    author_id=_author_id(spec.seed, pool, country.region_id, number),
                    country=position,
                    home=home,
                    spot=int(rng.integers(len(country.subdivisions[home].spots))),
                )
            )
        # A few are busy, most are not.
        activity.append(rng.lognormal(0.0, 0.8, count))
    return AuthorPool(tuple(authors), tuple(by_country), np.concatenate(activity))


def _author_id(seed: int, pool: str, country_id: str, number: int) -> str:
    """An id of Flickr's shape, such as `41203875@N03`; its digits tell nothing about home."""
    drawn = digits(9, seed, "author", pool, country_id, number)
    return f"{drawn[:8]}@N0{drawn[8]}"


def draw_place(spec: SampleSpec, atlas: Atlas, pool: AuthorPool, rng: np.random.Generator) -> Place:
    """Where the next photo is taken, and by whom."""
    at_sea = rng.random()
    country_position = int(rng.choice(len(atlas.countries), p=atlas.shares))
    country = atlas.countries[country_position]
    local = rng.random() < spec.local_share or len(atlas.countries) == 1
    lives_in = country_position if local else int(rng.choice(len(atlas.countries), p=atlas.shares))
    author = _draw_author(pool, lives_in, rng)
    if at_sea < spec.sea_share / 2:
        return _at_sea(atlas, author, rng)
    if at_sea < spec.sea_share:
        return _off_coast(atlas, country, author, rng) or _at_sea(atlas, author, rng)
    if lives_in == country_position and rng.random() < HOME_SUBDIVISION_SHARE:
        subdivision = country.subdivisions[author.home]
        spot = subdivision.spots[author.spot]
    else:
        subdivision = country.subdivisions[int(rng.choice(len(country.weights), p=country.weights))]
        spot = subdivision.spots[int(rng.integers(len(subdivision.spots)))]
    latitude, longitude = _around(spot, subdivision.geometry, rng)
    return Place(
        latitude, longitude, country.region_id, subdivision.region_id, country.continent, author.author_id, "land"
    )


def _draw_author(pool: AuthorPool, country: int, rng: np.random.Generator) -> Author:
    members = pool.by_country[country]
    cumulated = np.cumsum(pool.activity[members.start : members.stop])
    return pool.authors[members.start + int(np.searchsorted(cumulated, rng.random() * cumulated[-1]))]


def _around(spot: np.ndarray, geometry: shapely.Geometry, rng: np.random.Generator) -> tuple[float, float]:
    """A point of the polygon near a spot, rounded to the 6 decimals of the metadata."""
    offsets = rng.normal(0.0, SPREAD_DEGREES, (16, 2))
    points = np.round(spot + offsets, 6)
    shapely.prepare(geometry)
    inside = np.flatnonzero(shapely.contains_xy(geometry, points[:, 1], points[:, 0]))
    latitude, longitude = points[inside[0]] if len(inside) else np.round(spot, 6)
    return float(latitude), float(longitude)


def _off_coast(atlas: Atlas, country: Country, author: Author, rng: np.random.Generator) -> Place | None:
    """A place 2 to 15 km off a coast of the country, or None when no coast was found."""
    for _ in range(24):
        subdivision = country.subdivisions[int(rng.choice(len(country.weights), p=country.weights))]
        corners = shapely.get_coordinates(subdivision.geometry)
        longitude, latitude = corners[int(rng.integers(len(corners)))]
        bearing, distance = rng.uniform(0.0, 2 * np.pi), rng.uniform(2.0, 15.0) / KM_PER_DEGREE
        latitude = round(float(latitude + distance * np.cos(bearing)), 6)
        longitude = round(float(longitude + distance * np.sin(bearing) / max(0.2, np.cos(np.radians(latitude)))), 6)
        inside = -180.0 <= longitude <= 180.0 and -90.0 <= latitude <= 90.0
        if inside and len(atlas.land.query(shapely.Point(longitude, latitude), predicate="intersects")) == 0:
            return Place(
                latitude,
                longitude,
                country.region_id,
                subdivision.region_id,
                country.continent,
                author.author_id,
                "coast",
            )
    return None


def _at_sea(atlas: Atlas, author: Author, rng: np.random.Generator) -> Place:
    """A place in the open sea, more than 1.5 degrees from all land."""
    while True:
        latitude = round(float(np.degrees(np.arcsin(rng.uniform(-0.85, 0.9)))), 6)
        longitude = round(float(rng.uniform(-179.9, 179.9)), 6)
        near = atlas.land.query(shapely.Point(longitude, latitude), predicate="dwithin", distance=1.5)
        if len(near) == 0:
            return Place(latitude, longitude, "", "", "", author.author_id, "ocean")
