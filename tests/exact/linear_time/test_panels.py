"""The parts of the linear-time sums, one by one: how the line is cut, moments, nodes, polynomials, who meets whom."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pbde_ref.exact.linear_time import panel_grid, panels
from pbde_ref.exact.linear_time.panel_grid import GRIDS, REACH, ROUGH_GRIDS, Points, buffers, chunks, lay_grid

KERNELS = {name: getattr(panels, name) for name in ("sigmoid", "curvature", "entropy")}


def spread_over(width, size, low=0.0):
    """`size` scores, the least at `low`, the largest `width` above."""
    scores = np.full(size, low)
    scores[-1] = low + width
    return scores


def plain_grid(panels_wanted=70, size=40_000):
    """A range of panels: scores over two panels less, because one is added to each side."""
    scores = np.random.default_rng(0).uniform(0.0, panels_wanted - 2.5, size)
    scores[:2] = 0.0, panels_wanted - 2.5
    grid = lay_grid(scores)
    assert grid.keys is None
    assert grid.positions.size == panels_wanted
    return grid, scores


def sparse_grid():
    """Occupied panels only, a few of them next to each other, others far apart."""
    scores = np.array([0.0, 0.03, 0.97, 1.2, 40.5, 41.5, 300.25, -1e6, -1e6 + 0.4, 7.0])
    grid = lay_grid(scores)
    assert grid.keys is not None
    return grid, scores


def keys_of(grid, index):
    return grid.keys[index] if grid.keys is not None else grid.origin + index


# --- How the line is cut ---


@pytest.mark.parametrize(
    ("width", "size", "plain"),
    [
        # One panel more to each side: [0, 61.5] takes -1 to 62, 64 panels.
        (61.5, 10, True), (62.0, 10, False), (62.0, 519, False), (62.0, 520, True), (62.5, 519, False),
        (997.0, 8000, True), (998.0, 8000, False), (16381.0, 150_000, True), (16382.0, 150_000, False),
    ],
)  # fmt: skip
def test_a_plain_range_has_64_panels_or_one_for_every_eight_points_but_16384_at_most(width, size, plain):
    assert (lay_grid(spread_over(width, size)).keys is None) == plain


@pytest.mark.parametrize(
    ("width", "size", "grid"),
    [
        # Four points for each fine panel: 4 panels of 512 need 8,192 points.
        (1.0, 8192, (9, 4)), (1.0, 8191, (6, 5)), (1.0, 1024, (6, 5)), (1.0, 1023, (5, 6)), (1.0, 512, (5, 6)),
        (1.0, 511, (4, 7)), (1.0, 2, (4, 7)),
        # At most 24,000 fine panels: 46 of 512, 375 of 64, 750 of 32.
        (43.0, 200_000, (9, 4)), (44.0, 200_000, (6, 5)), (372.0, 200_000, (6, 5)), (373.0, 200_000, (5, 6)),
        (747.0, 200_000, (5, 6)), (748.0, 200_000, (4, 7)), (16381.0, 200_000, (4, 7)), (16383.0, 200_000, (4, 7)),
    ],
)  # fmt: skip
def test_the_finest_grid_whose_table_is_neither_too_long_nor_for_too_few_points(width, size, grid):
    laid = lay_grid(spread_over(width, size))
    assert (laid.bits, laid.order) == grid


def test_panels_of_a_plain_range_by_hand():
    """Scores from -2.5 to 1.25: floor(-3.5) = -4 to floor(2.25) = 2, seven panels; sixteenths of a nat."""
    grid = lay_grid(np.array([-2.5, 0.0, 1.25]))
    assert grid.origin == -64.0
    assert grid.count == 112
    assert_array_equal(grid.positions, np.arange(7))
    assert_array_equal(grid.nats, [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0])
    wider = lay_grid(np.array([-2.5, 0.0, 1.25]), margin=1.75)
    assert_array_equal(wider.nats, np.arange(-6.0, 5.0))
    given = lay_grid(np.array([0.0, 0.5]), bounds=(-2.5, 1.25))
    assert_array_equal(given.nats, grid.nats)


def test_panels_of_a_sparse_grid_by_hand():
    """Fine panels are numbered in sixteenths of a nat from zero; gaps beyond the reach of 40 nats become 41."""
    grid = lay_grid(np.array([100.0, 0.0, 0.5, -30.25, 0.51, 1e15]))
    assert_array_equal(grid.keys, [-484.0, 0.0, 8.0, 1600.0, 16e15])
    assert_array_equal(grid.nats, [-31.0, 0.0, 100.0, 1e15])
    assert_array_equal(grid.positions, [0, 31, 72, 113])
    assert (grid.bits, grid.order, grid.origin, grid.count) == (4, 7, 0.0, 5)
    assert_array_equal(lay_grid(np.array([0.0, 41.0, 83.0])).positions, [0, 41, 82])
    assert_array_equal(lay_grid(np.array([0.0, 41.0, 83.0]), reach=10).positions, [0, 11, 22])
    # Members: every fine panel once, at its place, in its coarse panel.
    assert len(grid.members) == 16
    found = {}
    for place, (fine, coarse) in enumerate(grid.members):
        found |= {int(f): (place, int(c)) for f, c in zip(fine, coarse, strict=True)}
    assert found == {0: (12, 0), 1: (0, 1), 2: (8, 1), 3: (0, 2), 4: (0, 3)}


@pytest.mark.parametrize("make", [plain_grid, sparse_grid])
def test_coarse_panels_are_the_nats_in_which_the_fine_ones_lie(make):
    grid, scores = make()
    index, _ = grid.locate(scores)
    coarse = grid.coarse(index)
    assert coarse.dtype.kind == "i"
    assert_array_equal(grid.nats[coarse], np.floor(keys_of(grid, index) / 2**grid.bits))


@pytest.mark.parametrize("base", [0.0, 2.0**40])
@pytest.mark.parametrize("size", [12, 12_000])
def test_shifted_points_are_located_without_rounding_their_sum(base, size):
    """(panel + offset) / 2**bits = score + shift, to the rounding of the shift alone, on plain and on sparse grids."""
    rng = np.random.default_rng(1)
    scores, shift = base + rng.integers(-800, 800, size) / 16.0, rng.uniform(-1.5, 1.5, size)
    shift[:3] = 0.5 / 16, -0.5 / 16, 1e-9
    half = [lambda part: 0.5 * shift[part], lambda part: shift[part]]
    grid = lay_grid(scores, margin=1.5, shifts=half)
    assert (grid.keys is None) == (size > 12)
    for moved in (0.5 * shift, shift):
        index, offset = grid.locate(scores, moved)
        key = keys_of(grid, index)
        assert np.abs(offset).max() <= 0.5
        for i in range(12):
            place = (Fraction(float(key[i])) + Fraction(float(offset[i]))) / 2**grid.bits
            assert abs(place - Fraction(float(scores[i])) - Fraction(float(moved[i]))) <= Fraction(1, 2**51)
    if base:
        # Control: the sum itself is rounded at 2^-13.
        assert np.abs((scores + shift) - scores - shift).max() > 1e-6


def test_points_are_located_in_the_buffers_given():
    grid, scores = plain_grid()
    index, offset, key = room = buffers(100)
    assert [array.size for array in room] == [100] * 3
    assert [array.dtype.kind for array in room] == ["i", "f", "f"]
    index[:], offset[:], key[:] = -1, math.nan, math.nan
    found = grid.locate(scores[:60], out=room)
    assert [np.shares_memory(*pair) for pair in zip(found, room, strict=False)] == [True, True]
    for array, expected in zip(found, grid.locate(scores[:60]), strict=True):
        assert_array_equal(array, expected)
    assert (index[60:] == -1).all()
    assert np.isnan(offset[60:]).all()


def test_slices_by_hand():
    """32,768 points; where a pass through the table costs more, up to eight times as many."""
    def lengths(size, table=0):
        found = list(chunks(size, table))
        assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])][: len(found)]
        return [part.stop - part.start for part in found]

    assert lengths(0) == []
    assert lengths(1) == [1]
    assert lengths(32_768) == [32_768]
    assert lengths(32_769) == [32_768, 1]
    assert lengths(100_000) == [32_768] * 3 + [1696]
    assert lengths(100_000, 32_768) == [32_768] * 3 + [1696]
    assert lengths(100_000, 32_769) == [65_536, 34_464]
    assert lengths(300_000, 200_000) == lengths(300_000, 10**9) == [262_144, 37_856]


@pytest.mark.parametrize(("bits", "at_once"), [(9, 16), (6, 128), (4, 512)])
def test_no_matrix_product_takes_more_than_131072_multiplications(bits, at_once):
    """Coarse panels, each with 16 nodes and 2**bits fine panels, in turn and each once."""
    grid = lay_grid(spread_over(1037.5, 10**5), grids=((bits, 4),))
    assert grid.positions.size == 1040
    rows, spans = zip(*grid.rows(), strict=True)
    assert {row.stop - row.start for row in rows[:-1]} == {at_once}
    assert 0 < rows[-1].stop - rows[-1].start <= at_once
    assert [row.start for row in rows] == [0, *(row.stop for row in rows[:-1])]
    assert rows[-1].stop == 1040
    assert [(s.start, s.stop) for s in spans] == [(r.start * 2**bits, r.stop * 2**bits) for r in rows]


def test_a_panel_too_large_for_the_bound_is_taken_alone():
    grid = lay_grid(np.zeros(3), grids=((14, 2),))
    assert [row for row, _ in grid.rows()] == [slice(0, 1), slice(1, 2), slice(2, 3)]


@pytest.mark.parametrize(("size", "make"), [(70_000, None), (10, sparse_grid)])
def test_points_come_slice_by_slice_and_can_be_kept(size, make):
    """What is kept is what was located, slice by slice, and later visits do not change it."""
    grid, scores = make() if make else plain_grid(size=size)
    points = Points(grid, scores)
    visits = [(part, index.copy(), offset.copy()) for part, index, offset in points]
    assert [part for part, *_ in visits] == list(chunks(size, grid.count))
    kept = points.keep()
    assert kept.kept is not None
    assert kept.grid is grid
    assert kept.scores is scores
    for (part, index, offset), (kept_part, kept_index, kept_offset) in zip(visits, kept, strict=True):
        located = grid.locate(scores[part])
        assert part == kept_part
        for one in ((index, offset), (kept_index, kept_offset)):
            assert_array_equal(one[0], located[0])
            assert_array_equal(one[1], located[1])
    assert all(first is second for (_, first, _), (_, second, _) in zip(kept, kept, strict=True))


def test_grids_are_as_coarse_as_their_accuracy_allows():
    """The module's bound, 4 (2^-k / 4)^m / π^(m + 1): below 4e-15, and 1e-11 for rough sums."""

    def error(bits, order):
        return 4.0 * (2.0**-bits / 4.0) ** order / math.pi ** (order + 1)

    for bits, order in GRIDS:
        assert error(bits, order) <= 4e-15 < min(error(bits - 1, order), error(bits, order - 1))
    for bits, order in ROUGH_GRIDS:
        assert error(bits, order) <= 1e-12 < error(bits, order - 1)
        assert error(bits - 2, order) > 1e-12
    assert math.exp(-REACH) < 1e-17 < math.exp(1 - REACH)


