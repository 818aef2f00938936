"""The live data of one account, seen through one symbol: a WebSocket, the thread that reads it, and its tables.

The thread, ``bitmex-ws``, applies messages to the tables and wakes whoever waits.  It never calls REST or a strategy,
reads no settings and ends no process; what goes wrong in it for good is kept and raised in the thread that reads next.
Reads are answered from memory at once and take no lock.
"""
import json
import logging
import random
import threading
import time
from typing import Any, Dict, List, Optional  # noqa: F401

from market_maker.auth import signing
from market_maker.settings import settings
from market_maker.utils import clock as clocks
from market_maker.utils.errors import AuthenticationError, ConnectionLost, MarketMakerError, SettingsError  # noqa: F401
from market_maker.utils.math import decimals
from market_maker.ws import executions, views
from market_maker.ws.address import CLOSED, is_bitmex, topics, websocket_url
from market_maker.ws.backoff import Backoff
from market_maker.ws.health import Health
from market_maker.ws.link import Link, LinkError, route
from market_maker.ws.reading import Reading
from market_maker.ws.tables import HISTORY, Row, parse, split_topic  # noqa: F401
from market_maker.ws.watch import Watch

IMAGE_PATIENCE = 5.0  # seconds after which a missing image is asked for again: BitMEX may delay some by 2.5
NEAREST_WITHIN = 3.0  # seconds to wait for the list of instruments when a symbol is refused
JOIN_WITHIN = 0.5     # seconds that exit() waits for the thread
LOOK_EVERY = 0.25     # seconds, or a fifth of a heartbeat when that is less, between two looks at how it stands


