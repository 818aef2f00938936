"""The dead man's switch: the exchange cancels everything when nobody tells it for a while that the bot is alive.

BitMEX, ``POST /order/cancelAllAfter``: the timer belongs to the account, so it takes every order on it, on every symbol
and of whoever placed it.  Therefore foreign orders are looked for over all symbols before it is armed and at each audit
of the guard; while there are any it is off, unless a setting says otherwise.  The bots of this machine that rely on it
share it: each refreshes it, and only the last one that ends disarms it.  When one of them was killed the others stop
refreshing until it has fired, for else it would never take the dead one's orders; theirs come back afterwards.

It sends and decides nothing but this.  The guard's thread calls it, and the main thread once that one has ended.
"""
from __future__ import absolute_import

import logging
from typing import Any, Callable, Dict, List, Optional  # noqa: F401

from market_maker.utils.errors import MarketMakerError

REFRESHES = 4        # times that it is refreshed before it would fire ...
SHORTEST = 1.0       # seconds; ... but a short one not so often that it eats up the request budget
LOOK_AGAIN = 15.0    # seconds between two looks for foreign orders, while there are any
MARGIN = 0.5         # seconds that a request may take


class DeadMansSwitch(object):
    """``seconds`` after the last refresh it fires; 0: there is none.

    ``bitmex`` is the connector, ``lock`` this bot's state.lock.InstanceLock, ``is_own(row)`` tells this bot's orders,
    ``despite_foreign`` that others' orders are at risk with their owner's consent; ``report(level, text,
    *args)`` writes a log line.
    """

    def __init__(self, seconds, bitmex, lock, is_own, despite_foreign, report):
        # type: (float, Any, Any, Callable[[Dict[str, Any]], bool], bool, Callable[..., None]) -> None
        self.seconds = seconds
        self.is_armed = False
        self.foreign = 0   # orders that kept it from being armed, when it was looked last
        self._bitmex = bitmex
        self._lock = lock
        self._is_own = is_own
        self._despite_foreign = despite_foreign
        self._report = report
        self._due = 0.0            # when to act next (monotonic seconds)
        self._fires_until = None   # type: Optional[float]   # until then it is left to fire
        self._failed = False       # the last request did not get through
        self._had_allies = False   # another bot has armed it, perhaps, and left it to us

    def rely(self) -> None:
        """Let the other bots know that this one relies on it, before it places an order."""
        self._lock.note(switch=self.seconds > 0)

    def tend(self, now: float) -> None:
        """Arm or refresh it where that is due; raise what a request raises.  ``now`` is monotonic."""
        if self.seconds <= 0 or now < self._due:
            return
        self._due = now + min(1.0, self.seconds / (2.0 * REFRESHES))   # if it fails
        if self._is_left_to_fire(now):
            return
        if not self.is_armed and not self._may_be_armed():
            self._due = now + LOOK_AGAIN
            return
        self._send(self.seconds)
        if not self.is_armed:
            self._report(logging.DEBUG, "The dead man's switch is armed: without us the exchange cancels all orders "
                         'of this account after %g s.', self.seconds)
        self.is_armed = True
        self._due = now + self._interval()

    def _interval(self):
        # type: () -> float
        """Return the seconds between two refreshes."""
        return max(self.seconds / REFRESHES, min(self.seconds / 2.0, SHORTEST))

    def see(self, orders: List[Dict[str, Any]]) -> bool:
        """Look at all open orders of the account; disarm it when some are foreign, and tell whether it may be armed."""
        if self.seconds <= 0:
            return False
        foreign = self._foreign_among(orders)
        if foreign and not self._despite_foreign:
            if self.is_armed:
                self._send(0)
            if self.is_armed or not self.foreign:
                first = foreign[0]
                self._report(logging.WARNING, "The dead man's switch is off: it would cancel %d orders of this account "
                             'that are not this bot\'s, such as %s %s %s @ %s (%s). '
                             'DEADMAN_DESPITE_FOREIGN_ORDERS = True arms it nevertheless.', len(foreign),
                             first.get('symbol'), first.get('side'), first.get('leavesQty'), first.get('price'),
                             first.get('clOrdID') or 'without a clOrdID')
            self.is_armed = False
        elif self.foreign and not self._despite_foreign:
            self._report(logging.INFO, "There are no foreign orders any more: the dead man's switch is armed.")
            self._due = 0.0
        self.foreign = 0 if self._despite_foreign else len(foreign)
        return not self.foreign

    def stand_down(self, is_clean: bool) -> None:
        """End: disarm it unless others rely on it, or orders of ours are left that it shall take (``is_clean`` false).
        """
        armed, self.is_armed = self.is_armed or self._had_allies, False
        if not armed or self.seconds <= 0:
            return
        self._had_allies = False
        if not is_clean:
            self._report(logging.WARNING, "The dead man's switch stays armed: it cancels what is left within %g s.",
                         self.seconds)
            return
        self._lock.note(switch=False)
        if any(other.alive and other.switch for other in self._lock.neighbours()):
            return
        try:
            self._send(0)
        except MarketMakerError as error:
            self._report(logging.WARNING, "The dead man's switch could not be disarmed (%s): within %g s it cancels "
                         'every order of this account.', error, self.seconds)

    def _send(self, seconds):
        # type: (float) -> None
        try:
            self._bitmex.cancel_all_after(seconds)
        except MarketMakerError as error:
            if not self._failed:
                self._report(logging.WARNING, "The dead man's switch could not be %s: %s",
                             'refreshed' if seconds else 'disarmed', error)
            self._failed = True
            raise
        self._failed = False

    def _may_be_armed(self):
        # type: () -> bool
        return self.see(self._bitmex.account_orders())

    def _foreign_among(self, orders):
        # type: (List[Dict[str, Any]]) -> List[Dict[str, Any]]
        """Return the orders that are neither ours nor those of a bot that relies on the switch as well."""
        others = [order for order in orders if not self._is_own(order)]
        if not others:
            return others
        ledger = self._bitmex.ledger
        allies = {neighbour.bot for neighbour in self._lock.neighbours() if neighbour.switch}
        return [order for order in others if ledger is None or ledger.bot_of(order.get('clOrdID')) not in allies]

    def _is_left_to_fire(self, now):
        # type: (float) -> bool
        """Tell whether another bot was killed, whose orders only the switch can take."""
        if self._fires_until is not None:
            if now < self._fires_until:
                return True
            self._fires_until = None
            self._lock.bury()
        allies = [other for other in self._lock.neighbours() if other.switch]
        self._had_allies = self._had_allies or bool(allies)
        dead = [other for other in allies if not other.alive]
        if not dead or not self.is_armed:
            return False
        # Each of the others has noticed by then, and nobody has refreshed it for its whole time.
        self._fires_until = now + self.seconds + self._interval() + MARGIN
        self._report(logging.WARNING, "Another bot of this account (%s) was killed: the dead man's switch is left to "
                     'cancel its orders, ours with them; ours come back.', dead[0].bot)
        return True
