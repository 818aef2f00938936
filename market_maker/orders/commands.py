"""What we told the exchange and its tables have not shown yet.  Pure: rows and monotonic seconds are handed in.

The answer to a command comes over REST, its echo over the WebSocket, in any order and up to seconds apart.  Read from
the tables alone, an order that was just created does not exist, and would be created again.  So the answers are laid
over the tables' rows until these have caught up, which their ``timestamp`` and ``transactTime`` tell; and a create
without an answer holds its place.
"""
from __future__ import absolute_import

from collections import namedtuple
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple  # noqa: F401

CREATE = 'create'     # as in state/ledger.py
MEMORY = 60.0         # seconds for which a closed order is remembered, so that no late row brings it back

Answer = namedtuple('Answer', 'row at')
Answer.__doc__ = """An order row that a command was answered with, and when it came."""
Flight = namedtuple('Flight', 'order at unknown')
Flight.__doc__ = """A create: a row without orderID, when it was sent (None: not yet), whether the answer is lost."""


class Commands(object):
    """The answers and the creates in flight of one account and symbol.

    Every method does a few steps on dicts that no other method holds on to, so any thread may call any of them.
    """

    def __init__(self):
        # type: () -> None
        self._answers = {}   # type: Dict[str, Answer]   # orderID -> the newest answer about it
        self._flights = {}   # type: Dict[str, Flight]   # clOrdID -> create without an answer
        self._owed = {}      # type: Dict[str, List[Any]]   # orderID -> answers without an echo: (time stamp, when it came)
        self.changes = 0     # grows with everything noted here

    def reserve(self, clOrdID, order):
        # type: (str, Dict[str, Any]) -> None
        """Note a create that is about to be sent: from now on it holds its place in the ladder."""
        self.changes += 1
        size = abs(int(order.get('orderQty') or 0))
        row = dict(order, clOrdID=clOrdID, orderQty=size, leavesQty=size, cumQty=0)
        self._flights[clOrdID] = Flight(row, None, False)

    def sent(self, clOrdID, now):
        # type: (str, float) -> None
        """Note that a reserved create goes out now."""
        self._flights[clOrdID] = self._flights[clOrdID]._replace(at=now)

    def answered(self, row, now, is_echoed=True):
        # type: (Dict[str, Any], float, bool) -> None
        """Note the row that a create, an amend or a cancel was answered with; ``is_echoed`` tells that the tables will
        show it too, as they do not where the order was over before they began."""
        self.changes += 1
        known = self._answers.get(row['orderID'])
        if known is None or not _is_older(row, known.row):
            self._answers[row['orderID']] = Answer(dict(row), now)
            if is_echoed and not (row.get('timestamp') or '').endswith(LATER):
                self._owed.setdefault(row['orderID'], []).append((row.get('timestamp') or '', now))
        self._flights.pop(row.get('clOrdID') or '', None)

    def refused(self, clOrdID):
        # type: (str) -> None
        """Note that a create does certainly not rest."""
        self.changes += 1
        self._flights.pop(clOrdID, None)

    def release(self, clOrdID):
        # type: (str) -> None
        """Give up a reserved create that was not sent; one that was keeps its place."""
        flight = self._flights.get(clOrdID)
        if flight is not None and flight.at is None:
            self.refused(clOrdID)

    def doubt(self, row, change, now):
        # type: (Dict[str, Any], Dict[str, Any], float) -> None
        """Note an amend of unknown fate: until the tables tell, the order counts as amended, but not as smaller."""
        wanted = change.get('orderQty', row.get('orderQty') or 0) - (row.get('cumQty') or 0)
        amended = dict(row, **{name: change[name] for name in AMENDED if name in change})
        amended.update(leavesQty=max(wanted, row.get('leavesQty') or 0), timestamp=(row.get('timestamp') or '') + LATER)
        self.answered(amended, now)

    def lost(self, clOrdID):
        # type: (str) -> None
        """Note that nobody knows whether a create rests: it keeps its place until it is found or certainly absent."""
        flight = self._flights.get(clOrdID)
        if flight is not None:
            self._flights[clOrdID] = flight._replace(unknown=True)

    def gone(self, order_id, now):
        # type: (str, float) -> None
        """Note that the exchange no longer works this order, whatever the tables show."""
        self.changes += 1
        known = self._answers.get(order_id)
        row = dict(known.row) if known is not None else {'orderID': order_id, 'timestamp': NEVER_OLD}
        self._answers[order_id] = Answer(dict(row, leavesQty=0, ordStatus='Canceled', timestamp=NEVER_OLD), now)
        self._owed.setdefault(order_id, []).append((NEVER_OLD, now))

    def is_settled(self):
        # type: () -> bool
        """Tell whether the tables have caught up with every answer, and every create has one."""
        return not self._answers and not self._flights

    def overlay(self, rows, finished, now):
        # type: (List[Dict[str, Any]], Callable[[str], Optional[Dict[str, Any]]], float) -> List[Dict[str, Any]]
        """Return the open orders by the newest of both sources, as a fresh list.

        ``rows`` are the open orders of the tables, live; a row that is up to date is handed on as it is.  ``finished``
        returns the last state of an order that left the tables, or None.
        """
        if not self._answers and not self._flights:
            return list(rows)
        waiting = dict(self._answers)
        shown = []
        for row in rows:
            self._flights.pop(row.get('clOrdID') or '', None)
            answer = waiting.pop(row['orderID'], None)
            if answer is None:
                shown.append(row)
            elif _has_caught_up(row, answer.row):
                self._forget(row['orderID'], answer)
                shown.append(row)
            elif is_open(answer.row):
                shown.append(dict(row, **answer.row))
        for order_id, answer in waiting.items():
            if finished(order_id) is not None:   # the tables have seen its end, and do not bring it back
                self._forget(order_id, answer)
            elif not is_open(answer.row):
                if now - answer.at > MEMORY:
                    self._forget(order_id, answer)
            else:
                shown.append(dict(answer.row))
        return shown

    def in_flight(self):
        # type: () -> List[Dict[str, Any]]
        """Return the creates without an answer as rows without orderID."""
        return [dict(flight.order) for flight in list(self._flights.values())]

    def unanswered(self):
        # type: () -> List[str]
        """Return the clOrdIDs of the creates that were sent and have no answer."""
        return [name for name, flight in list(self._flights.items()) if flight.at is not None]

    def lost_names(self):
        # type: () -> List[str]
        """Return the clOrdIDs of the creates whose answer was lost."""
        return [name for name, flight in list(self._flights.items()) if flight.unknown]

    def overdue(self, rows, finished, now, patience):
        # type: (Iterable[Dict[str, Any]], Callable[[str], Optional[Dict[str, Any]]], float, float) -> List[Any]
        """Return the answers, as rows, that the tables have not mirrored for more than ``patience`` seconds.

        ``rows`` are the open orders of the tables, ``finished`` returns the last state of one that left them.
        """
        if not self._owed:
            return []
        shown = {row['orderID']: row for row in rows if row['orderID'] in self._owed}
        late = []
        for order_id, owed in sorted(self._owed.items()):
            answer = self._answers.get(order_id)
            row = shown.get(order_id) or finished(order_id)
            # Without row and answer the tables have seen it come and go long since.
            owed = [one for one in owed if (row or answer) and _owes(row, one[0], answer)]
            self._owed[order_id] = owed
            if not owed:
                self._owed.pop(order_id, None)
            elif now - owed[0][1] > patience:
                late.append(answer.row if answer is not None else row)
        return late

    def owes_echoes(self):
        # type: () -> bool
        """Tell whether an answer waits to be shown by the tables; ``overdue`` finds out which have been."""
        return bool(self._owed)

    def may_be_overdue(self, now, patience):
        # type: (float, float) -> bool
        """Tell, quickly, whether ``overdue`` could find something."""
        return any(now - owed[0][1] > patience for owed in list(self._owed.values()) if owed)

    def imaged(self, asked_at):
        # type: (float) -> None
        """Note that the tables were filled anew by images that were asked for at that moment: they know the outcome of
        whatever was answered before."""
        self.changes += 1
        for order_id, answer in list(self._answers.items()):
            if answer.at < asked_at:
                self._forget(order_id, answer)
        for order_id, owed in list(self._owed.items()):
            if owed[-1][1] < asked_at:
                self._owed.pop(order_id, None)

    def undoubt(self, order_id):
        # type: (str) -> None
        """Note that an amend of unknown fate was certainly not carried out."""
        self.changes += 1
        answer = self._answers.get(order_id)
        if answer is not None and answer.row.get('timestamp', '').endswith(LATER):
            self._forget(order_id, answer)

    def absent(self, clOrdID, now, patience):
        # type: (str, float, float) -> None
        """Note that the exchange does not know a create; ``patience`` seconds after it was sent that is final."""
        flight = self._flights.get(clOrdID)
        if flight is not None and flight.at is not None and now - flight.at > patience:
            self._flights.pop(clOrdID, None)

    def _forget(self, order_id, answer):
        # type: (str, Answer) -> None
        if self._answers.get(order_id) is answer:
            self._answers.pop(order_id, None)