class BitMEXWebsocket(Reading):
    """Live tables over one WebSocket that is reopened in place when it is lost.

    ``api_key`` and ``api_secret`` are those of the login; without them it uses API_KEY and API_SECRET of the settings.
    ``heartbeat`` and ``stale_after`` are in seconds (see ``health``).  Safe to read from any thread.

    Attributes for readers: ``data`` (table name -> fresh list of live rows), ``keys``, ``symbol``, ``exited``,
    ``ws.sock.connected``, ``changed`` (an Event, set when the touch, an own order or the position changed, and when the
    connection was lost or is back; whoever waits on it clears it before looking), ``reconnects`` and ``last_gap`` (how
    often, and how many seconds long the last time, there were no data).  ``logger`` and ``clock_offset`` (seconds to
    add to this machine's clock to get the exchange's) may be assigned.
    """

    def __init__(self, api_key=None, api_secret=None, clock=None, heartbeat=5.0, stale_after=15.0,
                 image_patience=IMAGE_PATIENCE, history=HISTORY):
        # type: (Optional[str], Optional[str], Optional[clocks.Clock], float, float, float, int) -> None
        Reading.__init__(self, history)
        self.logger = logging.getLogger('root')
        self.symbol = ''
        self.exited = False
        self.changed = threading.Event()
        self.clock_offset = 0.0
        self.reconnects = 0
        self.last_gap = None      # type: Optional[float]
        self.health = Health('', heartbeat, stale_after)
        self.ws = Link()
        self._watch = Watch('', self.tables, self._touch, self.health)
        self._api_key = api_key
        self._api_secret = api_secret
        self._clock = clock or clocks.REAL
        self._image_patience = image_patience
        self._backoff = Backoff(random.Random().random)
        self._url = ''
        self._login = None        # type: Any            # (key, secret), or None without a login
        self._topics = []         # type: List[str]
        self._thread = None       # type: Optional[threading.Thread]
        self._stop = threading.Event()
        self._state = threading.Condition()              # for waking only: what follows needs no lock
        self._ready = False       # connected, and every subscribed table has its image
        self._trouble = ''        # why there is no connection
        self._refusal = ''        # the exchange's word on our symbol, when it knows none such
        self._opened_at = None    # type: Optional[float]  # when the present connection was opened
        self._lost_at = None      # type: Optional[float]  # when data came last before they stopped
        self._has_pinged = False
        self._has_asked = False   # for images that did not come
        self.introduce = None     # type: Any   # makes us known to an exchange that was started anew; its name, or ''
        self._met = ''            # whom we have been introduced to: who refuses us after that means it
        self._given_up = ''       # why somebody wants the present connection replaced

    # -- connecting --------------------------------------------------------------------------------------------------

    def connect(self, endpoint='', symbol='XBTUSD', shouldAuth=True, timeout=30.0):
        # type: (str, str, bool, float) -> None
        """Connect, log in and wait until every table has its image.

        ``endpoint`` is the URL of the REST API (the WebSocket's is derived from it); ``timeout`` is in seconds.  Raise
        ConnectionLost when the data do not come in time, AuthenticationError when the key is refused, SettingsError
        when the exchange has no such symbol.
        """
        self.exit()
        deadline = time.monotonic() + timeout
        self._prepare(endpoint, symbol, shouldAuth)
        self.logger.info('Connecting to %s', self._full_url())
        self.logger.info('Authenticating with API Key.' if self._login else 'Not authenticating.')
        self._thread = threading.Thread(target=self._run, name='bitmex-ws', daemon=True)
        self._thread.start()
        self.logger.info('Started thread')
        try:
            self._wait(lambda: self._opened_at is not None, deadline, timeout)
            self.logger.info('Connected to WS. Waiting for data images, this may take a moment...')
            self._wait(lambda: self._ready or self._refusal, deadline, timeout)
            self._check_symbol()
        except BaseException:
            self.exit()
            raise
        self.logger.info('Got all market data. Starting.')

    def _prepare(self, endpoint, symbol, should_auth):
        # type: (str, str, bool) -> None
        self._url = websocket_url(endpoint)
        self._login = self._keys() if should_auth else None
        self._topics = topics(symbol, bool(self._login))
        self.symbol = self.health.symbol = symbol
        self._watch = Watch(symbol, self.tables, self._touch, self.health)
        try:
            self.ws = Link(route(self._url), self._pause())
        except LinkError as error:
            raise SettingsError(str(error))
        self._stop = threading.Event()
        self.exited = self._ready = False
        self._failure = self._opened_at = self._lost_at = None
        self._trouble = self._refusal = ''

    def _keys(self):
        # type: () -> Any
        key = settings.API_KEY if self._api_key is None else self._api_key
        secret = settings.API_SECRET if self._api_secret is None else self._api_secret
        if not key or not secret:
            raise AuthenticationError('There is no API key to log in with: set API_KEY and API_SECRET in settings.py')
        return key, secret

    def _full_url(self):
        # type: () -> str
        return self._url + '?subscribe=' + ','.join(self._topics)

    def _wait(self, is_there, deadline, timeout):
        # type: (Any, float, float) -> None
        """Wait until something is there; raise what ended the thread, or ConnectionLost at the deadline."""
        with self._state:
            self._state.wait_for(lambda: self._failure or is_there(), max(0.0, deadline - time.monotonic()))
        self._raise_failure()
        if not is_there():
            raise ConnectionLost('No live data from {} within {:g} s: {}'.format(
                self._url, timeout, self._what_is_missing()))

    def _what_is_missing(self):
        # type: () -> str
        if self._opened_at is None:
            return self._trouble or 'no connection'
        return 'no image of {}'.format(', '.join(self.tables.missing()))

    def _check_symbol(self):
        # type: () -> None
        """Raise SettingsError when the exchange has no such symbol, once it is known what it has."""
        if not self._ready:
            with self._state:
                self._state.wait_for(lambda: self._failure or self.tables.has_image('instrument'), NEAREST_WITHIN)
        if self.tables.row('instrument', self.symbol) is None:
            known = [row['symbol'] for row in self.tables.rows('instrument')]
            raise SettingsError(views.unknown_symbol(self.symbol, known))

    def exit(self):
        # type: () -> None
        """Close the connection and end the thread; may be called twice, from any thread, and never raises."""
        self.exited = True
        self._stop.set()
        thread = self._thread
        if thread is None:
            return
        self.ws.interrupt()
        if thread is not threading.current_thread():
            thread.join(JOIN_WITHIN)

    # -- how it stands -----------------------------------------------------------------------------------------------

    def ready(self):
        # type: () -> bool
        """Say whether there is a connection and every table has an image of it; raise AuthenticationError, refused."""
        self._raise_failure()
        return self._ready

    connected_ok = ready

    def wait_until_ready(self, timeout):
        # type: (float) -> bool
        """Wait until ready, ``timeout`` seconds at most, and return whether it is; raise AuthenticationError, refused.

        The thread reconnects by itself: nothing needs to be done but wait.
        """
        with self._state:
            self._state.wait_for(lambda: self._failure or self._ready or self.exited, timeout)
        return self.ready()

    def reason(self):
        # type: () -> Optional[str]
        """Return why the data cannot be traded on now, in words for a log line, or None when they can."""
        if self._failure is not None:
            return str(self._failure)
        now = self._clock.monotonic()
        if self._ready:
            return self.health.reason(now)
        if self.exited:
            return 'the connection was closed'
        since = '' if self._lost_at is None else ' for {:.1f} s'.format(now - self._lost_at)
        return 'no live data{}: {}'.format(since, self._what_is_missing())

    def lag(self):
        # type: () -> Optional[float]
        """Return how many seconds after the exchange's time stamp the newest row arrived; None before one came."""
        return self.health.lag(self._clock.monotonic(), self._clock.time(), self.clock_offset)

    @property
    def opened_at(self):
        # type: () -> Optional[float]
        """When the present connection was opened (monotonic seconds), and with it every image asked for; None without
        one."""
        return self._opened_at

    def reopen(self, reason):
        # type: (str) -> None
        """Have the connection replaced, for its tables are wrong: the thread will reconnect and get fresh images.

        Returns at once; from any thread.  ``reason`` is for the log.
        """
        self._ready = False
        self._given_up = reason
        self.ws.interrupt()

    # -- more tables -------------------------------------------------------------------------------------------------

    def add_executions(self, rows):
        # type: (List[Row]) -> int
        """Count executions learnt of otherwise (over REST, after a gap) and log the new ones; return how many."""
        news = self.executions.add(rows)
        self._log_trades(news)
        return len(news)

    def market_depth(self, symbol=None):
        # type: (Optional[str]) -> List[Row]
        """Return the live rows of a symbol's order book, highest price first.

        The first call for a symbol subscribes to its book and waits for the image; later ones answer from memory.
        """
        symbol = symbol or self.symbol
        topic = 'orderBookL2:' + symbol
        if topic not in self._topics:
            self.subscribe(topic)
        self._raise_failure()
        return views.market_depth(self.tables, symbol)

    def subscribe(self, topic, timeout=10.0):
        # type: (str, float) -> None
        """Subscribe to one more topic (``'tradeBin1m:XBTUSD'``) and wait for its image; ConnectionLost after timeout.

        It stays subscribed over reconnects.  Not for the reader's thread.
        """
        if topic not in self._topics:
            self._topics = self._topics + [topic]
            self.tables.expect_also(topic)
            try:
                self._command('subscribe', [topic])
            except LinkError:  # the next connection subscribes to it
                pass
        try:
            self._wait(lambda: self.tables.has_image(*split_topic(topic)), time.monotonic() + timeout, timeout)
        except ConnectionLost:
            self._topics = [other for other in self._topics if other != topic]  # else a wrong one would hold up all
            raise

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self):
        # type: () -> None
        """Keep a connection until told to stop."""
        stop, link = self._stop, self.ws
        try:
            while not stop.is_set():
                seconds = self._session(stop, link)
                if self._failure is not None:
                    return
                self._clock.wait(stop, seconds)
        except Exception as error:  # the edge of the thread: nobody else would hear of it
            self.logger.exception('The thread of the live data ended')
            self._failure = ConnectionLost('the thread of the live data ended: {!r}'.format(error))
        finally:
            link.close()
            self._ready = False
            self._notify()

    def _session(self, stop, link):
        # type: (threading.Event, Link) -> float
        """Open one connection and read it to its end; return the seconds to wait before the next."""
        trouble = None  # type: Optional[LinkError]
        try:
            link.open(self._full_url(), self._login_headers())
            self._begin(self._clock.monotonic())
            self._read(stop, link)
        except LinkError as error:
            trouble = LinkError(self._given_up, opened=True) if self._given_up else error
        except Exception as error:  # the edge of the thread: whatever the message was, the tables start afresh
            self.logger.exception('A message of the exchange could not be applied')
            trouble = LinkError('{}: {}'.format(type(error).__name__, error), opened=True)
        link.close()
        if stop.is_set():
            return 0.0
        return self._after(trouble or LinkError('the connection ended', opened=True))

    def _login_headers(self):
        # type: () -> Dict[str, str]
        if self._login is None:
            return {}
        expires = signing.generate_expires(self._clock.time() + self.clock_offset)
        return signing.auth_headers(self._login[0], self._login[1], expires)

    def _begin(self, now):
        # type: (float) -> None
        self.tables.expect(self._topics)
        self.health.began(now)
        self._has_pinged = self._has_asked = False
        self._given_up = ''
        self._opened_at = now
        self._notify()

    def _read(self, stop, link):
        # type: (threading.Event, Link) -> None
        """Take in messages until the connection ends (LinkError) or a stop is asked for."""
        receive, take, monotonic, health = link.receive, self._take, self._clock.monotonic, self.health
        next_look = monotonic() + self._pause()
        while not stop.is_set():
            payload = receive()
            now = monotonic()
            if payload is not None:
                health.last_frame = now
                if payload and payload != b'pong':
                    take(decoded(payload), now)
            if self._given_up:
                raise LinkError(self._given_up, opened=True)
            if now >= next_look:
                next_look = now + self._pause()
                self._look_after(now, link)

    def _take(self, message, now):
        # type: (Any, float) -> None
        """Apply one message and wake whoever waits for what it brings."""
        table = self.tables.apply(message)
        if table is None:
            self._take_other(message)
            return
        self.health.last_rows[table] = now
        action = message['action']
        rows = message.get('data') or []
        if self._watch.notice(table, rows, now) and not self.changed.is_set():
            self.changed.set()
        if table == 'execution':
            self._log_trades(self.executions.image(rows) if action == 'partial' else self.executions.add(rows))
        if action == 'partial':
            if not self._ready and not self.tables.missing():
                self._become_ready(now)
            self._notify()

    def _take_other(self, message):
        # type: (Any) -> None
        """Look at a message that changed no table: an error, or an own fill that came before its table's image."""
        if not isinstance(message, dict):
            raise LinkError('a message that is no object: {!r:.60}'.format(message), opened=True)
        if 'error' in message:
            self._on_error(message)
        elif message.get('table') == 'execution' and message.get('action') == 'insert':
            self._log_trades(self.executions.add(message.get('data') or []))

    def _pause(self):
        # type: () -> float
        return min(LOOK_EVERY, self.health.heartbeat / 5.0)

    def _look_after(self, now, link):
        # type: (float, Link) -> None
        """Ask whether anybody is there, and for images that do not come; give the connection up when that fails."""
        if self.health.is_silent(now):
            raise LinkError('no sign of life for {:.1f} s'.format(now - self.health.last_frame), opened=True)
        if not self.health.needs_ping(now):
            self._has_pinged = False
        elif not self._has_pinged:
            self._has_pinged = True
            link.send('ping')
        waited = now - (self._opened_at or now)
        if not self._ready and waited >= self._image_patience * (2 if self._has_asked else 1):
            self._ask_again(waited)

    def _ask_again(self, waited):
        # type: (float) -> None
        """Subscribe anew to what sent no image; the second time give the connection up."""
        missing = self.tables.missing()
        names = ', '.join(missing)
        if self._has_asked:
            raise LinkError('no image of {} for {:.1f} s'.format(names, waited), opened=True)
        self._has_asked = True
        since = time.strftime('%H:%M:%S', time.localtime(self._clock.time() - waited))
        self.logger.warning('No image of %s for %.1f s (since %s); subscribing again.', names, waited, since)
        self._command('unsubscribe', missing)
        self._command('subscribe', missing)

    def _command(self, op, args):
        # type: (str, List[str]) -> None
        self.ws.send(json.dumps({'op': op, 'args': args}))

    def _become_ready(self, now):
        # type: (float) -> None
        self._backoff.worked()
        self._trouble = ''
        if self._lost_at is not None:
            self.last_gap, self._lost_at = now - self._lost_at, None
            self.logger.info('Connected again: %.1f s without data. Every table has a fresh image.', self.last_gap)
            self.reconnects += 1   # first: whoever finds it ready shall know that it is another connection
        self._ready = True
        self.changed.set()

    def _after(self, trouble):
        # type: (LinkError) -> float
        """Draw the conclusion from a lost or refused connection; return the seconds to wait before the next."""
        text = self._judge(trouble)
        was_ready = self._lost_at is None and (self._ready or bool(self._given_up))
        self._ready, self._opened_at, self._given_up = False, None, ''
        if was_ready:
            self._lost_at = self.health.last_frame
            self.changed.set()
        if self._failure is None and was_ready:
            self.logger.warning('Lost the connection to the exchange: %s. Reconnecting.', text)
        elif self._failure is None and text != self._trouble:
            self.logger.warning('No connection to %s: %s. Trying again.', self._url, text)
        self._trouble = text
        self._notify()
        return self._backoff.wait(self._clock.monotonic(), trouble.retry_after())

    def _judge(self, trouble):
        # type: (LinkError) -> str
        """Return what is wrong, in a few words; keep it as the failure where there is no use in trying again."""
        text = str(trouble)
        if self._failure is not None:
            return text
        if trouble.status in (401, 403) and self._login is not None:
            met = self.introduce() if self._lost_at is not None and self.introduce is not None else ''
            if met not in ('', self._met):
                self._met = met
                return 'the exchange was started anew and did not know us'
            self._refuse(trouble.status, trouble.message())
        elif trouble.status == 400 and self._learn_time(trouble):
            return "this machine's clock is {:.0f} s {} the exchange's, which is allowed for from now on".format(
                abs(self.clock_offset), 'behind' if self.clock_offset > 0 else 'ahead of')
        elif is_bitmex(self._url) and self._lost_at is None and trouble.status not in (400, 429):
            self._failure = ConnectionLost('cannot reach {} ({}): {}'.format(self._url, text, CLOSED))
        return text

    def _refuse(self, status, message):
        # type: (Optional[int], str) -> None
        text = '{} refuses key {}... (HTTP {}{}): is it a key of this exchange, with its own secret?'.format(
            self._url, self._login[0][:4], status, ': ' + message if message else '')
        self._failure = AuthenticationError(text + (' ' + CLOSED if is_bitmex(self._url) else ''))
        self._notify()

    def _learn_time(self, trouble):
        # type: (LinkError) -> bool
        """Take the exchange's time from a refusal; return whether that changes what our signatures say."""
        theirs = trouble.exchange_time()
        if theirs is None:
            return False
        offset = theirs - self._clock.time()
        differs = abs(offset - self.clock_offset) > 2.0
        if differs:
            self.clock_offset = offset
        return differs

    def _on_error(self, message):
        # type: (Row) -> None
        """Draw the conclusion from an error that the exchange sent as a message."""
        status, text = message.get('status'), ' '.join(str(message['error']).split())
        request = message.get('request') or {}
        asked = request.get('args') or [] if request.get('op') in ('subscribe', 'unsubscribe') else []
        asked = asked if isinstance(asked, list) else [asked]  # a bare string is echoed as one
        if 'already subscribed' in text:
            return
        if status in (401, 403) and self._login is not None:
            self._refuse(status, text)
            raise LinkError(text, opened=True)
        if 'expired symbol' in text and any(split_topic(str(topic))[1] == self.symbol for topic in asked):
            self._refusal = text
            self._notify()
        self.logger.warning('The exchange says: %s (%s)', text, ', '.join(map(str, asked)) or status)

    def _notify(self):
        # type: () -> None
        with self._state:
            self._state.notify_all()

    def _log_trades(self, rows):
        # type: (List[Row]) -> None
        """Write one line for each trade; the order fills in what a row lacks."""
        for row in rows:
            order_id = row.get('orderID')
            order = self.tables.row('order', order_id) or self.tables.finished_order(order_id or '')
            instrument = self.tables.row('instrument', row.get('symbol') or (order or {}).get('symbol')) or {}
            digits = decimals(instrument.get('tickSize') or 0.01)
            self.logger.info('%s', executions.describe(row, order, digits))


def decoded(payload):
    # type: (bytes) -> Any
    """Return what one frame says; raise LinkError when that is no JSON, for then nothing after it can be trusted."""
    try:
        return parse(payload)
    except ValueError:
        raise LinkError('a message that is no JSON: {!r:.60}'.format(payload), opened=True)
