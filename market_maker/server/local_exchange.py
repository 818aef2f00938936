"""The local exchange as a process sees it: engine, market, REST and WebSocket on one port, and the passing of time.

Everything runs in one event loop and touches the exchange only between two awaits, so there is no lock.  ``running``
puts such a loop into a thread of its own, for tests and for whoever wants an exchange inside his own process.
"""
import asyncio
import concurrent.futures
import contextlib
import errno
import gzip
import hmac
import io
import logging
import os
import random
import socket
import threading
import uuid
from difflib import get_close_matches
from email.utils import formatdate
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple  # noqa: F401

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from market_maker import local
from market_maker.server import accounts, rest
from market_maker.server.control import PATH as CONTROL
from market_maker.server.control import Control, new_token
from market_maker.server.faults import Fault, Faults
from market_maker.server.limits import Limits
from market_maker.server.realtime import Hub, Realtime
from market_maker.server.store import Store
from market_maker.simulator import feed, instruments, market
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Exchange, Refusal
from market_maker.simulator.timestamps import iso
from market_maker.utils.clock import REAL, Clock
from market_maker.utils.constants import VERSION
from market_maker.utils.errors import LocalExchangeError, SettingsError

logger = logging.getLogger('root')

TICK = 0.02            # seconds of wall time between two looks at what is due
LONGEST_STEP = 1.0     # seconds of exchange time after which clients are served again, however much is due
LONG_STEP = 60.0       # ... when the clock is advanced on request
BACKLOG = 1024         # connections that may wait to be accepted
KEEP_ALIVE = 90        # seconds that an idle HTTP connection is kept (BitMEX, keep-alive)
LONGEST_LINE = 65536    # bytes of a request line: a cancel may name hundreds of orders in its query
EVERYWHERE = {'0.0.0.0': '127.0.0.1', '::': '::1', '': '127.0.0.1'}   # where to find who listens on every address
MOST_GUESTS = 1000     # processes that are remembered
UNREADABLE = (feed.BadRow, UnicodeError, EOFError, OSError)   # what a recording may do in the middle of a replay
REST = rest.BASE + '/'
SOCKETS = ('/realtime', '/realtimePlatform')


class Pace(object):
    """Maps the time of the machine to the time of the exchange: the same, or recorded time at some speed."""

    def __init__(self, clock: Clock, start: Optional[float] = None, speed: float = 1.0) -> None:
        self.skew = 0.0           # seconds by which the exchange's own clock is wrong
        self._clock = clock
        self._began = clock.time()
        self.start = self._began if start is None else start   # Unix seconds of exchange time
        self.speed = speed

    def wall(self) -> float:
        """Return the Unix time that limits and expiries are held against: the machine's, unless it is skewed."""
        return self._clock.time() + self.skew

    def now(self) -> float:
        """Return the Unix time that the exchange should have."""
        return self.start + (self._clock.time() - self._began) * self.speed


class HttpLog(logging.LoggerAdapter):
    """Takes what aiohttp has to say: bytes that are no request are their sender's fault, and one line."""

    def exception(self, msg: Any, *args: Any, exc_info: Any = True, **options: Any) -> None:
        """Log an error with its traceback, unless it is one of the client's; what he sent may hold a key."""
        if isinstance(exc_info, HttpProcessingError):
            self.info('Refused what is no HTTP request: %s.', type(exc_info).__name__)
        else:
            super().exception(msg, *args, exc_info=exc_info, **options)


