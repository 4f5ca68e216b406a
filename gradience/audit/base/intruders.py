"""Intruder dimensions: leading directions of the changed weight that the weight before did not have; pure.

Of the TOP leading left singular vectors of W + ΔW those are intruders whose cosine with every left singular vector of
W is below COSINE (Shuttleworth et al., arXiv 2410.21228; both numbers are those of PEFT's reduce_intruder_dimension).
All of W's are needed, so that this costs two eigendecompositions of its smaller side.
"""

from typing import Final

import numpy as np

from gradience.audit.spectra.spectrum import Array

TOP: Final = 10
COSINE: Final = 0.5
_RANK: Final = 1e-7  # of the largest singular value: below it, vectors from a Gram matrix are nothing but rounding


def count(weight: Array, update: Array) -> int:
    """How many intruders the update brings to a weight; both are (out, in)."""
    before, after = _left(weight), _left(weight + update)[:, :TOP]
    return int((np.abs(before.T @ after).max(axis=0) < COSINE).sum())


def _left(matrix: Array) -> Array:
    """The left singular vectors (out, k) by descending singular value, those that rounding leaves."""
    if len(matrix) <= matrix.shape[1]:
        values, vectors = np.linalg.eigh(matrix @ matrix.T)
        return np.asarray(vectors[:, ::-1][:, _whole(values)])
    values, right = np.linalg.eigh(matrix.T @ matrix)
    images = matrix @ right[:, ::-1][:, _whole(values)]
    return np.asarray(images / np.linalg.norm(images, axis=0))


def _whole(values: Array) -> slice:
    """How many of ascending squares count, from the last on."""
    return slice(0, int((values > _RANK**2 * values[-1]).sum()))
