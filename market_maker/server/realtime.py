"""The WebSocket side of the local exchange: sessions, their topics, and the one place that sends changes out.

A change is serialised and framed once and the same bytes go to every subscriber, straight to the transport: frames of a
server are not masked, so they are the same for all.  Nobody is waited for.  What a client does not read stays in its
transport's buffer, and a client that lets more than ``UNREAD_LIMIT`` bytes pile up is dropped, so that one stalled
reader costs the others, and the market, nothing.

Wire formats: BitMEX, "WebSocket API".
"""
import logging
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple  # noqa: F401

from aiohttp import WSMsgType, web

from market_maker.server import wire
from market_maker.server.limits import Limits
from market_maker.simulator import authentication, schema
from market_maker.simulator.exchange import Refusal

logger = logging.getLogger('root')

DOCS = 'https://www.bitmex.com/app/wsAPI'
UNREAD_LIMIT = 4 * 1024 * 1024   # bytes that a client may leave unread before it is dropped
CHECK_EVERY = 64 * 1024          # bytes between two looks at how much is unread: looking is not free
MOST_ERRORS = 100                # refused commands in one session before it is closed
LONGEST_COMMAND = 1024 * 1024    # bytes of one frame from a client
ACCOUNT_LOCKED = 'account,affiliate,execution,margin,order,position,privateNotifications,transact,wallet'

# Feeds whose acks name the pool that they show, since 2026-05-19.
POOLED = ('orderBookL2', 'orderBookL2_25', 'orderBookL2_100', 'orderBook10', 'quote', 'trade')

# Old names of the same command; the number that they sign is a nonce, which as a time lies far in the future.
AUTHENTICATE = ('authKeyExpires', 'authExpires', 'authKey')

Frame = NamedTuple('Frame', [('table', str), ('action', str), ('rows', List[Dict[str, Any]]), ('message', Any),
                             ('symbol', Optional[str])])
Frame.__doc__ = """A message on its way to one session; ``symbol`` is None for a table that is not kept by contract."""

Topic = Tuple[str, Optional[str], Optional[int]]   # table, symbol or None for all, account id or None for public


class Complaint(Exception):
    """One command that is refused: ``status``, ``text`` and ``meta`` of the error frame."""

    def __init__(self, status: int, text: str, meta: Optional[Dict[str, Any]] = None) -> None:
        Exception.__init__(self, text)
        self.status = status
        self.text = text
        self.meta = meta or {}