AMENDED = ('price', 'orderQty', 'stopPx')   # what tells two states of one millisecond apart
LATER = '~'         # behind a time stamp: later than it, and earlier than the next one
NEVER_OLD = '9999'   # later than every time stamp, as text


class FillWatch(object):
    """The least and the largest position that the tables allow, although they are not updated at the same time.

    A fill shows in the order's row before or after it shows in the position's.  What an order has traded later than the
    position's time stamp is not in the position yet.
    """

    def __init__(self):
        # type: () -> None
        self._known = {}   # type: Dict[str, Tuple[int, Any]]   # orderID -> (cumQty in the position, newest row)

    def know(self, row):
        # type: (Dict[str, Any]) -> None
        """Note the newest row of an order of ours."""
        counted = self._known.get(row['orderID'], (0, None))[0]
        self._known[row['orderID']] = counted, row

    def presume_filled(self, row, until):
        # type: (Dict[str, Any], float) -> None
        """Count what was left of an order as traded, until the tables tell what became of it or that moment comes."""
        traded = (row.get('cumQty') or 0) + (row.get('leavesQty') or 0)
        self.know(dict(row, cumQty=traded, leavesQty=0, timestamp=NEVER_OLD, until=until))

    def bounds(self, position, rows, finished, now):
        # type: (Dict[str, Any], List[Any], Callable[[str], Any], float) -> Tuple[int, int]
        """Return (lowest, highest) current position in contracts; ``rows`` are our open orders."""
        low = high = int(position.get('currentQty') or 0)
        stamp = position.get('timestamp') or ''
        for row in rows:
            self.know(row)
        resting = {row['orderID'] for row in rows}
        for order_id, (counted, row) in list(self._known.items()):
            row = (finished(order_id) if order_id not in resting else None) or row
            traded = row.get('cumQty') or 0
            if now > row.get('until', now):
                del self._known[order_id]
            elif (row.get('timestamp') or '') > stamp:
                if row.get('side') == 'Buy':
                    high += traded - counted
                else:
                    low -= traded - counted
            elif order_id in resting:
                self._known[order_id] = traded, row
            else:
                del self._known[order_id]
        return low, high