# --- Moments and nodes ---


@pytest.mark.parametrize("layout", ["scattered", "sorted", "one"])
def test_moments_are_added_to_what_is_there(layout):
    """Σ weight · offset^power of each fine panel's points, as a loop, in either order of addition."""
    rng = np.random.default_rng(2)
    index = {"scattered": rng.integers(0, 7, 500), "sorted": np.sort(rng.integers(0, 7, 500)),
             "one": np.full(500, 3)}[layout]  # fmt: skip
    offset, weights = rng.uniform(-0.5, 0.5, 500), rng.normal(size=(2, 500))
    before = rng.normal(size=(2, 4, 7))
    moments, given = before.copy(), weights.copy()
    panels.add_moments(moments, index, offset, list(weights))
    expected = before.copy()
    for side, power, i in itertools.product(range(2), range(4), range(500)):
        expected[side, power, index[i]] += weights[side, i] * offset[i] ** power
    assert_allclose(moments, expected, rtol=0, atol=1e-12)
    assert_array_equal(weights, given)


def test_runs_by_hand():
    """Where runs start, if among the first 2,048 entries at most a quarter begin one."""
    assert_array_equal(panels.runs_of(np.array([5, 5, 5, 5, 2, 2, 2, 2])), [0, 4])
    assert_array_equal(panels.runs_of(np.array([1, 1, 1, 1, 0, 0, 0, 1])), [0, 4, 7])
    assert panels.runs_of(np.array([1, 1, 1, 0, 0, 1, 1, 0])) is None
    assert_array_equal(panels.runs_of(np.array([3])), [0])
    late = np.concatenate([np.zeros(2048, dtype=int), np.arange(1, 9000)])
    assert_array_equal(panels.runs_of(late), [0, *range(2048, 11_047)])
    early = np.concatenate([np.arange(513), np.full(1535, 512), np.full(9000, 512)])
    assert_array_equal(panels.runs_of(early), np.arange(513))
    assert panels.runs_of(np.concatenate([np.arange(514), np.full(10_000, 513)])) is None