class Session(object):
    """One connected client: its topics, its account, and the bytes on their way to it."""

    __slots__ = ('topics', 'account', 'key', 'errors', 'address', 'transport', '_hub', '_deflate', '_pending',
                 '_unchecked')

    def __init__(self, hub: 'Hub', transport: Any, deflate: bool, address: str) -> None:
        self.topics = {}      # type: Dict[Topic, None]  # in the order of subscription
        self.account = None   # type: Any
        self.key = None       # type: Any  # that the client logged in with
        self.errors = 0
        self.address = address
        self._hub = hub
        self.transport = transport
        self._deflate = deflate
        self._pending = []    # type: List[bytes]
        self._unchecked = 0

    def push(self, message: wire.Message) -> None:
        """Queue a message; the hub sends what is queued before it returns to the event loop."""
        if not self._pending:
            self._hub.dirty.append(self)
        self._pending.append(message.deflated() if self._deflate else message.plain)

    def reply(self, payload: bytes) -> None:
        """Queue one message for this client alone."""
        self.push(wire.Message(payload))

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping frame."""
        if not self._pending:
            self._hub.dirty.append(self)
        self._pending.append(wire.frame(wire.PONG, payload))

    def say_goodbye(self) -> None:
        """Send a close frame (1001, going away)."""
        if not self.transport.is_closing():
            self.transport.write(wire.frame(wire.CLOSE, wire.GOING_AWAY))

    def divert(self, transport: Any) -> None:
        """Send everything from now on through ``transport``, which stands before the real one."""
        self.transport = transport

    def flush(self) -> None:
        """Hand what is queued to the transport, and drop the client when it does not read."""
        pending = self._pending
        data = pending[0] if len(pending) == 1 else b''.join(pending)
        pending.clear()
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(data)
        self._unchecked += len(data)
        if self._unchecked >= CHECK_EVERY:
            self._unchecked = 0
            unread = transport.get_write_buffer_size()
            if unread > UNREAD_LIMIT:
                logger.warning('Dropped a WebSocket client from %s that left %d bytes unread.', self.address, unread)
                self._hub.remove(self)
                transport.abort()

    def close(self) -> None:
        """Close the connection once what is queued has been sent."""
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.transport.abort()


class Hub(object):
    """All sessions of one exchange and who of them follows what.

    Belongs to the event loop's thread.  ``flush`` must run after everything that may have changed the exchange, and
    before anything reads an image of it: changes that an image already contains must not follow it.
    """

    def __init__(self, exchange: Any, api: Any, limits: Limits, wall: Callable[[], float],
                 advance: Callable[[], float]) -> None:
        # wall() is the Unix time that limits and expiries are held against; advance() brings the exchange to the
        # present and returns its own time, which in a replay is the recorded one.
        self.sessions = {}    # type: Dict[Session, None]
        self.dirty = []       # type: List[Session]  # with queued bytes
        self._followers = {}  # type: Dict[Topic, Dict[Session, None]]
        self._followed = {}   # type: Dict[Tuple[str, Optional[int]], int]  # table and account -> topics of it
        self.store = None     # type: Any  # keeps every change before anybody is told of it
        self.diary = None     # type: Any  # writes a line for what moves money
        self.faults = None    # type: Any  # what stands between a change and those who follow it
        self.recorder = None  # type: Any  # see LocalExchange.record
        self._exchange = exchange
        self._api = api
        self._limits = limits
        self._wall = wall
        self._advance = advance

    def stamp(self) -> str:
        """Return the exchange's time as it shows it."""
        return self._exchange.stamp()  # type: ignore[no-any-return]

    def follow(self, session: Session, topic: Topic) -> None:
        """Deliver the changes of ``topic`` to ``session`` from now on."""
        session.topics[topic] = None
        followers = self._followers.get(topic)
        if followers is None:
            followers = self._followers[topic] = {}
            self._followed[topic[0], topic[2]] = self._followed.get((topic[0], topic[2]), 0) + 1
        followers[session] = None

    def unfollow(self, session: Session, topic: Topic) -> None:
        """Deliver no more of ``topic``."""
        session.topics.pop(topic, None)
        followers = self._followers.get(topic)
        if followers is not None:
            followers.pop(session, None)
            if not followers:
                del self._followers[topic]
                self._followed[topic[0], topic[2]] -= 1
                if not self._followed[topic[0], topic[2]]:
                    del self._followed[topic[0], topic[2]]

    def remove(self, session: Session) -> None:
        """Forget a session; may be called twice."""
        for topic in list(session.topics):
            self.unfollow(session, topic)
        self.sessions.pop(session, None)

    def flush(self) -> None:
        """Send every change since the last call to those who follow it, and everything else that is queued."""
        changes = self._exchange.drain()
        if self.store is not None:
            self.store.keep(changes)
        if changes:
            if self.recorder is not None:
                self.recorder.changed(changes)
            if self.diary is not None:
                self.diary.note(changes)
            for change in _merged(changes, self._followed):
                self._send(*change)
        self.send_queued()

    def send_queued(self) -> None:
        """Hand queued messages to the transports."""
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            for session in dirty:
                session.flush()

    def _send(self, table: str, action: str, rows: List[Dict[str, Any]], account_id: Optional[int],
              symbol: Optional[str]) -> None:
        everything = self._followers.get((table, None, account_id))
        if symbol is None and schema.TABLES[table][3]:
            self._send_by_symbol(table, action, rows, account_id, everything or {})
            selected = None
        else:
            selected = self._followers.get((table, symbol, account_id)) if symbol is not None else None
        if not everything and not selected:
            return
        sessions = list(everything or ())
        if selected:
            sessions += [session for session in selected if not everything or session not in everything]
        self._deliver(sessions, table, action, rows, symbol)

    def _deliver(self, sessions: List[Session], table: str, action: str, rows: List[Dict[str, Any]],
                 symbol: Optional[str]) -> None:
        """Send rows to some sessions: serialised once, and through the faults where there are any."""
        if not sessions:
            return
        message = wire.Message(wire.dumps({'table': table, 'action': action, 'data': rows}))
        if self.faults is None:
            for session in sessions:
                session.push(message)
        else:
            for session in sessions:
                self.faults.deliver(session, Frame(table, action, rows, message, symbol))

    def _send_by_symbol(self, table: str, action: str, rows: List[Dict[str, Any]], account_id: Optional[int],
                        served: Dict[Session, None]) -> None:
        """Send rows of several symbols to those who follow one of them; ``served`` get them all anyway."""
        by_symbol = {}  # type: Dict[str, List[Dict[str, Any]]]
        for row in rows:
            by_symbol.setdefault(row.get('symbol', ''), []).append(row)
        for symbol, some in by_symbol.items():
            selected = self._followers.get((table, symbol, account_id))
            if selected:
                self._deliver([session for session in selected if session not in served], table, action, some, symbol)

    # What clients say

    def hear(self, session: Session, text: str) -> None:
        """Carry out one text frame of a client and send the answers with everything that it caused."""
        if text == 'ping':
            session.reply(b'pong')
            self.send_queued()
            return
        try:
            now = self._advance()
            if text == 'help':
                session.reply(wire.dumps(self._api.request('GET', '/schema/websocketHelp', {}, {}, None, now)[1]))
            else:
                self._command(session, text, now)
        except Exception:
            logger.exception('A command failed within the local exchange.')
            self._complain(session, Complaint(500, 'Internal Server Error'), {})
        self.flush()

    def subscribe_by_url(self, session: Session, topics: List[str]) -> None:
        """Subscribe to the topics of the URL, as if the client had sent them in one command."""
        self._obey(session, {'op': 'subscribe', 'args': topics}, self._advance())
        self.flush()

    def _command(self, session: Session, text: str, now: float) -> None:
        try:
            request = wire.loads(text)
        except ValueError:
            request = None
        if isinstance(request, dict):
            self._obey(session, request, now)
        else:
            self._complain(session, UNRECOGNIZED, {})

    def _obey(self, session: Session, request: Dict[str, Any], now: float) -> None:
        op, arguments = request.get('op'), request.get('args', [])
        if not isinstance(arguments, list):
            arguments = [arguments]
        if op in ('subscribe', 'unsubscribe') and arguments:
            self._attempt(session, request, self._each, self._subscribe if op == 'subscribe' else self._unsubscribe,
                          arguments)
        elif op in AUTHENTICATE:
            self._attempt(session, request, self._log_in, arguments)
        elif op == 'logout':
            self._attempt(session, request, self._log_out)
        elif op == 'cancelAllAfter':
            self._attempt(session, request, self._cancel_all_after, arguments, now)
        else:
            self._complain(session, UNRECOGNIZED, request)

    def _attempt(self, session: Session, request: Dict[str, Any], act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(session, request, *arguments)
        except Complaint as complaint:
            self._complain(session, complaint, request)
        except Refusal as refusal:
            self._complain(session, Complaint(refusal.status, refusal.message), request)

    def _complain(self, session: Session, complaint: Complaint, request: Dict[str, Any]) -> None:
        session.reply(wire.dumps({'status': complaint.status, 'error': complaint.text, 'meta': complaint.meta,
                                  'request': request}))
        session.errors += 1
        if session.errors >= MOST_ERRORS:
            self.send_queued()
            session.close()

    @staticmethod
    def _each(session: Session, request: Dict[str, Any], act: Callable[..., None], arguments: List[Any]) -> None:
        """Carry out what can be carried out of a command about several topics; raise its first Complaint only.

        That is how BitMEX answered a command whose three topics had been subscribed to before.
        """
        first = None  # type: Optional[Complaint]
        for argument in arguments:
            try:
                act(session, request, argument)
            except Complaint as complaint:
                first = first or complaint
        if first is not None:
            raise first

    def _subscribe(self, session: Session, request: Dict[str, Any], argument: Any) -> None:
        topic = self._topic(session, argument)
        if topic in session.topics:
            raise Complaint(400, 'You are already subscribed to this topic: {}'.format(_spelled(topic)))
        ack = {'success': True, 'subscribe': argument, 'request': request}
        if topic[0] in POOLED:
            ack['pool'] = schema.ALL_POOLS
        session.reply(wire.dumps(ack))
        # What has happened until now is in the image and must not follow it.
        self.flush()
        if self.faults is None or not self.faults.subscribe(
                session, topic, lambda: self._admit(session, topic), lambda: self.follow(session, topic),
                lambda: self._show(session, topic)):
            self._admit(session, topic)

    def _admit(self, session: Session, topic: Topic) -> None:
        """Send the image of a topic and let its changes follow."""
        self._show(session, topic)
        self.follow(session, topic)

    def _show(self, session: Session, topic: Topic) -> None:
        image = self._image(session, topic)
        message = wire.Message(wire.dumps(image))
        if self.faults is None:
            session.push(message)
        else:
            self.faults.deliver(session, Frame(topic[0], 'partial', image['data'], message, topic[1]))

    def _unsubscribe(self, session: Session, request: Dict[str, Any], argument: Any) -> None:
        topic = self._topic(session, argument)
        if topic not in session.topics:
            raise Complaint(400, 'You are not subscribed to this topic: {}'.format(_spelled(topic)))
        self.unfollow(session, topic)
        session.reply(wire.dumps({'success': True, 'unsubscribe': argument, 'request': request}))

    def _topic(self, session: Session, argument: Any) -> Topic:
        """Return the topic that ``table``, ``table:SYMBOL`` or ``table:*`` names for this session; raise Complaint."""
        table, _, symbol = argument.partition(':') if isinstance(argument, str) else (argument, '', '')
        if not isinstance(table, str) or table not in schema.TABLES:
            raise Complaint(400, 'Unknown table: {}. Please see the documentation at {}.'.format(table, DOCS))
        _, _, private, filtered = schema.TABLES[table]
        if private and session.account is None:
            raise Complaint(401, 'User requested an account-locked subscription but no authorization was provided.',
                            {'notes': 'Account-locked tables include the following: ' + ACCOUNT_LOCKED})
        selected = None
        if filtered and symbol not in ('', '*'):
            selected = symbol if symbol in self._exchange.instruments else symbol.upper()
            if selected not in self._exchange.instruments:
                raise Complaint(400, 'Unknown or expired symbol.')
        return table, selected, session.account.id if private else None

    def _image(self, session: Session, topic: Topic) -> Dict[str, Any]:
        table, symbol, account_id = topic
        keys, types, private, _ = schema.TABLES[table]
        selection = {}  # type: Dict[str, Any]
        if account_id is not None:
            selection['account'] = account_id
        if symbol is not None:
            selection['symbol'] = symbol
        rows = self._exchange.rows(table, session.account if private else None, symbol)
        return {'table': table, 'action': 'partial', 'keys': keys, 'types': types, 'filter': selection, 'data': rows}

    def _log_in(self, session: Session, request: Dict[str, Any], arguments: List[Any]) -> None:
        if session.account is not None:
            raise Complaint(400, 'This connection is already authenticated.')
        if len(arguments) != 3:
            raise Complaint(400, '{} takes a key, a time and a signature.'.format(request['op']))
        session.account, session.key = self.authenticate(arguments[0], arguments[1], arguments[2], session.address)
        session.reply(wire.dumps({'success': True, 'request': request}))

    def _log_out(self, session: Session, request: Dict[str, Any]) -> None:
        for topic in [topic for topic in session.topics if topic[2] is not None]:
            self.unfollow(session, topic)
        session.account = session.key = None
        session.reply(wire.dumps({'success': True, 'request': request}))

    def authenticate(self, key: Any, expires: Any, signature: Any, address: str) -> Tuple[Any, Any]:
        """Return the account and the key that signed ``GET/realtime`` until ``expires``; raise Refusal."""
        account = self._api.authenticate_ws(key, expires, signature, self._wall(), address)
        return account, account.key(key)

    def _cancel_all_after(self, session: Session, request: Dict[str, Any], arguments: List[Any], now: float) -> None:
        if session.account is None:
            raise Complaint(401, 'Authorization Required')
        if not authentication.may(session.key, 'cancel'):
            raise Complaint(403, 'Access Denied')
        verdict = self._limits.request('POST', '/order/cancelAllAfter', session.account.id, session.address,
                                       self._wall())
        if not verdict.allowed:
            raise Complaint(429, verdict.message, {'retryAfter': verdict.retry_after})
        body = {'timeout': arguments[0]} if arguments else {}
        _, answer = self._api.request('POST', '/order/cancelAllAfter', {}, body, session.account, now)
        session.reply(wire.dumps(dict(answer, request=request)))


UNRECOGNIZED = Complaint(400, "Unrecognized request. See the docs or send 'help' for more details. "
                              "Please see the documentation at {}.".format(DOCS))


def _merged(changes: Iterable[Any], followed: Dict[Tuple[str, Optional[int]], int]) -> List[List[Any]]:
    """Return the changes that somebody follows as [table, action, rows, account id, symbol], neighbours as one.

    Order within a table stays; between tables BitMEX promises none.  A sweep through ten orders is one message of ten
    trades.
    """
    merged = []  # type: List[List[Any]]
    newest = {}  # type: Dict[Tuple[str, Optional[int]], List[Any]]  # the newest message of each table
    for table, action, rows, account_id, symbol in changes:
        key = (table, account_id)
        if key not in followed:
            continue
        message = newest.get(key)
        if message is not None and message[1] == action and message[4] == symbol:
            message[2].extend(rows)
        else:
            newest[key] = message = [table, action, list(rows), account_id, symbol]
            merged.append(message)
    return merged


def _spelled(topic: Topic) -> str:
    """Return a topic as BitMEX's errors name it: ``order:*`` where no symbol was asked for."""
    return '{}:{}'.format(topic[0], topic[1] or '*')


class Realtime(object):
    """The HTTP upgrade at ``/realtime`` and the reading half of each connection."""

    def __init__(self, hub: Hub, limits: Limits, wall: Callable[[], float], advance: Callable[[], float]) -> None:
        self._hub = hub
        self._limits = limits
        self._wall = wall
        self._advance = advance

    async def handle(self, request: web.BaseRequest, query: Dict[str, str],
                     headers: Optional[Dict[str, str]] = None) -> web.StreamResponse:
        """Serve one WebSocket until it ends, or refuse it with the status that BitMEX gives.

        ``headers`` go on the answer to the upgrade.
        """
        address = request.remote or ''
        # Pings are answered by the session, so that a pong takes its turn among the messages.
        socket = web.WebSocketResponse(compress=True, max_msg_size=LONGEST_COMMAND, autoping=False)
        socket.headers.update(headers or {})
        if not socket.can_prepare(request):
            return _json(400, {'error': 'This address speaks WebSocket: see {}.'.format(DOCS)})
        verdict = self._limits.connection(address, self._wall())
        if not verdict.allowed:
            return _json(429, {'error': verdict.message})
        try:
            account, key = self._credentials(request, query, address)
        except Refusal as refusal:
            return _json(refusal.status, refusal.body())
        await socket.prepare(request)
        if request.transport is not None:
            session = Session(self._hub, request.transport, socket.compress == wire.FULL_WINDOW, address)
            session.account, session.key = account, key
            await self._serve(session, socket, query)
        return socket

    def _credentials(self, request: web.BaseRequest, query: Dict[str, str], address: str) -> Tuple[Any, Any]:
        """Return account and key that headers or query string sign for, twice None without either; raise Refusal."""
        for source in (request.headers, query):
            if source.get('api-key') or source.get('api-signature'):
                return self._hub.authenticate(source.get('api-key'), source.get('api-expires'),
                                              source.get('api-signature'), address)
        return None, None

    async def _serve(self, session: Session, socket: web.WebSocketResponse, query: Dict[str, str]) -> None:
        hub = self._hub
        hub.sessions[session] = None
        try:
            topics = [topic for topic in query.get('subscribe', '').split(',') if topic]
            if hub.recorder is not None:
                hub.recorder.opened(session, topics)
            if hub.faults is not None:
                hub.faults.admit(session)
            session.reply(wire.dumps(self._welcome(session.address)))
            hub.send_queued()
            if topics:
                hub.subscribe_by_url(session, topics)
            async for message in socket:
                if message.type == WSMsgType.PING:
                    session.pong(message.data)
                    hub.send_queued()
                    continue
                if message.type == WSMsgType.PONG:
                    continue
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                # A binary frame is no command, whatever it holds.
                hub.hear(session, message.data if message.type == WSMsgType.TEXT else '')
        finally:
            hub.remove(session)
            if hub.recorder is not None:
                hub.recorder.closed(session)

    def _welcome(self, address: str) -> Dict[str, Any]:
        left = self._limits.connections_left(address, self._wall())
        self._advance()
        return {
            'info': 'Welcome to the BitMEX Realtime API.', 'version': '2.0.0', 'timestamp': self._hub.stamp(),
            'docs': DOCS, 'heartbeatEnabled': False, 'limit': {} if left is None else {'remaining': left},
            'appName': 'bitmex-market-maker',
        }


def _json(status: int, payload: Any) -> web.Response:
    return web.Response(status=status, body=wire.dumps(payload), content_type='application/json')