class LocalExchange(object):
    """An exchange with its market, served on one port.

    ``await start()``, then ``await wait()`` until somebody calls ``stop()`` or the exchange fails; ``await close()`` in
    any case.  Everything but the constructor belongs to the event loop's thread.  With ``closed_accounts`` a request
    opens no account.
    """

    def __init__(self, exchange: Any, street: Any, pace: Pace, host: str = '127.0.0.1', port: int = 0,
                 limits: Optional[Limits] = None, kind: str = '', closed_accounts: bool = False,
                 seed: Optional[int] = None, store: Optional[Store] = None) -> None:
        self.host = host
        self.port = port
        self.kind = kind
        self.seed = seed          # what the market was drawn from
        self.pace = pace
        self.limits = limits or Limits()
        self.closed_accounts = closed_accounts
        self.market_held_by = set()   # type: Set[Any]  # who keeps the market from trading
        self.diary = None         # type: Any  # see keep_diary
        self.store = store        # the file that keeps the accounts, where one was asked for
        self.control = None       # type: Optional[Control]  # answers those who may do more than trade
        self.renew = None         # type: Optional[Callable[[], Tuple[Any, Any, Pace]]]  # makes another exchange like it
        self.guests = {}          # type: Dict[str, float]  # token of a process that shook hands -> wall time of the last
        self.recorder = None      # type: Any  # what writes down an account's conduct, for a judge
        self._house(exchange, street)
        self.faults = Faults(self, seed)
        self._server = None       # type: Any
        self._listener = None     # type: Any
        self._ticker = None       # type: Any
        self._ended = None        # type: Any
        self._restart = None      # type: Any  # the task of a restart under way

    def _house(self, exchange: Any, street: Any) -> None:
        """Serve this exchange and its market from now on."""
        self.exchange = exchange
        self.market = street
        self._market_late = 0.0   # seconds that the market was held, by which its own time is late
        self.instance = self.store.instance if self.store is not None else str(uuid.uuid4())
        self.api = Api(exchange)
        self.hub = Hub(exchange, self.api, self.limits, self.pace.wall, self.advance)
        self.rest = rest.Rest(self.api, self.limits, self.pace.wall, self.advance, self.hub.flush)
        self.realtime = Realtime(self.hub, self.limits, self.pace.wall, self.advance)
        self.hub.store = self.store
        self.hub.diary = self.diary
        self.record(self.recorder)

    def record(self, recorder: Any) -> None:
        """Let a ``recorder.Recorder`` see everything from now on; None ends that."""
        self.recorder = self.hub.recorder = self.rest.recorder = recorder

    def keep_diary(self, diary: Any) -> None:
        """Let a ``watch.Diary`` see every change from now on."""
        self.diary = self.hub.diary = diary

    @property
    def base(self) -> str:
        """Return ``http://host:port`` of the listening socket, as seen from this machine."""
        host = EVERYWHERE.get(self.host, self.host)
        return 'http://{}:{}'.format('[{}]'.format(host) if ':' in host else host, self.port)

    @property
    def url(self) -> str:
        """Return what goes into BASE_URL."""
        return self.base + rest.BASE + '/'

    @property
    def ws_url(self) -> str:
        """Return the address of the WebSocket."""
        return 'ws' + self.base[len('http'):] + '/realtime'

    @property
    def connections(self) -> int:
        """Return how many clients are connected, idle kept-alive ones included."""
        return len(self._server.connections) if self._server is not None else 0

    async def start(self) -> None:
        """Listen and fill the books; LocalExchangeError when the port cannot be had, SettingsError for the market."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._server = web.Server(self._serve, keepalive_timeout=KEEP_ALIVE, access_log=None,
                                  max_line_size=LONGEST_LINE, logger=HttpLog(logger, {}))
        await self._listen()
        self._open()
        self._ticker = loop.create_task(self._tick())
        self.faults.start()

    async def _listen(self) -> None:
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._server, self.host, self.port,
                                                                            backlog=BACKLOG)
        except OSError as error:
            raise LocalExchangeError(_why_not_listening(self.host, self.port, error)) from error
        self.port = self._listener.sockets[0].getsockname()[1]

    def _open(self) -> None:
        try:
            self.market.start(self.exchange, self.exchange.now)
        except ValueError as error:
            raise SettingsError(str(error))
        self.exchange.refresh_prices()   # the first client shall find the touch of the books in the instruments too
        changes = self.exchange.drain()
        if self.store is not None:
            self.store.keep(changes)

    async def wait(self) -> None:
        """Return when ``stop`` was called; raise what broke the market, when something did."""
        await self._ended

    def stop(self) -> None:
        """End ``wait``; may be called twice."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    async def close(self) -> None:
        """Close the port and every connection; may be called twice."""
        self.faults.clear()
        if self._restart is not None:
            self._restart.cancel()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for session in list(self.hub.sessions):
            session.close()
        if self._server is not None:
            await self._server.shutdown(0.5)
        if self.store is not None:
            self.store.close()

    # Time

    def advance(self, longest: float = LONGEST_STEP) -> float:
        """Let happen what is due, ``longest`` seconds of exchange time at most, and return the exchange's time."""
        exchange = self.exchange
        try:
            goal = max(exchange.now, min(self.pace.now(), exchange.now + longest))
            if self.market_held_by:
                self._market_late += goal - exchange.now
                exchange.advance(goal)
            elif self._market_late:
                exchange.advance(goal)
                self.market.step(goal - self._market_late)
            else:
                self.market.step(goal)
        except Exception as error:
            self._fail(error)
            raise
        return exchange.now  # type: ignore[no-any-return]

    def _fail(self, error: Exception) -> None:
        """End the exchange: what a broken market left behind cannot be trusted."""
        if self._ended.done():
            return
        if isinstance(error, UNREADABLE):
            self._ended.set_exception(SettingsError(_reason(error)))
        else:
            logger.error('The market of the local exchange failed.', exc_info=error)
            self._ended.set_exception(error)

    async def _tick(self) -> None:
        while not self._ended.done():
            await asyncio.sleep(TICK)
            # The goal is read once: time that passes meanwhile belongs to the next look.
            goal = self.pace.now()
            try:
                while self.exchange.now < goal:
                    self.advance()
                    self.hub.flush()
                    await asyncio.sleep(0)
            except Exception as error:
                self._fail(error)

    async def pass_time(self, seconds: float) -> None:
        """Let the exchange's time jump forward; everything that falls due on the way happens, in its order.

        Signatures and rate limits stay with the machine's clock.
        """
        self.pace.start += seconds
        goal = self.pace.now()
        while self.exchange.now < goal and not self._ended.done():
            self.advance(LONG_STEP)
            self.hub.flush()
            await asyncio.sleep(0)

    def hold_market(self, holder: Any, held: bool) -> None:
        """Keep the market from trading, or let it go on where it stood, once nobody else holds it."""
        if held:
            self.market_held_by.add(holder)
        else:
            self.market_held_by.discard(holder)

    # Trouble

    def set_skew(self, seconds: float) -> None:
        """Let the exchange's clock be wrong by so many seconds: stamps, expiries, limits, the Date of each answer."""
        self.pace.skew = seconds
        self.exchange.set_skew(seconds)

    def restart_soon(self, down: float, books: str = 'kept') -> None:
        """Begin a restart, unless one is under way."""
        if self._restart is None:
            self._restart = asyncio.get_running_loop().create_task(self._restart_now(down, books))

    async def _restart_now(self, down: float, books: str) -> None:
        try:
            await self.restart(down, books)
        except Exception as error:   # the port is somebody else's now, say: that ends the exchange
            if not self._ended.done():
                self._ended.set_exception(error)
        finally:
            self._restart = None

    async def restart(self, down: float, books: str = 'kept') -> None:
        """Cut every connection, refuse new ones for ``down`` seconds, and listen again on the same port.

        ``books``: 'kept' as they were, 'canceled' (all orders of all accounts), or 'fresh': another exchange, which
        knows the keys of this one and nothing else.
        """
        self._listener.close()
        for session in list(self.hub.sessions):
            session.abort()
        for connection in list(self._server.connections):
            connection.force_close()
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(down)
        if books == 'fresh':
            self._begin_anew()
        elif books == 'canceled':
            for account in list(self.exchange.accounts.values()):
                self.exchange.desk.cancel_all(account, lambda row: True)
        await self._listen()

    def _begin_anew(self) -> None:
        keys = [(account, key) for account in self.exchange.accounts.values() for key in account.keys]
        if self.renew is None:
            raise LocalExchangeError('this exchange does not know how to begin anew: it was not made by assemble()')
        skew = self.pace.skew
        exchange, street, self.pace = self.renew()
        reopened = {}  # type: Dict[int, Any]
        for account, key in keys:
            if account.id not in reopened:
                reopened[account.id] = exchange.account_of(key.key) or exchange.open_account()
            if exchange.account_of(key.key) is None:
                exchange.add_key(reopened[account.id], key.key, key.secret, key.permissions, key.cidr)
                reopened[account.id].keys[-1].enabled = key.enabled
        if self.store is not None:
            self.store.begin_anew(exchange, str(uuid.uuid4()))
        self._house(exchange, street)
        self.set_skew(skew)
        self._open()
        self.faults.move()

    # HTTP

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if not target.startswith('/'):
            # A proxy's form of the request line, http://host/path: what is signed is the path.
            target = '/' + target.partition('://')[2].partition('/')[2]
        path, _, query = target.partition('?')
        try:
            if request.headers.get('Expect', '').lower() == '100-continue':
                await request.writer.write(b'HTTP/1.1 100 Continue\r\n\r\n')
                request.writer.output_size = 0
            if not path.startswith(REST):
                return await self._serve_others(request, path, query)
            if self.recorder is not None:
                return await self.recorder.watch(request, target, lambda: self._serve_rest(request, target, path))
            return await self._serve_rest(request, target, path)
        except ConnectionError:
            # Whoever asked was gone before he had said everything: there is nobody to answer, and nothing to do.
            return web.Response()

    async def _serve_others(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        if path in SOCKETS:
            return await self._serve_socket(request, rest.query_of(query))
        if path in (local.HANDSHAKE, local.ACCOUNTS):
            return _response(await self._shake_hands(request, path))
        if self.control is not None and (path + '/').startswith(CONTROL + '/'):
            return _response(await self.control.handle(request, path))
        return _response(rest.refused(Refusal(404, 'Not Found'), {}))

    async def _serve_rest(self, request: web.BaseRequest, target: str, path: str) -> web.StreamResponse:
        if self.faults.requests:
            response = await self.faults.serve(request, target, path, self.rest)
        else:
            response = rest.response(await self.rest.answer_to(request, target))
        if self.pace.skew:
            response.headers.update(self._date())
        return response  # type: ignore[no-any-return]

    async def _serve_socket(self, request: web.BaseRequest, query: Dict[str, str]) -> web.StreamResponse:
        if self.faults.upgrades:
            key = request.headers.get('api-key') or query.get('api-key') or ''
            refused = self.faults.refuse_upgrade(self.exchange.account_of(key))
            if refused is not None:
                return refused  # type: ignore[no-any-return]
        return await self.realtime.handle(request, query, self._date() if self.pace.skew else None)

    def _date(self) -> Dict[str, str]:
        return {'Date': formatdate(self.pace.wall(), usegmt=True)}

    async def _shake_hands(self, request: web.BaseRequest, path: str) -> rest.Answer:
        token = request.headers.get(local.TOKEN_HEADER)
        if token:
            if len(self.guests) >= MOST_GUESTS:
                del self.guests[min(self.guests, key=lambda guest: self.guests[guest])]
            self.guests[token[:64]] = self.pace.wall()
        if request.method == 'GET' and path == local.HANDSHAKE:
            return rest.answered(200, self.introduction(), {})
        if request.method == 'POST' and path == local.ACCOUNTS:
            try:
                return self._register(request, (await request.read()).decode('utf-8'))
            except UnicodeDecodeError:
                return rest.refused(Refusal(400, 'The body is not UTF-8 text.'), {})
            except Refusal as refusal:
                return rest.refused(refusal, {})
        return rest.refused(Refusal(404, 'Not Found'), {})

    def introduction(self) -> Dict[str, Any]:
        """Return what tells this exchange from whatever else may answer on a port."""
        return {'name': local.NAME, 'version': VERSION, 'instance': self.instance, 'market': self.kind,
                'symbols': list(self.exchange.instruments),
                'accounts': 'closed' if self.closed_accounts else 'open', 'timestamp': iso(self.exchange.now),
                'ended': bool(self.market.ended)}

    def _register(self, request: web.BaseRequest, text: str) -> rest.Answer:
        if not local.is_loopback(request.remote or ''):
            raise Refusal(403, 'Accounts are opened from this machine only.')
        # A web page can send a form or plain text to any address without asking, but not JSON.
        if request.content_type != 'application/json':
            raise Refusal(400, 'Send the account as application/json.')
        description = rest.body_of(text, 'application/json')
        try:
            accounts.check(description, self.exchange.instruments)
        except SettingsError as error:
            raise Refusal(400, str(error))
        account = self.exchange.account_of(description['key'])
        if account is None:
            if self.closed_accounts:
                raise Refusal(403, 'This exchange was started with accounts of its own and opens no others.')
            self.advance()
            account = accounts.open_account(self.exchange, description)
            self.hub.flush()
        else:
            known = account.key(description['key']).secret
            if not hmac.compare_digest(known.encode('utf-8'), description['secret'].encode('utf-8')):
                raise Refusal(409, 'This key is in use with another secret.')
        return rest.answered(200, {'key': description['key'], 'account': account.id}, {})


def _response(answer: rest.Answer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


def _why_not_listening(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return 'port {} of {} is taken by another program: end it, or choose another port with --port'.format(
            port, host)
    if error.errno == errno.EACCES:
        return 'port {} of {} is not ours to use ({}): choose one above 1023 with --port'.format(
            port, host, os.strerror(error.errno))
    return 'cannot listen on {} port {} ({}): choose another address with --host and --port'.format(
        host, port, error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0))


# Putting one together

def assemble(kind: str = 'simulated', symbols: Sequence[str] = (), seed: Optional[int] = None,
             bid: Optional[float] = None, ask: Optional[float] = None, data: Sequence[str] = (), queue: str = 'back',
             speed: float = 1.0, fees: Optional[Tuple[float, float]] = None, people: Iterable[Dict[str, Any]] = (),
             closed_accounts: bool = False, rate_limits: bool = True, host: str = '127.0.0.1', port: int = 0,
             clock: Clock = REAL, faults: Sequence[str] = (), control: Optional[str] = None,
             state: Optional[str] = None, funding_interval: Optional[float] = None) -> LocalExchange:
    """Return an exchange that is ready to start: ``kind`` of market, its options, and the accounts in ``people``.

    ``symbols`` defaults to all there are, in a replay to those that the recording names.  ``seed`` None takes one from
    the system.  ``fees`` is (maker, taker) as fractions, None those of the instruments.  ``faults`` are words of
    ``--faults``; ``control`` is the token of a control interface, '' for one that nobody knows yet
    (``.control.token``), None for no such interface; ``state`` is the path of a file that keeps the accounts;
    ``funding_interval`` the seconds between two payments of funding.  Raise SettingsError for
    anything that cannot be used.
    """
    if not 0 < speed < 1e6:
        raise SettingsError('a speed of {} makes no sense: take 1 for real time, 10 for ten times that'.format(speed))
    chosen = _known_symbols(symbols, data if kind == 'replay' else ())
    if funding_interval is not None and not 1 <= funding_interval <= instruments.FUNDING_INTERVAL:
        raise SettingsError('funding every {:g} seconds makes no sense: take 1 to {}, or leave it out for every eight '
                            'hours'.format(funding_interval, instruments.FUNDING_INTERVAL))
    if state is not None and kind == 'replay':
        raise SettingsError('accounts cannot be kept over a replay, whose time begins anew with each run: leave out '
                            'the file {}'.format(state))
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)
    options = {'bid': bid, 'ask': ask}  # type: Dict[str, Any]
    if kind == 'replay':
        options.update(data=[(path, _opener(path)) for path in data], queue=queue)
    people = list(people)
    store = Store(state, str(uuid.uuid4())) if state is not None else None
    # What goes on in a file must not give out the ids of its beginning again.
    drawn = '{} {}'.format(seed, store.runs) if store is not None and store.runs else str(seed)

    def build(kept: Optional[Store] = None) -> Tuple[Any, Any, Pace]:
        try:
            street = market.make(kind, chosen, **dict(options, seed=random.Random('market ' + drawn)))
            start = street.begins if isinstance(street, market.Replay) else None
            pace = Pace(clock, start, speed)
            listed = instruments.catalogue(start, chosen)
            if kept is not None:
                kept.park(listed)
            exchange = Exchange(listed, pace.start, random.Random('exchange ' + drawn), fees=fees)
            for symbol, tape in exchange.tapes.items():
                if funding_interval is not None and tape.instrument.expires is None:
                    exchange.set_funding(symbol, interval=funding_interval)
            if kept is not None:
                kept.restore(exchange)
            for description in people:
                _open_or_find(exchange, description, kept)
        except (ValueError, OSError, EOFError) as error:
            raise SettingsError(_reason(error))
        return exchange, street, pace
    try:
        exchange, street, pace = build(None if store is None or store.is_new else store)
    except SettingsError:
        if store is not None:
            store.close()
        raise
    if store is not None:
        store.attach(exchange)
    server = LocalExchange(exchange, street, pace, host, port, Limits(rate_limits), kind, closed_accounts, seed, store)
    server.renew = build
    if control is not None:
        server.control = Control(server, control or new_token())
    for word in faults:
        server.faults.switch(word)
    return server


def _open_or_find(exchange: Any, description: Dict[str, Any], kept: Optional[Store]) -> None:
    """Open an account, unless the file has it already, with the same secret."""
    accounts.check(description, exchange.instruments)
    account = exchange.account_of(description['key'])
    if account is None:
        accounts.open_account(exchange, description)
    elif kept is None or not any((key.key, key.secret) == (description['key'], description['secret'])
                                 for key in account.keys):
        raise SettingsError('account {}: the key is already in use{}'.format(
            description['key'], '' if kept is None else ', with another secret, in ' + kept.path))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return '{}: {}'.format(error.filename, error.strerror)
    return str(error)


def _known_symbols(symbols: Sequence[str], data: Sequence[str]) -> List[str]:
    """Return the symbols to trade; raise SettingsError with the nearest name for one that is unknown."""
    known = list(instruments.CATALOGUE)
    for path in data:
        if not os.path.isfile(path):
            raise SettingsError('{}: no such file; a recording is CSV files of quotes and trades'.format(path))
    if not symbols and data:
        named = _recorded_symbols(data)
        if not named.intersection(known):
            raise SettingsError('{}: names no symbol that trades here; there are {}'.format(data[0], ', '.join(known)))
        return [symbol for symbol in known if symbol in named]
    for symbol in symbols:
        if symbol.upper() not in known:
            nearest = get_close_matches(symbol.upper(), known, 1)
            raise SettingsError('{} does not trade here: {}there are {}'.format(
                symbol, 'did you mean {}? '.format(nearest[0]) if nearest else '', ', '.join(known)))
    return [symbol.upper() for symbol in symbols] or known


def _recorded_symbols(data: Sequence[str], rows: int = 1000) -> 'set[str]':
    """Return every cell in the first rows of the files: whichever of them is the symbol's column."""
    cells = set()
    for path in data:
        try:
            for _, line in zip(range(rows), _opener(path)()):
                cells.update(line.split(','))
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise SettingsError('{}: {}'.format(path, error))
    return cells


def _opener(path: str) -> Callable[[], Iterator[str]]:
    def lines() -> Iterator[str]:
        with (gzip.open(path, 'rb') if path.endswith('.gz') else open(path, 'rb')) as raw:
            for line in io.TextIOWrapper(raw, encoding='utf-8', newline=''):  # type: ignore[arg-type]
                yield line
    return lines


# In a thread

class Switches(object):
    """The board of faults of a Testnet, to be used from any thread.

    Called with a name it is a ``with`` block: ``with testnet.faults('lost-reply', count=3) as fault:``.
    """

    def __init__(self, testnet: 'Testnet') -> None:
        self._call = testnet.call
        self._board = testnet.server.faults

    def on(self, name: str, **options: Any) -> Fault:
        """Switch a fault on and return it."""
        return self._call(lambda: self._board.on(name, **options))  # type: ignore[no-any-return]

    def off(self, fault: Any) -> int:
        """Switch off one fault, or all of a name; return how many were on."""
        return self._call(lambda: self._board.off(fault))  # type: ignore[no-any-return]

    def play(self, name: str, seed: Any = None) -> None:
        """Play a profile until ``clear``."""
        self._call(lambda: self._board.play(name, seed))

    def clear(self) -> int:
        """Stop all profiles and switch everything off; return how many faults were on."""
        return self._call(self._board.clear)  # type: ignore[no-any-return]

    def rows(self) -> List[Dict[str, Any]]:
        """Return what is on, as plain data."""
        return self._call(self._board.rows)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def __call__(self, name: str, **options: Any) -> Iterator[Fault]:
        """Have a fault on for the length of a block."""
        fault = self.on(name, **options)
        try:
            yield fault
        finally:
            self.off(fault)


class Testnet(object):
    """A local exchange that runs in a thread of this process: see ``running``."""

    __test__ = False   # a name that pytest would collect

    def __init__(self, server: LocalExchange, loop: Any, people: Sequence[Dict[str, Any]]) -> None:
        self.server = server
        self.faults = Switches(self)
        self.url = server.url
        self.ws_url = server.ws_url
        self.port = server.port
        self.key, self.secret = people[0]['key'], people[0]['secret']
        self._loop = loop

    @property
    def exchange(self) -> Any:
        """Return the engine that is served now; a restart with fresh books brings another one."""
        return self.server.exchange

    def call(self, act: Callable[[], Any], timeout: float = 30.0) -> Any:
        """Bring the exchange to the present, run ``act`` in its thread, send out what changed; return what it returns.
        """
        future = concurrent.futures.Future()  # type: concurrent.futures.Future[Any]

        def run() -> None:
            try:
                self.server.advance()
                result = act()
                self.server.hub.flush()
            except BaseException as error:  # whatever it is belongs to the caller's thread
                future.set_exception(error)
            else:
                future.set_result(result)
        self._loop.call_soon_threadsafe(run)
        return future.result(timeout)

    def drop_sockets(self) -> int:
        """Cut every WebSocket without a close frame, as a deploy of BitMEX does; return how many there were."""
        def cut() -> int:
            sessions = list(self.server.hub.sessions)
            for session in sessions:
                session.abort()
            return len(sessions)
        return self.call(cut)  # type: ignore[no-any-return]


@contextlib.contextmanager
def running(market: str = 'still', bid: Optional[float] = None, ask: Optional[float] = None,
            symbols: Sequence[str] = ('XBTUSD',), accounts: Sequence[Dict[str, Any]] = (), seed: Optional[int] = 1,
            rate_limits: bool = False, **options: Any) -> Iterator[Testnet]:
    """Run a local exchange on a free port in a thread of its own for the length of a ``with`` block.

    Without ``accounts`` there is the demo account, and requests may open others.  ``options`` are those of
    ``assemble``.  What broke the exchange, if anything did, is raised at the end of the block.

        with running(bid=60000, ask=60000.1) as testnet:
            requests.get(testnet.url + 'trade')
            testnet.call(lambda: testnet.exchange.take('XBTUSD', 'Sell', 100))
    """
    people = list(accounts) or [{'key': local.LOCAL_API_KEY, 'secret': local.LOCAL_API_SECRET}]
    server = assemble(market, symbols, seed, bid, ask, rate_limits=rate_limits, people=people,
                      closed_accounts=bool(accounts), **options)
    ready = concurrent.futures.Future()  # type: concurrent.futures.Future[Testnet]
    over = concurrent.futures.Future()   # type: concurrent.futures.Future[None]

    async def serve() -> None:
        try:
            await server.start()
            ready.set_result(Testnet(server, asyncio.get_running_loop(), people))
            await server.wait()
            over.set_result(None)
        except BaseException as error:  # the edge of the thread: it is raised in the caller's
            (over if ready.done() else ready).set_exception(error)
        finally:
            await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name='local-exchange', daemon=True)
    thread.start()
    testnet = ready.result(30)
    try:
        yield testnet
    finally:
        with contextlib.suppress(RuntimeError):   # its loop has ended by itself: that is raised below
            testnet._loop.call_soon_threadsafe(server.stop)
        thread.join(10)
    over.result(0)