@pytest.mark.parametrize("make", [plain_grid, sparse_grid, lambda: plain_grid(600, 10_000)])
def test_nodes_weigh_what_the_points_weigh(make):
    """Sums of polynomials of degree below the order over the nodes are those over the points, panel by panel."""
    grid, scores = make()
    weights = np.random.default_rng(3).normal(size=(2, scores.size))
    tables = panels.deposit(Points(grid, scores), *weights)
    nodes = np.asarray(panels.chebyshev_nodes(16), dtype=float)
    index, offset = grid.locate(scores)
    panel = grid.coarse(index)
    # From the panel's middle, which is half a fine panel above the middle of its cells.
    place = (keys_of(grid, index) + offset) / 2**grid.bits - grid.nats[panel] - 0.5 + 0.5 / 2**grid.bits
    for table, weight in zip(tables, weights, strict=True):
        assert table.shape == (grid.positions.size, 16)
        for degree in range(grid.order):
            expected = np.bincount(panel, weight * place**degree, grid.positions.size)
            assert_allclose(table @ nodes**degree, expected, rtol=0, atol=1e-13 * max(1.0, np.abs(weight).sum()))


@pytest.mark.parametrize("make", [plain_grid, sparse_grid, lambda: plain_grid(600, 10_000)])
def test_fields_go_through_what_the_nodes_say(make):
    """A polynomial of degree below the order, another in each panel, is read back at any point."""
    grid, scores = make()
    rng = np.random.default_rng(4)
    nodes = np.asarray(panels.chebyshev_nodes(16), dtype=float)
    coefficients = rng.normal(size=(grid.order, grid.positions.size))
    values = sum(c[:, None] * nodes**degree for degree, c in enumerate(coefficients))
    field = panels.Field.through(grid, values)
    assert field.coefficients.shape == (grid.order, grid.count)
    index, offset = grid.locate(scores)
    panel = grid.coarse(index)
    place = (keys_of(grid, index) + offset) / 2**grid.bits - grid.nats[panel] - 0.5 + 0.5 / 2**grid.bits
    expected = sum(c[panel] * place**degree for degree, c in enumerate(coefficients))
    assert_allclose(field(index, offset), expected, rtol=0, atol=1e-13)


