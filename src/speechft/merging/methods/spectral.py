"""Methods on the singular values of matrices (out, in); other tensors get the mean task vector.

They run with one BLAS thread (see `engine`), since the last bits of a decomposition depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechft.merging.methods.base import Tuned, add_all, average, merge_method, move, task_vectors
from speechft.merging.methods.parameters import Share
from speechft.merging.tensorfile import Array


@merge_method(
    "iso_c",
    title="Iso-C, isotropic merging in the common subspace",
    paper="Marczak et al. 2025 (arXiv 2502.04959)",
    formula="θ̂ = θ0 + alpha · mean(σ) · U Vᵀ, with U diag(σ) Vᵀ = Σ_i (θ'_i − θ0)",
    single_blas=True,
)
def iso_c(base: Array, tuned: Tuned, *, alpha: float = 1.0) -> Array:
    """Give all singular values of the summed task vectors their mean."""
    vectors = task_vectors(base, tuned)
    if not _is_matrix(base):
        return _plain(base, vectors, alpha)
    left, values, right = _svd(add_all(vectors))
    return move(base, left @ right, alpha * float(values.mean()))


@merge_method(
    "iso_cts",
    title="Iso-CTS, isotropic merging in common and task-specific subspaces",
    paper="Marczak et al. 2025 (arXiv 2502.04959)",
    formula="θ̂ = θ0 + alpha · mean(σ) · U Vᵀ, U and V the common directions of Σ_i (θ'_i − θ0) and "
    "the strongest rest of each task vector, made orthogonal",
    single_blas=True,
    revision=2,
)
def iso_cts(
    base: Array, tuned: Tuned, *, alpha: float = 1.0, common_fraction: Share = 0.8
) -> Array:
    """Share the singular directions between what the tasks have in common and what each adds.

    Args:
        common_fraction: part of the directions that is common; the rest is split between the tasks,
            to the nearest whole number for each, as fusion_bench does.
    """
    vectors = task_vectors(base, tuned)
    if not _is_matrix(base):
        return _plain(base, vectors, alpha)
    left, values, right = _svd(add_all(vectors))
    rank, count = len(values), len(vectors)
    each = min(round((rank - int(rank * common_fraction)) / count), rank // count)
    common = rank - each * count
    lefts, sizes, rights = [left[:, :common]], [values[:common]], [right[:common]]
    for vector in vectors:
        rest = vector - lefts[0] @ (lefts[0].T @ vector)
        u, s, v = _svd(rest)
        lefts.append(u[:, :each])
        sizes.append(s[:each])
        rights.append(v[:each])
    mean = float(np.concatenate(sizes).mean())
    merged = _orthogonal(np.hstack(lefts)) @ _orthogonal(np.vstack(rights))
    return move(base, merged, alpha * mean)


@merge_method(
    "tsv_m",
    title="TSV-Merge, task singular vectors",
    paper="Gargiulo et al. 2025 (arXiv 2412.00081)",
    formula="θ̂ = θ0 + alpha · U diag(σ) Vᵀ, the strongest rank/N directions of each θ'_i − θ0, "
    "made orthogonal",
    single_blas=True,
)
def tsv_m(base: Array, tuned: Tuned, *, alpha: float = 1.0) -> Array:
    """Cut each task vector to its strongest directions and take their interference away."""
    vectors = task_vectors(base, tuned)
    if not _is_matrix(base):
        return _plain(base, vectors, alpha)
    each = max(1, min(base.shape) // len(vectors))
    parts = [_svd(vector) for vector in vectors]
    left = _orthogonal(np.hstack([u[:, :each] for u, _, _ in parts]))
    right = _orthogonal(np.vstack([v[:each] for _, _, v in parts]))
    values = np.concatenate([s[:each] for _, s, _ in parts])
    return move(base, (left * values) @ right, alpha)


def _is_matrix(base: Array) -> bool:
    return base.ndim == 2 and min(base.shape) > 1


def _plain(base: Array, vectors: Sequence[Array], alpha: float) -> Array:
    return move(base, average(vectors), alpha)


def _svd(matrix: Array) -> tuple[Array, Array, Array]:
    if not np.isfinite(matrix).all():  # LAPACK may never return
        raise np.linalg.LinAlgError("the task vectors overflow")
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _orthogonal(matrix: Array) -> Array:
    """Give the nearest matrix with orthonormal columns (or rows): the polar factor."""
    left, _, right = _svd(matrix)
    result: Array = left @ right
    return result
