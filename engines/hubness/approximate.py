"""Approximate nearest neighbours by a graph (HNSW), and which points it loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from engines.arguments import Between, Characters, OneOf, checked
from engines.hubness.data import LAWS, SETS, load_set
from engines.hubness.experiments import refuse_slow
from engines.hubness.nearest import check_points, neighbour_blocks

GROUPS = ("antihubs", "few", "many", "hubs")
BEAMS = (4, 8, 16, 32, 64)
SHOWN = 12  # lost points that are shown
CONSTRUCTION = 40  # beam while the graph is built, the library's default


@dataclass(frozen=True)
class Approximation:
    """What a graph of neighbours finds, by how often its points are neighbours.

    data: str; the set
    n: int; number of points
    dimension: int; coordinates of a point
    k: int; neighbours of a point
    links: int; links that a point keeps, twice as many on the ground layer
    beam: int; candidates that a search keeps
    counts: int32 [n]; exact N_k of each point
    found: bool [n]; whether a search for the point itself returns it, among k + 1
    incoming: int32 [n]; links of the ground layer that lead to it
    groups: GROUPS: N = 0, 0 < N < k, k <= N < 2k, N >= 2k
    sizes: int32 [groups]; points in each
    beams: int32 [b]; the beams of the curves, `beam` among them
    found_share: float64 [b, groups]; share of the points that a search for themselves finds, nan where a group is empty
    neighbour_share: float64 [b, groups]; of all neighbour slots held by the group the share that is found, nan where it holds none
    recall: float64 [b]; share of all neighbour slots that is found
    lost: int32 [m]; points that are not found, the least N first, at most 12
    lost_pictures: uint8 [m, h, w] or [m, h, w, 3], or [0]
    lost_texts: tuple of m texts, or ()
    """

    data: str
    n: int
    dimension: int
    k: int
    links: int
    beam: int
    counts: np.ndarray
    found: np.ndarray
    incoming: np.ndarray
    groups: tuple[str, ...]
    sizes: np.ndarray
    beams: np.ndarray
    found_share: np.ndarray
    neighbour_share: np.ndarray
    recall: np.ndarray
    lost: np.ndarray
    lost_pictures: np.ndarray
    lost_texts: tuple[str, ...]


@checked
def approximate(
    data: Annotated[str, OneOf(SETS)] = "emoji",
    links: Annotated[int, Between(2, 32)] = 4,
    beam: Annotated[int, Between(1, 256)] = 16,
    points: Annotated[int, Between(20, 5000)] = 2000,
    k: Annotated[int, Between(1, 49)] = 10,
    dimension: Annotated[int, Between(1, 1000)] = 100,
    intrinsic: Annotated[int, Between(0, 1000)] = 0,
    path: str | None = None,
    array: Annotated[str, Characters(200)] = "",
    seed: Annotated[int, Between(0, 999)] = 0,
) -> Approximation:
    """Search a hierarchical navigable small world graph (faiss) for every point of a set and its neighbours.

    Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small World
    graphs" (2016): links is their M, beam ef. A search follows links to points nearer by: a point to which few links lead is
    hard to reach. The graph is built with a beam of 40.

    data, points, dimension, intrinsic, path, array: as in `survey`
    """
    if data in LAWS:
        refuse_slow("euclidean", points, dimension)
    found = load_set(data, points, dimension, intrinsic, seed, path, array)
    cloud = check_points(torch.from_numpy(found.points), k)
    refuse_slow("euclidean", *cloud.shape)
    exact = torch.cat([block.cpu() for _, block in neighbour_blocks(cloud, k)]).numpy()
    n, d = cloud.shape
    counts = np.bincount(exact.ravel(), minlength=n)
    group = np.select([counts == 0, counts < k, counts < 2 * k], [0, 1, 2], 3)
    beams = sorted({*BEAMS, beam})
    returned, incoming = search_graph(np.ascontiguousarray(cloud, np.float32), k + 1, links, beams)

    itself = (returned == np.arange(n)[:, None]).any(-1)
    hits = np.stack([(exact[:, :, None] == some[:, None, :]).any(-1) for some in returned])

    def share(which: np.ndarray, of: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Mean of which [b, ...] over each group, nan where a group has no member."""
        total = np.bincount(of.ravel(), minlength=len(GROUPS)).astype(float)
        met = np.stack([np.bincount(of.ravel(), row.ravel(), minlength=len(GROUPS)) for row in which])
        return np.divide(met, total, out=np.full(met.shape, np.nan), where=total > 0)

    at = beams.index(beam)
    lost = np.flatnonzero(~itself[at])
    lost = lost[np.argsort(counts[lost], kind="stable")][:SHOWN]
    return Approximation(
        data=data,
        n=n,
        dimension=d,
        k=k,
        links=links,
        beam=beam,
        counts=counts.astype(np.int32),
        found=itself[at],
        incoming=incoming.astype(np.int32),
        groups=GROUPS,
        sizes=np.bincount(group, minlength=len(GROUPS)).astype(np.int32),
        beams=np.array(beams, np.int32),
        found_share=share(itself, group, counts),
        neighbour_share=share(hits, group[exact], counts),
        recall=hits.mean((1, 2)),
        lost=lost.astype(np.int32),
        lost_pictures=np.zeros(0, np.uint8) if found.pictures is None else found.pictures[lost],
        lost_texts=tuple(found.texts[i] for i in lost) if found.texts else (),
    )


def search_graph(points: np.ndarray, most: int, links: int, beams: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The `most` nearest that a graph over float32 points [n, d] finds for each of them with each beam, int64 [b, n, most] (-1
    where it finds fewer), and the links of the ground layer that lead to each point, int64 [n]."""
    import faiss  # a tenth of a second to load

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # in turn, the same points give the same graph
    try:
        index = faiss.IndexHNSWFlat(points.shape[1], links)
        index.hnsw.efConstruction = CONSTRUCTION
        index.add(points)
        returned = []
        for beam in beams:
            index.hnsw.efSearch = beam
            returned.append(index.search(points, most)[1])
    finally:
        faiss.omp_set_num_threads(threads)
    graph = index.hnsw
    slots = faiss.vector_to_array(graph.neighbors)
    starts = faiss.vector_to_array(graph.offsets)[:-1].astype(np.int64)
    ends = slots[starts[:, None] + np.arange(graph.nb_neighbors(0))]
    return np.stack(returned), np.bincount(ends[ends >= 0], minlength=len(points))