class Patience(object):
    """How long a refused order waits for its next attempt: longer each time, until it is served once."""

    def __init__(self, first=1.0, longest=60.0):
        # type: (float, float) -> None
        self._first = first      # seconds
        self._longest = longest  # seconds
        self._waits = {}  # type: Dict[Any, Tuple[float, float]]   # name -> (seconds of the last wait, moment it ends)

    def refused(self, name, now):
        # type: (Any, float) -> float
        """Note a refusal; return the seconds until the next attempt."""
        seconds = min(self._waits[name][0] * 2, self._longest) if name in self._waits else self._first
        self._waits[name] = seconds, now + seconds
        return seconds

    def served(self, name):
        # type: (Any) -> None
        """Note a success."""
        self._waits.pop(name, None)

    def must_wait(self, name, now):
        # type: (Any, float) -> bool
        """Tell whether the next attempt is still to come."""
        return name in self._waits and now < self._waits[name][1]


def is_open(row):
    # type: (Dict[str, Any]) -> bool
    """Tell whether something of the order still works."""
    return row.get('leavesQty') != 0 and row.get('ordStatus') not in ('Canceled', 'Filled', 'Rejected', 'Expired')


def _owes(row, stamp, answer):
    # type: (Optional[Dict[str, Any]], str, Any) -> bool
    """Tell whether the tables have not shown yet what an answer of that time stamp said.

    ``row`` is the order there, open or finished, or None; ``answer`` is the newest one about it, or None.
    """
    if stamp == NEVER_OLD or row is None or not is_open(row):
        return row is None if stamp != NEVER_OLD else row is not None and is_open(row)
    if answer is not None and answer.row.get('timestamp') == stamp:
        return not (is_open(answer.row) and _has_caught_up(row, answer.row))
    return max(row.get('timestamp') or '', row.get('transactTime') or '') < stamp


def _has_caught_up(row, answer):
    # type: (Dict[str, Any], Dict[str, Any]) -> bool
    """Tell whether a row of the tables is at least as new as the answer over REST."""
    for field in ('timestamp', 'transactTime'):
        seen, told = row.get(field) or '', answer.get(field) or ''
        if seen > told:
            return True
        if seen == told:
            return is_open(answer) and all(row.get(name) == answer.get(name) for name in AMENDED)
    return False


def _is_older(row, other):
    # type: (Dict[str, Any], Dict[str, Any]) -> bool
    return (row.get('timestamp') or '') < (other.get('timestamp') or '')
