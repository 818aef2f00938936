"""Whether a ladder that stood a moment ago still stands: answered without laying it.  Pure.

The price of a level grows (or stays) with the start price of its side, and an order serves it as long as the price lies
within the tolerance around the order's own, which is an interval.  So a ladder that stands at two start prices stands
at every start price between them, as long as nothing else has changed.
"""
from __future__ import absolute_import

from typing import Any, Tuple  # noqa: F401


class Standing(object):
    """The start prices of both sides between which everything is known to stand, for one state of all the rest.

    That state is a ``key``: whatever else the wanted orders and the resting ones depend on.  Another one forgets all.
    """

    def __init__(self):
        # type: () -> None
        self._key = None      # type: Any
        self._buys = ()       # type: Any   # lowest and highest start price of the bids, floats
        self._sells = ()      # type: Any

    def covers(self, key, buy, sell):
        # type: (Any, float, float) -> bool
        """Tell whether the ladder stands with these start prices."""
        return (key is not None and key == self._key and self._buys[0] <= buy <= self._buys[1]
                and self._sells[0] <= sell <= self._sells[1])

    def learn(self, key, buy, sell):
        # type: (Any, float, float) -> None
        """Note that it was found to stand with these start prices, each level by itself."""
        if key is None or key != self._key:
            self._key, self._buys, self._sells = key, (buy, buy), (sell, sell)
        else:
            self._buys = min(self._buys[0], buy), max(self._buys[1], buy)
            self._sells = min(self._sells[0], sell), max(self._sells[1], sell)


def is_harmless(buy, sell, bid, ask, tick, lowest, highest):
    # type: (float, float, float, float, float, float, float) -> bool
    """Tell whether no quote that starts at these prices can be wrong: cross the market, cross our own, or leave the
    band (the lowest ask and the highest bid that are allowed).

    No bid lies above its start and no ask below it; what is within half a tick of a fault counts as one.
    """
    room = tick / 2
    return (bid < ask and buy < ask - room and sell > bid + room and buy < sell - room
            and buy <= highest - room and sell >= lowest + room)
