"""Trouble with WebSockets: messages lost, late, doubled or out of order, images that do not come, sockets that die.

A fault that knows tables stands between the hub and its sessions (``carry``, ``image``); one that takes a whole socket
exchanges the transport of the session, so that a pong suffers with the rest.
"""
import asyncio
import collections
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple  # noqa: F401

from aiohttp import web

from market_maker.server import rest, wire
from market_maker.server.checks import LONGEST, REQUIRED, flag, number, one_of, text, words
from market_maker.server.faults.fault import Fault
from market_maker.server.faults.requests import UNAVAILABLE, page
from market_maker.server.realtime import Frame
from market_maker.simulator import schema
from market_maker.simulator.exchange import Refusal

MOST_KEPT = 100000    # messages that a silent table keeps

Onward = Callable[[Frame], None]

PRIVATE = ('order', 'execution', 'position', 'margin', 'wallet', 'transact')
TABLES = tuple(sorted(schema.TABLES))


class StreamFault(Fault):
    """Strikes what is sent to the sessions of an account (all: ``account`` not given) of some tables."""

    strikes_streams = True
    OPTIONS = {'tables': (None, words(*TABLES)), 'symbol': (None, text)}

    def concerns(self, session: Any, table: str, symbol: Optional[str]) -> bool:
        """Return whether a message of a table to a session may be struck."""
        tables, wanted = self.options['tables'], self.options['symbol']
        if tables is not None and table not in tables or wanted is not None and symbol != wanted:
            return False
        return self.is_for(session.account)

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Hand a message to ``onward``: now, later, twice, changed, or never."""
        onward(frame)

    def image(self, session: Any, topic: Any, admit: Callable[[], None], follow: Callable[[], None],
              show: Callable[[], None]) -> bool:
        """Subscribe a session in a way of its own and return True, or return False to let it be.

        ``admit`` sends the image, then lets the changes follow; ``follow`` does the second alone, ``show`` the first.
        """
        return False

    def admit(self, session: Any) -> None:
        """Take note of a session that has just been opened."""


class Silence(StreamFault):
    """Tables of which nothing is sent any more; what was kept back is lost, or (``keep``) comes at the end."""

    OPTIONS = dict(StreamFault.OPTIONS, tables=(REQUIRED, words(*TABLES)), keep=(False, flag))

    def __init__(self, *arguments: Any) -> None:
        StreamFault.__init__(self, *arguments)
        self._kept = collections.deque(maxlen=MOST_KEPT)   # type: Deque[Tuple[Onward, Frame]]

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Keep a change back; images still come."""
        if frame.action == 'partial' or not self.strikes():
            onward(frame)
        elif self.options['keep']:
            self._kept.append((onward, frame))

    def end(self) -> None:
        """Send what was kept."""
        while self._kept:
            onward, frame = self._kept.popleft()
            onward(frame)


