"""Orders on their way: written down, sent side by side, answered or looked for, each exactly once.

A list of orders goes out in its order, several at a time (``pool.py``) where the exchange answers and its limits allow;
when it last left a command without a clear answer, one goes first and the others wait for what becomes of it.  Never is
more than one command under way for one order; a cancel, which makes things safe, waits for another command of its order
only a moment.

What may have been carried out is never sent again: it is looked up, a few times at once and then, with a ledger
(``state/ledger.py``), for a minute by ``resolve_due``.  It knows no symbol, prefix or setting.
"""
from __future__ import absolute_import

import collections
import functools
import logging
import threading
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple  # noqa: F401

from market_maker.rest import retry
from market_maker.rest.names import is_drawn
from market_maker.rest.pool import SendPool
from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, MarketMakerError,  # noqa: F401
                                       OrderRejected, OutcomeUnknown, Overloaded, RateLimited)

CLOCK_DOUBT = 5.0   # seconds by which an order may seem older than the request that made it: clocks are never alike
PAGE = 500          # rows in one answer at most (BitMEX, REST API guide)
ASKED = 100         # names in one question: longer addresses are refused
SILENT = 2          # commands without an answer after which the rest of a list is kept back
SHORT = 2.0         # seconds for the answer to a look that is repeated soon
BUSY = 1.0          # seconds; a look that would have to wait longer for its turn is made later
TRUCE = 1.0         # seconds that a cancel waits for another command of its order
HEAD_START = 0.01   # seconds that a request is given to go out before the next one
KNOWN_IDS = 2000    # orders whose two names are remembered
SHORT_LOOKS = retry.LOOKS[:2]   # with a ledger the later looks are resolve_due's, and nobody waits for them
DUPLICATE = 'duplicate clordid'   # in lower case; what an exchange says of a name that one of its open orders has
KINDS = {'POST': retry.CREATE, 'PUT': retry.AMEND}
SETTLED, REFUSED, UNKNOWN = 'done', 'refused', 'unknown'   # as in state/ledger.py

Named = collections.namedtuple('Named', 'clOrdID orderID symbol body')
Named.__doc__ = """An order as the ledger wants it."""


class Batch(object):
    """A list of orders that are sent by one call, and what became of each so far."""

    def __init__(self, verb, bodies, timeout, max_retries):
        # type: (str, Sequence[Dict[str, Any]], Optional[float], Optional[int]) -> None
        self.verb, self.bodies, self.timeout, self.max_retries = verb, bodies, timeout, max_retries
        self.outcomes = [None] * len(bodies)  # type: List[Any]   # a row or an error for each
        self.records = {}   # type: Dict[int, Any]   # place -> record of the ledger
        self.unknown = {}   # type: Dict[int, Tuple[float, OutcomeUnknown]]   # place -> exchange's time of sending
        self.stopped = None  # type: Optional[MarketMakerError]   # why the rest is not sent
        self.refused_key = None  # type: Optional[AuthenticationError]
        self.silent = 0     # commands without an answer since the last that had one
        self.flying = set()  # type: set   # places that are taken on and have no outcome
        self.handed = set()  # type: set   # places whose turn has come; from then on they may have been sent
        self.written = set()  # type: set   # places whose requests have gone out
        self.drawn = set()   # type: set   # places whose names nobody has used before this sending
        # the caller has left: nothing is sent again; a single order is sent by its caller
        self.halt = threading.Event() if len(bodies) > 1 else None   # type: Any