def test_horners_rule_by_hand():
    field = panels.Field(np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
    assert_allclose(field(np.array([0, 1, 1]), np.array([0.5, 0.5, 0.0])), [2.75, 27.5, 10.0], rtol=1e-15)


def test_chebyshev_points_in_many_digits():
    """sin((2j + 1 - n) π / 2n) / 2, in extended precision."""
    assert panels.chebyshev_nodes(1)[0] == 0.0
    with mpmath.workdps(40):
        for count in (2, 3, 16):
            for j, node in enumerate(panels.chebyshev_nodes(count)):
                exact = mpmath.sin((2 * j + 1 - count) * mpmath.pi / (2 * count)) / 2
                high = float(node)
                error = abs(mpmath.mpf(high) + mpmath.mpf(float(node - np.longdouble(high))) - exact)
                assert error < 4.0 * float(np.finfo(np.longdouble).eps)


@pytest.mark.parametrize(("bits", "order"), [*GRIDS, *ROUGH_GRIDS, (0, 3), (1, 1)])
def test_transfer_reproduces_polynomials(bits, order):
    """Σ_j node_j^d · (the polynomial of node j on a fine panel) is x^d there, for degrees below the order."""
    transfer, nodes = panels.transfer_of(bits, order), np.asarray(panels.chebyshev_nodes(16), dtype=float)
    assert transfer.shape == (order, 2**bits, 16)
    assert not transfer.flags.writeable
    assert panels.transfer_of(bits, order) is transfer
    offset = np.linspace(-0.5, 0.5, 5)
    place = (np.arange(2**bits)[:, None] + 0.5 + offset) / 2**bits - 0.5
    powers = offset[:, None] ** np.arange(order)
    for degree in range(order):
        found = (transfer @ nodes**degree).T @ powers.T
        assert_allclose(found, place**degree, rtol=0, atol=2e-15)


# --- Who meets whom ---


@pytest.mark.parametrize(
    "positions",
    [np.arange(1), np.arange(9), np.arange(600), np.array([0, 1, 2, 5, 6, 9, 20]), np.array([0, 7]),
     np.concatenate([np.arange(0, 1300, 2), [1301]])],
)  # fmt: skip
def test_every_pair_of_panels_within_reach_meets_once(positions):
    """Pairs (target, source) at each distance, at most 512 at a time, ordered by distance."""
    reach, found, distances, largest = 4, Counter(), [], 0
    everything = np.arange(positions.size)
    for distance, target, source in panels.offsets(positions, reach):
        targets, sources = everything[target], everything[source]
        assert 0 < targets.size <= 512
        largest = max(largest, targets.size)
        assert_array_equal(positions[targets] - positions[sources], distance)
        found.update(zip(targets.tolist(), sources.tolist(), strict=True))
        distances.append(distance)
    gaps = positions[:, None] - positions
    assert found == Counter(zip(*(i.tolist() for i in np.nonzero(np.abs(gaps) <= reach)), strict=True))
    assert distances == sorted(distances)
    assert largest == min(positions.size, 512)


@pytest.mark.parametrize("kernel", ["sigmoid", "curvature", "entropy"])
def test_kernel_blocks_are_kernel_values_between_nodes(kernel):
    blocks, nodes = panels.kernel_blocks(kernel, 3), np.asarray(panels.chebyshev_nodes(16), dtype=float)
    assert blocks.shape == (7, 16, 16)
    assert not blocks.flags.writeable
    assert panels.kernel_blocks(kernel, 3) is blocks
    for distance in (-3, 0, 2):
        for source, target in ((0, 15), (3, 3), (9, 1)):
            t = np.array(distance + nodes[target] - nodes[source])
            assert blocks[distance + 3, source, target] == pytest.approx(float(KERNELS[kernel](t)), rel=1e-15)


@pytest.mark.parametrize("kernel", ["sigmoid", "curvature", "entropy"])
@pytest.mark.parametrize("positions", [np.arange(45), np.array([0, 3, 44, 84, 85, 126, 166, 207])])
def test_convolution_is_the_double_sum_over_nodes(kernel, positions):
    """Also across gaps beyond the reach, where the logistic function is 0 or 1 and the others are 0."""
    grid = panel_grid.Grid(4, 7, 0.0, 0, None, positions, positions.astype(float))
    weights = np.random.default_rng(5).normal(size=(positions.size, 16))
    nodes = np.asarray(panels.chebyshev_nodes(16), dtype=float)
    place = positions[:, None] + nodes
    direct = (weights.ravel() * KERNELS[kernel](np.subtract.outer(place.ravel(), place.ravel()))).sum(axis=1)
    result = panels.convolve(grid, kernel, weights)
    assert_allclose(result, direct.reshape(-1, 16), rtol=0, atol=1e-13)
    left = np.random.default_rng(6).normal(size=weights.shape)
    assert panels.bilinear(grid, kernel, left, weights) == pytest.approx((left * result).sum(), rel=1e-14)
    if kernel == "sigmoid":
        # Reach 5: what lies further below counts in full, what lies further above does not count.
        near = np.abs(np.subtract.outer(positions, positions)).repeat(16, 0).repeat(16, 1) <= 5
        logits = np.where(near, np.subtract.outer(place.ravel(), place.ravel()), 0.0)
        below = np.subtract.outer(place.ravel(), place.ravel()) > 0.0
        short = (weights.ravel() * np.where(near, KERNELS[kernel](logits), below)).sum(axis=1)
        assert_allclose(panels.convolve(grid, kernel, weights, reach=5).ravel(), short, rtol=0, atol=1e-13)


def test_weights_of_many_panels_are_added_without_losing_digits():
    """A tenth in each of 16,384 panels: neighbours aside, a panel's sum is a tenth of those below it."""
    size = 16_384
    grid = panel_grid.Grid(4, 7, 0.0, 0, None, np.arange(size), np.arange(float(size)))
    weights = np.zeros((size, 16))
    weights[:, 0] = 0.1
    result = panels.convolve(grid, "sigmoid", weights, reach=1)
    expected = result[2] + 0.1 * (np.arange(size)[2:-1, None] - 2)
    rounding = 4.0 * np.finfo(float).eps + size * float(np.finfo(np.longdouble).eps)
    assert_allclose(result[2:-1], expected, rtol=rounding)