class Lag(StreamFault):
    """Everything to a client, or the tables that are named, arrives ``delay`` seconds late, in its order."""

    OPTIONS = dict(StreamFault.OPTIONS, delay=(4.0, number(0.0, LONGEST)))

    def __init__(self, *arguments: Any) -> None:
        StreamFault.__init__(self, *arguments)
        self._line = Line(self.server.hub.send_queued)

    def begin(self) -> None:
        """Without tables, take over the sockets that are open."""
        if self.options['tables'] is None:
            for session in list(self.server.hub.sessions):
                self.admit(session)

    def admit(self, session: Any) -> None:
        """Without tables, let all bytes of a session be late."""
        if self.options['tables'] is None and self.is_for(session.account) and self.strikes():
            session.divert(LateTransport(session.transport, self))

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Send it later."""
        if self.options['tables'] is None:
            onward(frame)
        else:
            self.hits += 1
            self.later(lambda: onward(frame))

    def later(self, act: Callable[[], None]) -> None:
        """Do ``act`` after the delay, and after everything that was put off before; at once when the fault is over."""
        if self.is_on:
            self._line.put(self.options['delay'], act)
        else:
            act()

    def end(self) -> None:
        """Send all that is on its way, and step out of it."""
        self._line.hurry()
        for session in list(self.server.hub.sessions):
            session.divert(without(session.transport, self))


class Line(object):
    """Things to do later, strictly one after the other."""

    def __init__(self, after: Callable[[], None]) -> None:
        self._after = after      # what follows whenever something was done
        self._waiting = collections.deque()  # type: Deque[Tuple[float, Callable[[], None]]]

    def put(self, delay: float, act: Callable[[], None]) -> None:
        """Do ``act`` in ``delay`` seconds."""
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + delay, act))
        if len(self._waiting) == 1:
            loop.call_later(delay, self._work)

    def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            self._waiting.popleft()[1]()
        self._after()
        if self._waiting:
            loop.call_later(max(0.0, self._waiting[0][0] - loop.time()), self._work)

    def hurry(self) -> None:
        """Do everything now."""
        waiting, self._waiting = self._waiting, collections.deque()
        for _, act in waiting:
            act()
        self._after()


class Transport(object):
    """Stands before the transport of a session and passes everything on."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Return whether the connection is at its end."""
        return self._transport.is_closing()  # type: ignore[no-any-return]

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait to be sent."""
        return self._transport.get_write_buffer_size()  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()


    def leave_out(self, lag: Lag) -> Any:
        """Return the same without what belongs to a lag that is over."""
        self._transport = without(self._transport, lag)
        return self


def without(transport: Any, lag: Lag) -> Any:
    """Return a transport without what a lag has put before it, or behind what others have put before it."""
    return transport.leave_out(lag) if isinstance(transport, Transport) else transport


class MuteTransport(Transport):
    """Sends nothing."""

    def write(self, data: bytes) -> None:
        """Swallow bytes."""


class LateTransport(Transport):
    """Sends later."""

    def __init__(self, transport: Any, lag: Lag) -> None:
        Transport.__init__(self, transport)
        self._lag = lag

    def write(self, data: bytes) -> None:
        """Send bytes when their time has come."""
        self._lag.later(lambda: None if self._transport.is_closing() else self._transport.write(data))

    def leave_out(self, lag: Lag) -> Any:
        """Return what it stands before, when it is that lag's."""
        return self._transport if self._lag is lag else Transport.leave_out(self, lag)


class SilentSockets(StreamFault):
    """Open sockets fall silent for good: no message, no pong; with ``new`` those that are opened meanwhile as well."""

    OPTIONS = {'new': (False, flag)}

    def concerns(self, session: Any, table: str, symbol: Optional[str]) -> bool:
        """Return False: it knows no tables."""
        return False

    def begin(self) -> None:
        """Silence what is open."""
        for session in list(self.server.hub.sessions):
            self._silence(session)

    def admit(self, session: Any) -> None:
        """Silence a new one, when asked to."""
        if self.options['new']:
            self._silence(session)

    def _silence(self, session: Any) -> None:
        if not isinstance(session.transport, MuteTransport) and self.is_for(session.account) and self.strikes():
            session.divert(MuteTransport(session.transport))


class Duplicates(StreamFault):
    """Messages are sent twice: inserts, or (``actions``) others too."""

    OPTIONS = dict(StreamFault.OPTIONS, actions=(('insert',), words('insert', 'update', 'delete')))

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Send it, and once more."""
        onward(frame)
        if frame.action in self.options['actions'] and self.strikes():
            onward(frame)


class Reordered(StreamFault):
    """Messages of different tables overtake each other within ``delay`` seconds; each table keeps its own order."""

    OPTIONS = dict(StreamFault.OPTIONS, tables=(PRIVATE, words(*TABLES)),
                   delay=(0.05, number(0.0, LONGEST)))

    def __init__(self, *arguments: Any) -> None:
        StreamFault.__init__(self, *arguments)
        self._held = {}   # type: Dict[Any, List[Tuple[Frame, Onward]]]  # by session

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Hold it with what else comes soon."""
        held = self._held.get(session)
        if held is not None:
            held.append((frame, onward))
        elif not self.strikes():
            onward(frame)
        else:
            self._held[session] = [(frame, onward)]
            asyncio.get_running_loop().call_later(self.options['delay'], self._release, session)

    def _release(self, session: Any) -> None:
        held = self._held.pop(session, [])
        tables = sorted({frame.table for frame, _ in held})
        self.rng.shuffle(tables)
        for frame, onward in sorted(held, key=lambda one: tables.index(one[0].table)):
            onward(frame)
        self.server.hub.send_queued()

    def end(self) -> None:
        """Release what is held."""
        for session in list(self._held):
            self._release(session)


