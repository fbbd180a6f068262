"""The Earth as a sphere: distances, unit vectors, and integrals over polygons drawn on it.

The radius is 6371.0 km, as in the IM2GPS line of work, so that figures are comparable; the mean radius of WGS 84
(6371.0088 km) changes a distance across an ocean by metres.

A mean or a centroid taken over degrees breaks at the antimeridian (Fiji's would lie in Africa) and near the poles;
taken over unit vectors in space and brought back to the surface it is right everywhere.
"""

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EARTH_RADIUS_KM = 6371.0

# Edges longer than this are cut before integration: eight Gauss-Legendre nodes are exact to rounding below it.
_LONGEST_EDGE_DEGREES = 2.0
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(8)


def haversine_km(lat1: ArrayLike, lon1: ArrayLike, lat2: ArrayLike, lon2: ArrayLike) -> Floats:
    """Great-circle distances in km between points given in degrees; the four arrays broadcast together.

    The haversine formula, 2 R asin sqrt(sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)) (Okkerman 2024, eq. 4). The argument of
    the root is clipped to [0, 1], which rounding leaves near the antipode. NaN in, NaN out.
    """
    phi1, lambda1, phi2, lambda2 = (np.radians(np.asarray(x, dtype=np.float64)) for x in (lat1, lon1, lat2, lon2))
    chord = np.sin((phi2 - phi1) / 2) ** 2 + np.cos(phi1) * np.cos(phi2) * np.sin((lambda2 - lambda1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0)))


def pairwise_haversine_km(lat_a: ArrayLike, lon_a: ArrayLike, lat_b: ArrayLike, lon_b: ArrayLike) -> Floats:
    """Distances in km from each of n points to each of m points, all in degrees: shape (n, m)."""
    lat_a, lon_a = np.asarray(lat_a, dtype=np.float64), np.asarray(lon_a, dtype=np.float64)
    return haversine_km(lat_a[:, None], lon_a[:, None], np.asarray(lat_b)[None, :], np.asarray(lon_b)[None, :])


def unit_vectors(latitude: ArrayLike, longitude: ArrayLike) -> Floats:
    """Points in degrees (n,) as unit vectors (n, 3): x to (0°, 0°), y to (0°, 90° E), z to the north pole."""
    phi, lam = np.radians(np.asarray(latitude, np.float64)), np.radians(np.asarray(longitude, np.float64))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def latitude_longitude(vectors: Floats) -> tuple[Floats, Floats]:
    """Directions (n, 3) of any length above zero as latitude (n,) and longitude (n,) in degrees, longitude in [-180, 180]."""
    x, y, z = np.moveaxis(np.asarray(vectors, np.float64), -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def ring_edges(geometries: NDArray[np.object_]) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Every edge of every ring: starts (m, 2), ends (m, 2) in degrees, and the index of the geometry (m,)."""
    parts, part_owner = shapely.get_parts(geometries, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    same_ring = ring[1:] == ring[:-1]
    owner = part_owner[ring_part[ring[:-1][same_ring]]]
    return coordinates[:-1][same_ring], coordinates[1:][same_ring], owner.astype(np.int32)


def polygon_moments(geometries: NDArray[np.object_]) -> tuple[Floats, Floats]:
    """The area of each polygon or multipolygon in steradians (n,), and its first moment ∫ n dA over the sphere (n, 3).

    The edges are what they are in the file: straight lines in longitude and latitude (a border along the 49th parallel
    follows the parallel, not the great circle). By Green's theorem ∫∫ f(φ, λ) cos φ dφ dλ = -∮ F(φ, λ) dλ around each
    ring taken anticlockwise, with F the primitive of f cos φ in φ: sin φ for the area; cos λ (φ + sin φ cos φ)/2,
    sin λ (φ + sin φ cos φ)/2 and sin²φ/2 for the three components of the normal. Holes count against, as their rings
    run the other way; parts on both sides of the antimeridian add up as vectors do.
    """
    start, end, region = ring_edges(shapely.orient_polygons(geometries))  # shells anticlockwise, holes clockwise
    pieces = np.maximum(np.ceil(np.abs(end - start).max(axis=1) / _LONGEST_EDGE_DEGREES), 1).astype(np.int64)
    edge = np.repeat(np.arange(len(pieces)), pieces)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.radians(start[edge] + (end - start)[edge] * (step / pieces[edge])[:, None])
    stride = np.radians((end - start)[edge] / pieces[edge][:, None])
    region = region[edge]

    area, moment = np.zeros(len(geometries)), np.zeros((len(geometries), 3))
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        lam, phi = (begin + stride * (node + 1) / 2).T
        share = -stride[:, 0] * weight / 2  # -dλ
        half = (phi + np.sin(phi) * np.cos(phi)) / 2
        area += np.bincount(region, share * np.sin(phi), len(geometries))
        for axis, primitive in enumerate((np.cos(lam) * half, np.sin(lam) * half, np.sin(phi) ** 2 / 2)):
            moment[:, axis] += np.bincount(region, share * primitive, len(geometries))
    return area, moment
