"""Blocks of samples: they cover all of them, have the sizes asked for, and keep the bits of a sample."""

import numpy as np
import pytest
import torch

from skdiffusion._utils.blocks import BLOCK_SAMPLES, padded_blocks, parts_of_processes, slices, write
from skdiffusion._utils.numerics import samples_times_matrix

counts = pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 64, 65, 200])


@counts
def test_slices_cover_the_samples_in_order(n):
    parts = list(slices(n, 16))
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    assert all(0 < part.stop - part.start <= 16 for part in parts)


@pytest.mark.parametrize("n_helpers", [1, 3, 7])
@pytest.mark.parametrize("n", [0, 255, 1000, 10_000, 123_457])
def test_parts_of_processes_are_small_in_the_middle(n, n_helpers):
    parts = list(parts_of_processes(n, n_helpers))
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    middle = min(range(len(sizes)), key=lambda k: sizes[k], default=0)
    assert all(0 < size <= BLOCK_SAMPLES for size in sizes)
    assert sizes[:middle] == sorted(sizes[:middle], reverse=True)
    assert sizes[middle:] == sorted(sizes[middle:])
    assert n < 2048 * (n_helpers + 1) or sizes[middle] <= 256 < sizes[0] == sizes[-1]


@counts
def test_padded_blocks_hold_the_samples_and_zeros(n, rng):
    samples, seen = rng.standard_normal((n, 3)), np.full((n, 3), np.nan)
    for where, block in padded_blocks(samples, (16, 64)):
        count = where.stop - where.start
        assert len(block) == (16 if count <= 16 else 64)
        assert not block[count:].any()
        seen[where] = block[:count]
    np.testing.assert_array_equal(seen, samples)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor], ids=["array", "tensor"])
def test_what_is_computed_from_a_block_is_written_without_its_padding(convert):
    out = np.zeros((4, 2))
    write(out, slice(1, 3), convert(np.arange(10.0).reshape(5, 2)))
    np.testing.assert_array_equal(out, [[0, 0], [0, 1], [2, 3], [0, 0]])


@pytest.mark.parametrize("d", [1, 3, 20])
def test_bits_of_a_product_do_not_depend_on_the_other_samples(d, rng):
    samples, matrix = rng.standard_normal((700, d)), rng.standard_normal((d, 5))
    whole = samples_times_matrix(samples, matrix)
    np.testing.assert_allclose(whole, samples @ matrix, rtol=1e-12, atol=1e-12)
    for part in (slice(0, 1), slice(3, 300), slice(None, None, -1)):
        np.testing.assert_array_equal(samples_times_matrix(samples[part], matrix), whole[part])
    assert samples_times_matrix(samples[:0], matrix).shape == (0, 5)