class Sender(object):
    """Sends orders through a Client; ``ledger`` is a state.ledger.Ledger, or None.  Any thread may call any method."""

    def __init__(self, client, report, ledger=None):
        # type: (Any, Callable[..., None], Any) -> None
        self.ledger = ledger   # type: Any
        self.gate = None       # type: Optional[Callable[[Dict[str, Any]], str]]   # why an order may not go out now, or ''
        self.heard = None      # type: Optional[Callable[[Dict[str, Any]], None]]   # told of each answered order row
        self._client = client
        self._report = report
        self._pool = SendPool()
        self._unsure = set()   # type: set   # clOrdIDs that were sent and whose fate is still unknown
        self._is_clean = False  # whether the last command had a clear answer: only then several go out at once
        self._busy = set()     # type: set   # names and ids of orders with a command under way
        self._ids = collections.OrderedDict()   # type: Dict[str, str]   # orderID -> clOrdID, the latest
        self._changed = threading.Condition(threading.RLock())   # guards all of the above and every batch

    def send(self, verb, bodies, timeout=None, max_retries=None, begun=None):
        # type: (str, Sequence[Dict[str, Any]], Optional[float], Optional[int], Any) -> List[Any]
        """Create (POST) or amend (PUT) each order with a request of its own; return a row or an error for each.

        ``begun`` is called once, as soon as the first of several is on its way, or before a single one; in any case.
        Raise AuthenticationError when the key is refused.  When the caller is interrupted, ``unsettled`` names what may
        have been carried out.
        """
        batch = Batch(verb, bodies, timeout, max_retries)
        try:
            if len(bodies) == 1:
                if begun is not None:
                    begun()
                if self._is_ready(batch, 0) and self._has_turn(batch, 0):
                    self._carry_out(batch, 0)
            else:
                self._hand_out(batch, begun)
        except BaseException:   # an interrupt: whatever is under way may be carried out, the rest is not sent
            self._abandon(batch)
            raise
        if batch.refused_key is not None:
            raise batch.refused_key
        if batch.unknown:
            self._settle(batch)
        return batch.outcomes

    def cancel(self, body, path='order', query=None, timeout=None, max_retries=None):
        # type: (Any, str, Any, Optional[float], Optional[int]) -> Any
        """Cancel what ``body`` names; return the rows, or None when nothing of it rests any more.

        A list of which the exchange does not know one order is sent again in parts, so that the others are cancelled.
        """
        field, names = _listed(body)
        if len(names) < 2:
            return self._cancel(body, path, query, timeout, max_retries)
        rows, parts = [], [names]   # type: List[Any], List[List[str]]
        is_gone = True
        while parts:
            part = parts.pop(0)
            answer = self._cancel(dict(body, **{field: part}), path, query, timeout, max_retries)
            if answer is not None:
                is_gone = False
                rows += answer
            elif len(part) > 1:   # one of many is unknown: which of them, and do the others rest?
                parts[:0] = [part[:len(part) // 2], part[len(part) // 2:]]
        return None if is_gone else rows

    def look_up(self, clOrdIDs, orderIDs, max_retries=None, timeout=None):
        # type: (Iterable[str], Iterable[str], Optional[int], Optional[float]) -> List[Dict[str, Any]]
        """Return the exchange's rows of those orders, newest first; unknown ones are missing."""
        rows = []  # type: List[Dict[str, Any]]
        for field, values in (('clOrdID', list(clOrdIDs)), ('orderID', list(orderIDs))):
            for start in range(0, len(values), ASKED):
                query = {'filter': {field: values[start:start + ASKED]}, 'count': PAGE, 'reverse': True}
                rows += self._client.request('GET', 'order', query, timeout=timeout, max_retries=max_retries)
        return rows

    def unsettled(self):
        # type: () -> List[str]
        """Return the names (or ids) of orders with a command that was sent and may have been carried out."""
        with self._changed:
            names = set(self._unsure)
        if self.ledger is not None:
            names.update(record.name for record in self.ledger.unresolved())
        return sorted(names)

    def resolve_due(self, rows=(), now=None):
        # type: (Iterable[Dict[str, Any]], Optional[float]) -> List[Tuple[Any, Optional[Dict[str, Any]]]]
        """Look for the commands of unknown fate whose next look is due; return those that are settled now.

        Each comes as (record of the ledger, row), the row None where the command was certainly not carried out.
        ``rows`` are order rows that are at hand, such as the live table's: what they show needs no question.  Sends one
        request at most for a hundred orders, and waits neither between looks nor long for its turn.  Raise what a GET
        raises.
        """
        ledger = self.ledger
        if ledger is None:
            return []
        now = self._client.clock.monotonic() if now is None else now
        settled = []   # type: List[Tuple[Any, Optional[Dict[str, Any]]]]
        waiting = [record for record in ledger.unresolved() if record.state == UNKNOWN]
        if not waiting:
            return settled
        rows = list(rows)
        waiting = [record for record in waiting if not self._found_in(rows, record, settled)]
        due = [record for record in ledger.due(now) if record in waiting]
        if not due or self._client.seconds_to_wait(retry.READ, '/order') > BUSY:
            return settled
        found = self.look_up(sorted({record.clOrdID for record in due if record.clOrdID}),
                             sorted({record.orderID for record in due if record.orderID and not record.clOrdID}), 0,
                             SHORT)
        for record in due:
            if not self._found_in(found, record, settled) and ledger.looked(record, now):
                settled.append((record, None))
                with self._changed:
                    self._unsure.discard(record.clOrdID)
        return settled

    def resolve_now(self):
        # type: () -> None
        """Settle the commands of unknown fate of which the exchange shows what became, without waiting for the next
        look; raise what a GET raises."""
        waiting = [] if self.ledger is None else [record for record in self.ledger.unresolved()
                                                  if record.state == UNKNOWN]
        if waiting:
            self.resolve_due(self.look_up({record.clOrdID for record in waiting if record.clOrdID},
                                          {record.orderID for record in waiting
                                           if record.orderID and not record.clOrdID}, 0, SHORT))

    def close(self):
        # type: () -> None
        """End the threads, and write the ledger's last lines."""
        self._pool.close()
        if self.ledger is not None:
            self.ledger.close()

    # One command

    def _is_ready(self, batch, place):
        # type: (Batch, int) -> bool
        """Wait until the order has no other command under way and write this one down; False: it is not sent."""
        body = batch.bodies[place]
        names = self._keys(body)
        if self.ledger is not None and self.ledger.is_unknown(names):
            error = OutcomeUnknown('not sent: what became of an earlier command for {} is not known yet'
                                   .format(' '.join(sorted(names))), names_of(body))
            batch.outcomes[place] = error
            return False
        with self._changed:
            while not self._busy.isdisjoint(names):
                self._changed.wait(1.0)
            batch.flying.add(place)   # first: whatever interrupts us, _abandon frees what is flying
            self._busy |= names
        if self.ledger is not None:
            try:
                name = Named(_first(body, 'clOrdID', 'origClOrdID') or self._ids.get(body.get('orderID') or '', ''),
                             body.get('orderID') or '', body.get('symbol') or '', body)
                batch.records[place] = self.ledger.begin(KINDS[batch.verb], [name], self._client.now())[0]
            except MarketMakerError as error:   # it cannot be written down
                self._finish(batch, place, error)
                return False
        return True

    def _has_turn(self, batch, place):
        # type: (Batch, int) -> bool
        """Wait until the limits let an order go; False: it is not sent.  Before that it is certainly not there."""
        try:
            self._client.take_turn(KINDS[batch.verb], '/order', batch.verb + ' /order')
        except MarketMakerError as error:
            self._finish(batch, place, error)
            return False
        batch.handed.add(place)
        return True

    def _carry_out(self, batch, place):
        # type: (Batch, int) -> None
        """Send one order and note what became of it; an interrupt passes through."""
        body = batch.bodies[place]
        names = names_of(body)
        gate = None if self.gate is None else functools.partial(self.gate, body)
        began = self._client.now()
        try:
            # A drawn name that is called a duplicate at its first sending was sent twice on the way: it is there.
            is_there = not self._unsure.isdisjoint(names)
            if batch.verb == 'POST' and not is_there and is_drawn(body.get('clOrdID')):
                is_there = True
                batch.drawn.add(place)
            # Who sends a single order waits for its answer, and for nothing before.
            written = None if batch.halt is None else functools.partial(self._written, batch, place)
            outcome = self._client.request(batch.verb, 'order', None, body, batch.timeout, batch.max_retries, names,
                                           is_there, True, batch.halt, written, gate)   # type: Any
        except (MarketMakerError, ValueError, TypeError) as error:
            outcome = error
        self._finish(batch, place, outcome, began)

    def _in_thread(self, batch, place):
        # type: (Batch, int) -> None
        """Do what _carry_out does on a thread of the pool, where nobody hears of an error."""
        try:
            self._carry_out(batch, place)
        except BaseException as error:   # ours, in code that has none: it is the caller's to raise
            self._report(logging.ERROR, 'sending an order failed: %r', error)
            self._finish(batch, place, OutcomeUnknown('sending it failed: {!r}'.format(error),
                                                      names_of(batch.bodies[place])))

    def _finish(self, batch, place, outcome, began=0.0):
        # type: (Batch, int, Any, float) -> None
        """Note the outcome of one order, and whether the rest of the list is still sent."""
        body = batch.bodies[place]
        with self._changed:
            batch.flying.discard(place)
            self._busy -= self._keys(body)
            if isinstance(outcome, (ValueError, TypeError)):
                outcome = OrderRejected('{} cannot be sent: {}'.format(describe(body), outcome))
            batch.outcomes[place] = outcome
            if isinstance(outcome, OutcomeUnknown):
                batch.unknown[place] = began, outcome
                batch.silent += 1
                self._is_clean = False
                self._unsure.update(outcome.clOrdIDs)
                if batch.silent >= SILENT and batch.stopped is None:   # the others would only wait as long
                    batch.stopped = ConnectionLost('not sent, for the exchange left {} orders before without an answer'
                                                   .format(batch.silent))
            elif isinstance(outcome, AuthenticationError):
                batch.refused_key = batch.stopped = outcome
            elif isinstance(outcome, (ConnectionLost, RateLimited, Overloaded)):
                batch.stopped = outcome
                self._is_clean = False
            elif began:   # the exchange has answered
                batch.silent = 0
                self._is_clean = True
                if not isinstance(outcome, Exception):
                    self._remember(outcome)
                    self._unsure.difference_update(names_of(body))
            self._changed.notify_all()
        if self.heard is not None and isinstance(outcome, dict) and outcome.get('orderID'):
            self.heard(outcome)
        record = batch.records.get(place)
        if record is not None:
            self._note(record, outcome)

    def _note(self, record, outcome):
        # type: (Any, Any) -> None
        now = self._client.now()
        if isinstance(outcome, OutcomeUnknown):
            self.ledger.end(record, UNKNOWN, note=str(outcome), now=now)
        elif isinstance(outcome, Exception):
            self.ledger.end(record, REFUSED, note=getattr(outcome, 'message', '') or str(outcome), now=now)
        else:
            self.ledger.end(record, SETTLED, outcome if isinstance(outcome, dict) else None, now=now)

    def _remember(self, row):
        # type: (Any) -> None
        if isinstance(row, dict) and row.get('orderID') and row.get('clOrdID'):
            self._ids[row['orderID']] = row['clOrdID']
            if len(self._ids) > KNOWN_IDS:
                self._ids.popitem(last=False)   # type: ignore[call-arg]

    def _keys(self, body):
        # type: (Dict[str, Any]) -> set
        """Return what the order of a command is called, one name an order where we know both."""
        names = {str(body[name]) for name in ('clOrdID', 'origClOrdID') if body.get(name)}
        if body.get('orderID'):
            names.add(self._ids.get(body['orderID'], body['orderID']))
        return names

    # Lists

    def _hand_out(self, batch, begun):
        # type: (Batch, Any) -> None
        """Hand the orders to the pool in their order, each when it is its turn, and wait for all that were sent."""
        for place in range(len(batch.bodies)):
            self._wait_for_room(batch)
            if batch.stopped is not None:
                break
            if not self._is_ready(batch, place) or not self._has_turn(batch, place):
                continue
            self._pool.hand(functools.partial(self._in_thread, batch, place))
            self._wait_until_written(batch, place)
            if begun is not None:
                begun()
                begun = None
        if begun is not None:
            begun()
        with self._changed:
            while batch.flying:
                self._changed.wait(1.0)   # each of them ends, for every request has its time
        for place, outcome in enumerate(batch.outcomes):
            if outcome is None:
                batch.outcomes[place] = batch.stopped

    def _wait_for_room(self, batch):
        # type: (Batch) -> None
        with self._changed:
            while len(batch.flying) >= (self._pool.size if self._is_clean else 1):
                self._changed.wait(1.0)

    def _written(self, batch, place):
        # type: (Batch, int) -> None
        with self._changed:
            batch.written.add(place)
            self._changed.notify_all()

    def _wait_until_written(self, batch, place):
        # type: (Batch, int) -> None
        """Wait until a request has gone out, so that they arrive in their order; not for one that has to connect."""
        deadline = time.monotonic() + HEAD_START
        with self._changed:
            while place in batch.flying and place not in batch.written and time.monotonic() < deadline:
                self._changed.wait(HEAD_START)

    def _abandon(self, batch):
        # type: (Batch) -> None
        """Give up a list whose caller was interrupted; what the pool is sending ends by itself and is noted then."""
        alone = batch.halt is None
        if not alone:
            batch.halt.set()
        with self._changed:
            unsent = batch.flying - batch.handed
            for place in list(batch.flying):
                if place not in unsent:
                    self._unsure.update(names_of(batch.bodies[place]))
                if alone or place in unsent:   # nobody else will say what became of it
                    batch.flying.discard(place)
                    self._busy -= self._keys(batch.bodies[place])
            self._changed.notify_all()
        for place, record in list(batch.records.items()):
            if batch.outcomes[place] is None:
                self.ledger.end(record, REFUSED if place in unsent else UNKNOWN, note='cut off by a stop')

    # Orders of unknown fate

    def _settle(self, batch):
        # type: (Batch) -> None
        """Look for the orders of unknown fate until each is found, a few times; what is not found stays unknown."""
        left = {place: known for place, known in batch.unknown.items() if known[1].clOrdIDs}   # others cannot be found
        has_looked = False   # the last look was answered
        for seconds in retry.LOOKS if self.ledger is None else SHORT_LOOKS:
            if not left:
                return
            has_looked = False
            try:
                self._client.wait(seconds, batch.outcomes[min(left)])
                bodies = [batch.bodies[place] for place in sorted(left)]
                rows = self.look_up([name for body in bodies for name in clOrdIDs(body)],
                                    [body['orderID'] for body in bodies if body.get('orderID')], 0)
            except OutcomeUnknown:  # a stop came while we waited
                return
            except (APIError, ConnectionLost) as error:
                self._report(logging.WARNING, 'looking for orders of unknown fate: %s', error)
                continue
            for place in list(left):
                found = what_became(batch.verb, batch.bodies[place], rows, left[place][0] - CLOCK_DOUBT)
                if found is not None:
                    batch.outcomes[place] = found
                    with self._changed:
                        self._unsure.difference_update(left.pop(place)[1].clOrdIDs)
                    if place in batch.records:
                        self._note(batch.records[place], found)
            has_looked = True
        for place in left if has_looked else ():
            unknown = left[place][1]
            if place in batch.drawn and DUPLICATE in str(unknown).lower():
                # It was called a duplicate of an order that is not there: so nothing is.
                batch.outcomes[place] = OrderRejected('{}, and no order of that name is there'.format(
                    str(unknown).partition(';')[0]))
                with self._changed:
                    self._unsure.difference_update(unknown.clOrdIDs)
                if place in batch.records:
                    self._note(batch.records[place], batch.outcomes[place])

    def _found_in(self, rows, record, settled):
        # type: (List[Dict[str, Any]], Any, List[Any]) -> bool
        """Settle a command of unknown fate if the rows show what became of it."""
        found = _fate(record, rows)
        if found is None:
            return False
        state, row, note = found
        self.ledger.end(record, state, row, note, self._client.now())
        with self._changed:
            self._unsure.difference_update((record.clOrdID, record.orderID))
        settled.append((record, row))
        return True

    # Cancels

    def _cancel(self, body, path, query, timeout, max_retries):
        # type: (Any, str, Any, Optional[float], Optional[int]) -> Any
        """Send one request to cancel, and note for each order of it what came of it."""
        orders = self._cancelled(body, query)
        keys = {self._ids.get(order.orderID, order.orderID) or order.clOrdID for order in orders}
        mine = self._claim(keys)
        records = self.ledger.begin(retry.CANCEL, orders, self._client.now()) if self.ledger is not None else []
        try:
            rows = self._client.request('DELETE', path, query, body, timeout, max_retries)
        except BaseException as error:
            was_sent = not isinstance(error, (RateLimited, AuthenticationError))
            for record in records:
                self.ledger.end(record, UNKNOWN if was_sent else REFUSED, note=str(error), now=self._client.now())
            raise
        finally:
            with self._changed:
                self._busy -= mine
                self._changed.notify_all()
        answers = {}   # type: Dict[str, Any]
        for row in rows or ():
            if isinstance(row, dict):
                self._remember(row)
                answers.update({row[name]: row for name in ('orderID', 'clOrdID') if row.get(name)})
        for record in records:
            row = answers.get(record.orderID) or answers.get(record.clOrdID)
            is_refused = bool(row and row.get('error') and not _says_finished(row['error']))
            self.ledger.end(record, REFUSED if is_refused else SETTLED, row,
                            '' if row else 'it rests no more', self._client.now())
        return rows

    def _claim(self, keys):
        # type: (set) -> set
        """Mark orders as having a cancel under way, and return those to free again; it waits for others but a
        moment."""
        deadline = self._client.clock.monotonic() + TRUCE
        with self._changed:
            while not self._busy.isdisjoint(keys):
                left = deadline - self._client.clock.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            mine = keys - self._busy
            self._busy |= mine
            return mine

    def _cancelled(self, body, query):
        # type: (Any, Any) -> List[Named]
        """Return the orders that a cancel names; of one that names a kind of orders only ('all'), a single '*'."""
        asked = dict(query) if isinstance(query, dict) else {}
        asked.update(body if isinstance(body, dict) else {})
        orders = []
        for field in ('orderID', 'clOrdID'):
            values = asked.get(field) or ()
            for value in values.split(',') if isinstance(values, str) else values:
                name = value if field == 'clOrdID' else self._ids.get(value, '')
                orders.append(Named(str(name), str(value) if field == 'orderID' else '', '', {}))
        return orders or [Named('*', '', str(asked.get('symbol') or ''), asked)]


def what_became(verb, body, rows, since):
    # type: (str, Dict[str, Any], List[Dict[str, Any]], float) -> Any
    """Return the row or the error that settles what became of a request, or None; ``since`` is in exchange time."""
    for row in rows:
        if row.get('orderID') != body['orderID'] if body.get('orderID') else row.get('clOrdID') not in clOrdIDs(body):
            continue
        if verb == 'POST':
            if not retry.is_finished(row) or retry.unix_time(row.get('transactTime') or row.get('timestamp')) >= since:
                return row   # else an order of earlier times that had the same name
        elif retry.is_applied(row, body):
            return row
        elif retry.is_finished(row):
            message = 'Invalid ordStatus: {}'.format(row.get('ordStatus'))
            return APIError('PUT /order: {}'.format(message), status=400, name='HTTPError', message=message)
    return None


def names_of(body: Dict[str, Any]) -> List[str]:
    """Return what a request to create or amend calls its order: its clOrdIDs, else its order id."""
    return clOrdIDs(body) or [body[name] for name in ('orderID',) if body.get(name)]


def clOrdIDs(body: Dict[str, Any]) -> List[str]:
    """Return the clOrdIDs in a request."""
    return [str(body[name]) for name in ('clOrdID', 'origClOrdID') if body.get(name)]


def describe(order: Dict[str, Any]) -> str:
    """Return an order as the log shows it: 'Sell 100 @ 389.88', with whatever of it is there."""
    words = [order.get('side'), order.get('orderQty', order.get('leavesQty')), '@',
             order.get('price', order.get('stopPx', 'market'))]
    return ' '.join(str(word) for word in words if word is not None)


def _fate(record, rows):
    # type: (Any, List[Dict[str, Any]]) -> Optional[Tuple[str, Dict[str, Any], str]]
    """Return (state, row, note) of a command of unknown fate when the rows tell; None while they do not."""
    since = record.began - CLOCK_DOUBT
    for row in rows:
        is_it = row.get('clOrdID') == record.clOrdID if record.clOrdID else row.get('orderID') == record.orderID
        if not is_it:
            continue
        if record.kind == retry.CANCEL:
            if retry.is_finished(row) or row.get('leavesQty') == 0:
                return SETTLED, row, ''
            continue
        found = what_became('POST' if record.kind == retry.CREATE else 'PUT', record.body, [row], since)
        if isinstance(found, Exception):
            return REFUSED, row, getattr(found, 'message', '')
        if found is not None:
            return SETTLED, row, ''
    return None


def _says_finished(error):
    # type: (Any) -> bool
    """Tell whether a cancel was refused because its order rests no more: as good as cancelled."""
    words = str(error).lower()
    return any(word in words for word in ('canceled', 'filled', 'not found', 'invalid orderid', 'existing state'))


def _listed(body):
    # type: (Any) -> Tuple[str, List[str]]
    """Return (field, names) of a cancel that lists orders by one field; ('', []) of any other."""
    if isinstance(body, dict):
        fields = [field for field in ('orderID', 'clOrdID') if isinstance(body.get(field), (list, tuple))]
        if len(fields) == 1 and not body.get('clOrdID' if fields[0] == 'orderID' else 'orderID'):
            return fields[0], list(body[fields[0]])
    return '', []


def _first(body, *names):
    # type: (Dict[str, Any], *str) -> str
    for name in names:
        if body.get(name):
            return str(body[name])
    return ''
