"""Prices and sizes on their grid, as floats without binary noise.

A quotient counts as lying on the grid (or exactly between two of its lines) when it does so in decimal notation,
although its binary value misses that by a hair: 388.62 / 0.01 is 38862 here, not 38861.99999999999.
"""
from __future__ import absolute_import

import math
from functools import lru_cache

NOISE = 1e-9        # in grid steps: what a few float operations may be off by near zero ...
RELATIVE_NOISE = 1e-14  # ... and in proportion to the number of steps, far from it


def toNearest(num: float, tickSize: float) -> float:
    """Return the multiple of tickSize that is nearest to num; halfway between two it is the even one."""
    return _on_grid(round(_steps(num, tickSize)), tickSize)


def floor_to(num: float, step: float) -> float:
    """Return the largest multiple of step that is not above num."""
    return _on_grid(math.floor(_steps(num, step)), step)


def ceil_to(num: float, step: float) -> float:
    """Return the smallest multiple of step that is not below num."""
    return _on_grid(math.ceil(_steps(num, step)), step)


def ticks(price: float, tickSize: float) -> int:
    """Return price as a whole number of ticks (the nearest one): what prices are compared and keyed by."""
    return int(round(_steps(price, tickSize)))


def decimals(step: float) -> int:
    """Return how many digits after the point a multiple of step can have; 0.5 has 1, 0.0001 has 4, 100 has 0."""
    return _decimals(float(step))


def _steps(num, step):
    # type: (float, float) -> float
    """Return num / step, moved onto the nearest half step when only binary noise keeps it from there."""
    steps = float(num) / float(step)
    nearest_half = round(steps * 2) / 2.0
    if abs(steps - nearest_half) <= NOISE + RELATIVE_NOISE * abs(steps):
        return nearest_half
    return steps


def _on_grid(count, step):
    # type: (int, float) -> float
    step = float(step)
    return round(count * step, _decimals(step))


@lru_cache(maxsize=256)
def _decimals(step):
    # type: (float) -> int
    digits, _, exponent = repr(step).partition('e')
    return max(0, len(digits.partition('.')[2].rstrip('0')) - int(exponent or 0))