class Crossed(StreamFault):
    """Bid and ask change places in the messages of `quote`, `instrument` and `orderBook10`: a crossed book."""

    OPTIONS = {'tables': (('quote', 'instrument', 'orderBook10'), words('quote', 'instrument', 'orderBook10')),
               'symbol': (None, text)}
    PAIRS = (('bidPrice', 'askPrice'), ('bids', 'asks'))

    def begin(self) -> None:
        """Show the crossed touch at once."""
        self._show()

    def end(self) -> None:
        """Show the touch as it is."""
        self._show()

    def _show(self) -> None:
        exchange = self.server.exchange
        self.server.hub.flush()
        for tape in exchange.tapes.values():
            row = tape.quotes[-1]
            exchange.journal.tell('quote', 'insert', [dict(row)], None, tape.symbol)
            exchange.journal.tell('instrument', 'update', [
                {'symbol': tape.symbol, 'bidPrice': row.get('bidPrice'), 'askPrice': row.get('askPrice'),
                 'timestamp': exchange.stamp()}], None, tape.symbol)
        self.server.hub.flush()

    def carry(self, session: Any, frame: Frame, onward: Onward) -> None:
        """Send it the wrong way round."""
        if not self.is_on or not self.strikes():
            onward(frame)
            return
        rows = [self._turned(row) for row in frame.rows]
        payload = wire.loads(frame.message.payload.decode('utf-8'))
        payload['data'] = rows
        onward(frame._replace(rows=rows, message=wire.Message(wire.dumps(payload))))

    def _turned(self, row: Dict[str, Any]) -> Dict[str, Any]:
        turned = dict(row)
        whole = self.server.exchange.instruments[row['symbol']].row if row.get('symbol') else {}
        for bid, ask in self.PAIRS:
            if bid in row or ask in row:
                high, low = row.get(ask, whole.get(ask)), row.get(bid, whole.get(bid))
                if high is not None and low is not None:
                    turned[bid], turned[ask] = high, low
        return turned


class Images(StreamFault):
    """The image of a table is missing, doubled, late, or overtaken by changes (``how``)."""

    OPTIONS = dict(StreamFault.OPTIONS, how=('missing', one_of('missing', 'doubled', 'late', 'early-deltas')),
                   delay=(2.0, number(0.0, LONGEST)))

    def image(self, session: Any, topic: Any, admit: Callable[[], None], follow: Callable[[], None],
              show: Callable[[], None]) -> bool:
        """Send the image as it was asked for."""
        if not self.strikes():
            return False
        how = self.options['how']
        if how == 'doubled':
            admit()
        elif how != 'late':
            follow()
        if how != 'missing':
            asyncio.get_running_loop().call_later(self.options['delay'], self._late, session, topic,
                                                  admit if how == 'late' else show)
        return True

    def _late(self, session: Any, topic: Any, act: Callable[[], None]) -> None:
        hub = self.server.hub
        if session in hub.sessions and (topic in session.topics) == (self.options['how'] != 'late'):
            self.server.advance()
            hub.flush()
            act()
            hub.send_queued()


class RefusedUpgrade(Fault):
    """WebSockets cannot be opened: 503, 429 or 502 HTML."""

    strikes_upgrades = True
    OPTIONS = {'status': ('503', one_of('503', '429', '502'))}

    def refuse_upgrade(self) -> web.Response:
        """Return the answer to an upgrade."""
        status = self.options['status']
        if status == '502':
            return page(502)
        if status == '503':
            return rest.response(rest.refused(Refusal(503, UNAVAILABLE), {}))
        return web.Response(status=429, body=wire.dumps({'error': 'Rate limit exceeded, retry in 1 seconds.'}),
                            headers={'Retry-After': '1'}, content_type='application/json')


class DroppedSockets(Fault):
    """All open sockets are cut, once or ``every`` so many seconds, without a close frame or with one (``close``)."""

    OPTIONS = {'every': (None, number(0.01, LONGEST)), 'close': (False, flag)}

    def begin(self) -> None:
        """Cut now."""
        self._cut()

    def _cut(self) -> None:
        if not self.is_on:
            return
        for session in list(self.server.hub.sessions):
            if self.is_for(session.account) and self.strikes():
                if self.options['close']:
                    session.say_goodbye()
                session.close() if self.options['close'] else session.abort()
        if self.options['every'] is not None and not self.is_spent:
            asyncio.get_running_loop().call_later(self.options['every'], self._cut)
