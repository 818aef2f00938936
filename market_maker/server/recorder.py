"""Writes down what the exchange sees of one account, as evidence for the judge: requests, answers, orders, frames.

It stands at four places: around the answering of a request, behind the rate limits, where changes leave the engine, and
behind the last fault on the way to a socket; what it notes as delivered has really been written.  It changes nothing.
"""
import contextvars
import json
import struct
import time
import zlib
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker.judge.evidence import (Closed, Execution, Frame, Opened, OrderRow, Reply, Request,  # noqa: F401
                                         Trouble)
from market_maker.server import rest

TABLES = ('order', 'execution')   # of the account, that the judge reads
LONGEST_TEXT = 200                # characters of an answer that are kept
SIGN_OF_LIFE = ''                 # the table of a frame that has none
TEXT, PONG = 1, 10                # opcodes (RFC 6455)

_under_way = contextvars.ContextVar('under_way', default=None)  # type: contextvars.ContextVar[Optional[int]]


class Recorder(object):
    """The record of the account that the API key ``key`` belongs to; belongs to the event loop's thread.

    ``events`` grow until somebody takes them away.  ``symbol`` is the contract that the bot quotes.
    """

    def __init__(self, server: Any, key: str, symbol: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.events = []     # type: List[Any]
        self.troubles = []   # type: List[Trouble]
        self.key = key
        self.symbol = symbol
        self._server = server
        self._clock = clock
        self._orders = {}    # type: Dict[str, Dict[str, Any]]
        self._requests = 0
        self._sessions = {}  # type: Dict[Any, int]
        self._opened = 0
        self._verdicts = {}  # type: Dict[int, Any]   # number of a request -> what the limits said of it
        self._faults = {}    # type: Dict[Any, float]   # fault that is on -> since when
        self._shown = {}     # type: Dict[str, Tuple[Any, Any]]   # table -> bid and ask that it told last
        for row in server.exchange.rows('order', self._account()):
            self._note_order(dict(row), None)

    def _account(self) -> Any:
        return self._server.exchange.account_of(self.key)

    def _is_ours(self, key: Optional[str]) -> bool:
        account = self._server.exchange.account_of(key or '')
        return account is not None and account is self._account()

    # Requests

    async def watch(self, request: Any, target: str, onward: Callable[[], Any]) -> Any:
        """Note a request, let ``onward`` answer it, and note what was sent."""
        key = request.headers.get('api-key')
        if not self._is_ours(key):
            return await onward()
        self._requests += 1
        number = self._requests
        body = await request.read() if request.body_exists else b''
        path, _, query = target[len(rest.BASE):].partition('?')
        self.events.append(Request(self._clock(), number, key, request.method, path, _fields(query, body, request)))
        token = _under_way.set(number)
        response = None
        try:
            response = await onward()
            return response
        finally:
            _under_way.reset(token)
            self.events.append(self._reply(number, request, response))

    def _reply(self, number: int, request: Any, response: Any) -> Reply:
        """Return how a request ended; one whose client has gone, or cannot read its answer, got none."""
        verdict = self._verdicts.pop(number, None)
        is_charged = verdict is not None and verdict.allowed and self._server.limits.enabled
        is_limited = verdict is not None and not verdict.allowed
        transport = request.transport
        if response is None or transport is None or transport.is_closing():
            return Reply(self._clock(), number, 0, None, '', False, is_charged, is_limited, ())
        try:
            payload = json.loads(bytes(response.body).decode('utf-8')) if response.body else None
            is_read = True
        except ValueError:
            payload, is_read = None, response.status >= 400
        wait = response.headers.get('Retry-After')
        error = payload.get('error') if isinstance(payload, dict) else None
        text = str(error.get('message') if isinstance(error, dict) else error or '')
        rows = payload if isinstance(payload, list) else [payload]
        named = tuple((row['orderID'], row.get('clOrdID') or '') for row in rows
                      if isinstance(row, dict) and row.get('orderID') and not row.get('error'))
        return Reply(self._clock(), number, response.status, float(wait) if wait else None, text[:LONGEST_TEXT],
                     is_read, is_charged, is_limited, named)

    def apart(self, publish: Callable[[], None]) -> None:
        """Let ``publish`` send out changes that the request under way has not caused."""
        token = _under_way.set(None)
        try:
            publish()
        finally:
            _under_way.reset(token)

    def charged(self, verdict: Any) -> None:
        """Note what the limits said of the request under way."""
        number = _under_way.get()
        if number is not None:
            self._verdicts[number] = verdict

    # Orders and executions

    def changed(self, changes: Iterable[Any]) -> None:
        """Note the changes of the account that leave the engine now; the request under way has caused them."""
        account = self._account()
        if account is None:
            return
        for change in changes:
            if change.account_id != account.id or change.table not in TABLES:
                continue
            for row in change.rows:
                if change.table == 'execution':
                    self.events.append(Execution(self._clock(), _under_way.get(), dict(row)))
                else:
                    self._note_order(dict(self._orders.get(row['orderID'], {}), **row), _under_way.get())

    def _note_order(self, row: Dict[str, Any], cause: Optional[int]) -> None:
        self._orders[row['orderID']] = row
        self.events.append(OrderRow(self._clock(), cause, row))

    # Sockets

    def opened(self, session: Any, topics: Iterable[str]) -> None:
        """Note a socket of the account, and from now on what is written to it."""
        key = session.key.key if session.key is not None else ''
        if not self._is_ours(key):
            return
        self._opened += 1
        self._sessions[session] = self._opened
        tables = tuple(topic.partition(':')[0] for topic in topics)
        self.events.append(Opened(self._clock(), self._opened, key, tables))
        session.divert(Tap(session.transport, lambda text: self._delivered(session, text)))

    def closed(self, session: Any) -> None:
        """Note its end."""
        number = self._sessions.pop(session, None)
        if number is not None:
            self.events.append(Closed(self._clock(), number))

    def _delivered(self, session: Any, text: Optional[bytes]) -> None:
        number = self._sessions.get(session)
        if number is None:
            return
        message = json.loads(text.decode('utf-8')) if text is not None and text[:1] == b'{' else {}
        table, rows = message.get('table', SIGN_OF_LIFE), message.get('data') or []
        of_symbol = [row for row in rows if isinstance(row, dict) and row.get('symbol') == self.symbol]
        ids = tuple(row['orderID'] for row in rows if row.get('orderID')) if table == 'order' else ()
        self.events.append(Frame(self._clock(), number, table, message.get('action', ''), ids,
                                 self._touch(table, of_symbol), bool(of_symbol)))

    def _touch(self, table: str, rows: List[Dict[str, Any]]) -> Optional[Tuple[Any, Any]]:
        """Return the bid and ask that a message tells of the contract, None where it tells none."""
        if table not in ('quote', 'instrument'):
            return None
        for row in reversed(rows):
            if 'bidPrice' in row or 'askPrice' in row:
                known = self._shown.get(table, (None, None)) if table == 'instrument' else (None, None)
                touch = row.get('bidPrice', known[0]), row.get('askPrice', known[1])
                self._shown[table] = touch
                return touch
        return None

    # Faults

    def trouble(self, fault: Any) -> None:
        """Note that a fault begins or ends.

        One that strikes a request here and there is none for the time between: its answers speak for themselves.
        """
        if fault.strikes_requests and fault.options['rate'] < 1 and fault.options['seconds'] is None:
            return
        if fault.is_on:
            self._faults[fault] = self._clock()
        elif fault in self._faults:
            self.troubles.append(Trouble(self._faults.pop(fault), self._clock(), in_words(fault)))


class Tap(object):
    """Stands before the transport of a session, last of all, and reads the frames that are written to it."""

    def __init__(self, transport: Any, note: Callable[[Optional[bytes]], None]) -> None:
        self._transport = transport
        self._note = note

    def write(self, data: bytes) -> None:
        """Send bytes: whole frames, for that is how sessions write."""
        if self._transport.is_closing():
            return
        self._transport.write(data)
        for opcode, payload in frames(data):
            self._note(payload if opcode == TEXT else None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def frames(data: bytes) -> List[Tuple[int, bytes]]:
    """Return the opcodes and payloads of the unmasked WebSocket frames in ``data``."""
    found, place = [], 0
    while place < len(data):
        first, length = data[place], data[place + 1]
        place += 2
        if length == 126:
            length, place = struct.unpack_from('!H', data, place)[0], place + 2
        elif length == 127:
            length, place = struct.unpack_from('!Q', data, place)[0], place + 8
        payload = data[place:place + length]
        if first & 0x40:   # compressed (RFC 7692)
            payload = zlib.decompressobj(-15).decompress(payload + b'\x00\x00\xff\xff')
        found.append((first & 0x0f, payload))
        place += length
    return found


def in_words(fault: Any) -> str:
    """Return a fault as a table shows it; those that strike requests begin with ``rest``."""
    options = fault.row()['options']
    words = ','.join('{}={}'.format(name, options[name]) for name in sorted(options))
    return '{} {}{}'.format('rest' if fault.strikes_requests else 'other', fault.name, ' ' + words if words else '')


def _fields(query: str, body: bytes, request: Any) -> Dict[str, Any]:
    """Return the parameters of a request, wherever they stand; what cannot be read is left out."""
    fields = dict(rest.query_of(query))
    try:
        fields.update(rest.body_of(body.decode('utf-8'), request.headers.get('Content-Type', '')))
    except (rest.Refusal, UnicodeDecodeError):
        fields['body'] = 'unreadable'
    return fields
