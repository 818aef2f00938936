"""BitMEX: the verbs of the API, one short method a verb.

Reads come from the live tables (``ws``) and return at once; what changes something, and a few reads that no table has,
goes over REST (``rest/``), which repeats what is safe to repeat and looks up what is not.  This room decides nothing
about quoting, reads no setting, and adds no handler to a log.

How calls end, apart from returning:

* ``OrderRejected`` (``InsufficientFunds`` with ``.required`` and ``.currency``), ``OrderNotFound``, ``RateLimited``,
  ``Overloaded`` and other ``APIError``: the exchange answered, and the command was certainly not carried out.  An amend
  that comes too late is an ``APIError`` whose ``.message`` begins with ``Invalid ordStatus``.
* ``ConnectionLost``: the exchange is out of reach; a create or amend was not sent.
* ``OutcomeUnknown``: a create or amend was sent, got no clear answer, and looking it up did not settle it;
  ``.clOrdIDs`` (or order ids, where an amend named nothing else) must be looked up before anything like it is sent
  again: ``look_up``.
* ``KeyRefused``: the exchange refuses the key.  It is an AuthenticationError, and at the same time a SystemExit, as it
  always was for strategies: left alone it ends a script with one line and status 1, ``cli`` makes exit code 3 of it,
  and whoever catches it can call again.
"""
from __future__ import absolute_import

import http.client
import json
import logging
import random
import threading
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union  # noqa: F401
from urllib.parse import urlsplit

from market_maker import local
from market_maker.rest import direct, ratelimit, retry
from market_maker.rest.client import Client
from market_maker.rest.names import checked_prefix, new_name
from market_maker.rest.sender import PAGE, Sender, describe
from market_maker.state.budget import Budget
from market_maker.state.folder import StateFolder
from market_maker.state.ledger import Ledger
from market_maker.utils.errors import (AuthenticationError, ConnectionLost, MarketMakerError, OrderRejected,
                                       OutcomeUnknown)
from market_maker.ws.ws_thread import CLOSED, BitMEXWebsocket, is_bitmex

logger = logging.getLogger('root')

POST_ONLY = 'ParticipateDoNotInitiate'
RESTING_TYPES = (None, 'Limit', 'StopLimit', 'LimitIfTouched')   # can be post-only; None: the exchange infers Limit
HANDSHAKE_TIMEOUT = 5.0   # seconds
SHORT = 2.0   # seconds for a request that is tried once and soon again
WHOLE = ('orderQty', 'leavesQty', 'displayQty')   # quantities that the exchange wants as integers


class KeyRefused(AuthenticationError, SystemExit):
    """The exchange refuses the key: an error for those who handle errors, the end of the process for the others."""

    def __init__(self, text: str) -> None:
        AuthenticationError.__init__(self, text)
        self.code = text  # what the interpreter prints, with exit status 1, when nobody catches it


class OrderRows(list):
    """The rows that came back for a list of orders, in its order; ``errors`` lists (order, error) of the others.

    A row may say that its order does not rest: look at ``ordStatus`` (Canceled for a post-only order that would have
    traded, Filled).
    """

    def __init__(self, rows: Iterable[Any] = (), errors: Iterable[Tuple[Any, MarketMakerError]] = ()) -> None:
        list.__init__(self, rows)
        self.errors = list(errors)


class Announced(list):
    """A list of orders to send, and what to call, without arguments, once the first of them is on its way."""

    def __init__(self, orders: Iterable[Any], begun: Any) -> None:
        list.__init__(self, orders)
        self.begun = begun


class GivenName(str):
    """A clOrdID that we wrote into a caller's order; in a new order it is replaced, for a name is used once only."""


class BitMEX(object):
    """One symbol of one account: live tables to read, verbs to act.

    Safe to use from any thread.  ``base_url`` is that of the REST API, with or without a slash at its end; the
    WebSocket's is derived from it.  On a loopback address where nothing answers, the local exchange is started
    (``local_market``, ``local_seed``).  ``timeout`` is in seconds a request.  ``transport``, ``ws``, ``clock``, ``rng``
    and ``stop`` are seams: what sends, what holds the tables (handed in, it is used as it is), what tells the time,
    what draws names and jitter, and the Event that ends waits at once.  ``ledger`` and ``budget`` (``state/``) are what
    every command is written down in and what bots of one account share; without them memory serves.

    Building it connects and returns once the first tables are there.  Raise SettingsError for a bad URL, key or prefix,
    KeyRefused, or ConnectionLost.
    """

    def __init__(self, base_url: str, symbol: str, apiKey: Optional[str] = None, apiSecret: Optional[str] = None,
                 orderIDPrefix: str = 'mm_bitmex_', shouldWSAuth: bool = True, postOnly: bool = False,
                 timeout: float = 7, local_market: str = 'simulated', local_seed: Optional[int] = None,
                 transport: Any = None, ws: Any = None, clock: Any = None, rng: Any = None,
                 stop: Optional[threading.Event] = None, connect_timeout: float = 30, ledger: Any = None,
                 budget: Any = None) -> None:
        self.orderIDPrefix = checked_prefix(orderIDPrefix)
        if transport is None and local.is_local(base_url):
            try:
                apiKey, apiSecret = local.ensure(base_url, apiKey or '', apiSecret or '', market=local_market,
                                                 seed=local_seed, symbols=(symbol,))
            except AuthenticationError as error:
                raise KeyRefused(str(error))
        self.base_url = base_url
        self.symbol = symbol
        self.apiKey = apiKey
        self.apiSecret = apiSecret
        self.postOnly = postOnly
        self.timeout = timeout
        self._rng = random.SystemRandom() if rng is None else rng
        self._way_out = CLOSED if is_bitmex(base_url) else ''
        self._transport = direct.fastest(base_url, apiKey, apiSecret) if transport is None else transport
        parts = urlsplit(base_url)
        where = '{}://{}'.format(parts.scheme, parts.netloc.rpartition('@')[2])
        self._client = Client(self._transport, where, self._way_out, apiKey[:4] + '...' if apiKey else '', clock,
                              self._rng, stop, report, timeout, budget)
        self._sender = Sender(self._client, report, ledger)
        self.state = None   # type: Optional[StateFolder]   # what ``remember`` opened
        self.ws = self._connected(shouldWSAuth, clock, connect_timeout) if ws is None else ws
        self._introduced_to = ''   # the run of the local exchange that we made ourselves known to last
        self._introducing = threading.RLock()   # a signal may interrupt the main thread here
        if local.is_local(base_url):
            self.ws.introduce = self._client.introduce = self._introduce
        self._client.skew = getattr(self.ws, 'clock_offset', 0.0)   # what the login has learned about our clock

    @property
    def ledger(self) -> Any:
        """The ledger of commands and fills (state.ledger.Ledger) that is in use, or None."""
        return self._sender.ledger

    @property
    def gate(self) -> Any:
        """What is asked at the last moment before a create or an amend goes out, with its body: '' lets it pass, words
        say why it is not sent (it then fails with ConnectionLost).  None, which nothing stops, until somebody sets it.
        """
        return self._sender.gate

    @gate.setter
    def gate(self, gate: Any) -> None:
        self._sender.gate = gate

    @property
    def heard(self) -> Any:
        """What is told of each order row that answers a create or an amend, as soon as it comes, on whatever thread."""
        return self._sender.heard

    @heard.setter
    def heard(self, heard: Any) -> None:
        self._sender.heard = heard

    def remember(self, root: Optional[str] = None) -> StateFolder:
        """Keep what must outlive this process in the account's state folder from now on, and return the folder.

        Every command is written to its ledger, and its request budget is shared with the other bots of the account on
        this machine.  To be called before the first order is sent, and again when the exchange may be another one: a
        local exchange that was started anew gets a folder of its own.  ``root`` is the folder of all accounts, by
        default the user's.  Raise ConnectionLost when the local exchange does not tell which one it is.
        """
        instance = instance_of(self.base_url) if local.is_local(self.base_url) else ''
        if self.state is None or self.state.instance != instance:
            folder = StateFolder(self.base_url, self.apiKey, instance, root, report)
            ledger = Ledger(folder.file('ledger.db'), '{} {}'.format(self.symbol, self.orderIDPrefix),
                            self._client.clock.monotonic, report)
            if self._sender.ledger is not None:
                self._sender.ledger.close()
            self._sender.ledger = ledger
            self._client.share(self._budget(folder.file('budget')))
            self.state = folder
        return self.state

    def _budget(self, path):
        # type: (Optional[str]) -> Optional[Budget]
        try:
            return None if path is None else Budget(path, ratelimit.NUMBERS, self._client.clock.monotonic, report)
        except OSError as error:
            report(logging.WARNING, 'The request budget cannot be shared with other bots (%s).', error)
            return None

    def exit(self) -> None:
        """Close the live tables, the ledger and every connection; may be called twice."""
        self.ws.exit()
        self._sender.close()
        self._client.share(None)
        close = getattr(self._transport, 'close', None)
        if close is not None:
            close()

    # Public data

    def ticker_data(self, symbol: Optional[str] = None) -> Dict[str, float]:
        """Return {'last', 'buy', 'sell', 'mid'}, each on the tick."""
        return self.ws.get_ticker(symbol or self.symbol)

    def instrument(self, symbol: Optional[str] = None) -> Dict[str, Any]:
        """Return the live row of an instrument."""
        return self.ws.get_instrument(symbol or self.symbol)

    def instruments(self, filter: Optional[Dict[str, Any]] = None) -> List[Dict[str, Any]]:
        """Return the rows of all instruments that match ``filter``, such as {'state': 'Open'}, over REST."""
        rows = []  # type: List[Dict[str, Any]]
        while True:
            page = self._curl_bitmex('instrument', {'filter': filter, 'count': PAGE, 'start': len(rows)})
            rows += page
            if len(page) < PAGE:
                return rows

    def market_depth(self, symbol: Optional[str] = None, depth: int = 25) -> List[Dict[str, Any]]:
        """Return the order book over REST, highest price first, ``depth`` levels a side (0: all).

        Rows are {symbol, id, side, size, price}; a side is Buy or Sell, a size is in contracts.
        """
        return self._curl_bitmex('orderBook/L2', {'symbol': symbol or self.symbol, 'depth': depth})

    def recent_trades(self) -> List[Dict[str, Any]]:
        """Return the latest public trades, oldest first."""
        return self.ws.recent_trades()

    # The account

    def funds(self) -> Dict[str, Any]:
        """Return the live margin row, in satoshi (XBt)."""
        return self.ws.funds()

    def position(self, symbol: Optional[str] = None) -> Dict[str, Any]:
        """Return the live position row, or a row of zeros without a position."""
        return self.ws.position(symbol or self.symbol)

    def delta(self) -> float:
        """Return the position in the underlying, signed (homeNotional; XBT for XBTUSD); 0 when flat."""
        return self.position(self.symbol).get('homeNotional') or 0

    def isolate_margin(self, symbol: str, leverage: float, rethrow_errors: bool = False) -> Dict[str, Any]:
        """Set the leverage of an isolated position (0: cross margin) and return the position's row."""
        return self._curl_bitmex('position/leverage', postdict={'symbol': symbol, 'leverage': leverage},
                                 rethrow_errors=rethrow_errors)

    def withdraw(self, amount: int, fee: Optional[int], address: str, rethrow_errors: bool = False,
                 **extra: Any) -> Dict[str, Any]:
        """Request a withdrawal of ``amount`` satoshi, which has to be confirmed by mail.

        ``extra`` is anything else that the API takes, such as network, otpToken or memo.  It is sent once only.
        """
        body = dict({'amount': amount, 'fee': fee, 'currency': 'XBt', 'address': address}, **extra)
        return self._curl_bitmex('user/requestWithdrawal', postdict=_without_none(body), rethrow_errors=rethrow_errors,
                                 max_retries=0)

    # Orders

    def buy(self, quantity: float, price: Optional[float], extra_attrs: Optional[Dict[str, Any]] = None,
            **extra: Any) -> Dict[str, Any]:
        """Place a buy order; see place_order."""
        return self.place_order(quantity, price, extra_attrs, **extra)

    def sell(self, quantity: float, price: Optional[float], extra_attrs: Optional[Dict[str, Any]] = None,
             **extra: Any) -> Dict[str, Any]:
        """Place a sell order for ``quantity`` contracts; see place_order."""
        return self.place_order(-quantity, price, extra_attrs, **extra)

    def place_order(self, quantity: Optional[float], price: Optional[float],
                    extra_attrs: Optional[Dict[str, Any]] = None, **extra: Any) -> Dict[str, Any]:
        """Place one order and return its row; a negative quantity sells, None leaves quantity or price to the exchange.

        Everything else that the API takes goes into ``extra_attrs`` or keywords, such as ``execInst='ReduceOnly'``.
        """
        if price is not None and price < 0:
            raise OrderRejected('the price {} of an order must be positive'.format(price))
        order = {'price': price}  # type: Dict[str, Any]
        if quantity is not None:
            order.update(orderQty=abs(quantity), side='Sell' if quantity < 0 else 'Buy')
        order.update(extra_attrs or {}, **extra)
        return self._only_row(self._send_orders('POST', [order], [self._creation(order)]))

    def create_orders(self, orders: Sequence[Dict[str, Any]]) -> OrderRows:
        """Place each order with a request of its own and return the rows that came back, in the given order.

        They are begun in that order, inner levels first, several at a time over a few connections where the exchange
        answers and its limits allow; so the last to begin need not be the last to arrive.
        An order is passed on whole, with or without price and quantity; ``symbol`` and ``clOrdID`` are written into it
        where it has none.  A refused order does not keep the others from being sent: its error is logged, and (order,
        error) is in ``.errors`` of the answer.  Once the exchange is out of reach, overloaded, or has silenced us, the
        rest is not sent and carries the same error.  Raise KeyRefused when the key is refused.
        """
        return self._logged(self._send_orders('POST', orders, [self._creation(order) for order in orders]))

    def amend_orders(self, orders: Sequence[Dict[str, Any]]) -> OrderRows:
        """Amend each order with a request of its own; rows and errors as for create_orders.

        An order is named by ``orderID`` or, without one, by ``clOrdID`` (or ``origClOrdID``); ``orderQty`` is the
        total, filled part included.  An order that rests no more ends up in ``.errors`` with a message that begins with
        ``Invalid ordStatus``.
        """
        return self._logged(self._send_orders('PUT', orders, [amendment(order) for order in orders]))

    def amend_order(self, order: Dict[str, Any]) -> Dict[str, Any]:
        """Amend one order and return its row."""
        return self._only_row(self._send_orders('PUT', [order], [amendment(order)]))

    def cancel_orders(self, orders: Iterable[Union[str, Dict[str, Any]]]) -> List[Dict[str, Any]]:
        """Cancel orders given as rows (with orderID or only clOrdID) or as order ids; see cancel."""
        ids, names = [], []  # type: List[str], List[str]
        for order in orders:
            if isinstance(order, dict):
                (ids if order.get('orderID') else names).append(order.get('orderID') or order['clOrdID'])
            else:
                ids.append(order)
        rows = list(self.cancel(ids) or []) if ids else []
        return rows + (self._cancel({'clOrdID': names}) or []) if names else rows

    def cancel(self, orderID: Union[str, Sequence[str]]) -> Optional[List[Dict[str, Any]]]:
        """Cancel one order id, or a list of them in one request; return the list of rows, or None for unknown orders.

        A row may carry ``error``: that order could not be cancelled, as a rule because it rests no more.
        """
        if not isinstance(orderID, str):
            orderID = list(orderID)
        return self._cancel({'orderID': orderID}) if orderID else []

    def open_orders(self) -> List[Dict[str, Any]]:
        """Return our resting orders, by prefix, from the live table."""
        return self.ws.open_orders(self.orderIDPrefix)

    def http_open_orders(self) -> List[Dict[str, Any]]:
        """Return our resting orders, by prefix, over REST: the truth when the live table is in doubt."""
        resting = {'ordStatus.isTerminated': False, 'symbol': self.symbol}
        rows = self._curl_bitmex('order', {'filter': resting, 'count': PAGE})
        return [row for row in rows if str(row.get('clOrdID', '')).startswith(self.orderIDPrefix)]

    def account_orders(self, timeout: Optional[float] = SHORT) -> List[Dict[str, Any]]:
        """Return all resting orders of the account, on every symbol and whoever placed them, over REST, oldest first;
        tried once."""
        rows = []  # type: List[Dict[str, Any]]
        while True:
            page = self._curl_bitmex('order', {'filter': {'open': True}, 'count': PAGE, 'start': len(rows)},
                                     timeout=timeout, max_retries=0)
            rows += page
            if len(page) < PAGE:
                return rows

    def http_position(self, timeout: Optional[float] = SHORT) -> Dict[str, Any]:
        """Return the position row of our symbol over REST, {} without one; tried once."""
        rows = self._curl_bitmex('position', {'filter': {'symbol': self.symbol}}, timeout=timeout, max_retries=0)
        return rows[0] if rows else {}

    def cancel_all_after(self, seconds: float, timeout: Optional[float] = SHORT) -> Dict[str, Any]:
        """Have the exchange cancel every order of the account in so many seconds unless told anew; 0 disarms."""
        return self._curl_bitmex('order/cancelAllAfter', postdict={'timeout': int(seconds * 1000)}, timeout=timeout,
                                 max_retries=0)

    def exchange_time(self) -> float:
        """Return the exchange's time in Unix seconds, as well as we know it."""
        return self._client.now()

    def seconds_to_wait(self) -> float:
        """Return how long the request budget would make a read wait now."""
        return self._client.seconds_to_wait(retry.READ, '/order')

    def look_up(self, clOrdIDs: Iterable[str] = (), orderIDs: Iterable[str] = ()) -> List[Dict[str, Any]]:
        """Return the exchange's rows of those orders, newest first, finished ones too; unknown ones are missing.

        Each question is tried once, for whoever asks does so again.
        """
        try:
            return self._sender.look_up(clOrdIDs, orderIDs, 0, SHORT)
        except AuthenticationError as error:
            raise KeyRefused(str(error))

    def unsettled(self) -> List[str]:
        """Return the names (or ids) of orders with a command that was sent and may have been carried out.

        After an interrupt in the middle of a list these are the ones to look up; all others were answered or not sent.
        """
        return self._sender.unsettled()

    def resolve_due(self, now: Optional[float] = None) -> List[Tuple[Any, Optional[Dict[str, Any]]]]:
        """Look for commands of unknown fate whose next look is due, in the live table and over REST; never wait.

        For the loop or the guard, once a cycle.  Return those settled now, each as (record, row): ``record.kind``,
        ``.clOrdID``, ``.orderID`` and ``.state`` tell what it is, and the row is None where it was certainly never
        carried out.  [] without a ledger.  Raise ConnectionLost or APIError when the exchange cannot be asked.
        """
        rows = getattr(self.ws, 'data', {}).get('order', ())
        try:
            return self._sender.resolve_due(rows, now)
        except AuthenticationError as error:
            raise KeyRefused(str(error))

    def resolve_now(self) -> None:
        """Ask for all commands of unknown fate, due or not, and settle those of which it shows what became; tried
        once."""
        try:
            self._sender.resolve_now()
        except AuthenticationError as error:
            raise KeyRefused(str(error))

    def executions_since(self, timestamp: Optional[str], timeout: Optional[float] = SHORT) -> List[Dict[str, Any]]:
        """Return the account's trades in our symbol since then ('2026-05-03T00:00:00.000Z'; None: the last 500), oldest
        first, over REST: what the stream missed during a gap or a downtime; tried once.
        """
        query = {'symbol': self.symbol, 'filter': {'execType': 'Trade'}, 'count': PAGE}  # type: Dict[str, Any]
        if timestamp is None:
            return self._curl_bitmex('execution/tradeHistory', dict(query, reverse=True), timeout=timeout,
                                     max_retries=0)[::-1]
        rows = []  # type: List[Dict[str, Any]]
        while True:
            page = self._curl_bitmex('execution/tradeHistory', dict(query, startTime=timestamp, start=len(rows)),
                                     timeout=timeout, max_retries=0)
            rows += page
            if len(page) < PAGE:
                return rows

    # The names of releases before 1.6: fronts for single calls, for the exchange has no bulk endpoints any more

    def create_bulk_orders(self, orders: Sequence[Dict[str, Any]]) -> OrderRows:
        """Place orders one by one; see create_orders."""
        return self.create_orders(orders)

    def amend_bulk_orders(self, orders: Sequence[Dict[str, Any]]) -> OrderRows:
        """Amend orders one by one; see amend_orders."""
        return self.amend_orders(orders)

    def cancel_bulk_orders(self, orders: Iterable[Union[str, Dict[str, Any]]]) -> List[Dict[str, Any]]:
        """Cancel orders; see cancel_orders."""
        return self.cancel_orders(orders)

    def _curl_bitmex(self, path, query=None, postdict=None, timeout=None, verb=None, rethrow_errors=False,
                     max_retries=None):
        # type: (str, Any, Any, Optional[float], Optional[str], bool, Optional[int]) -> Any
        """Send any request to the API and return the decoded answer; what forks build their extra calls on.

        ``path`` begins after /api/v1; ``query`` and ``postdict`` are dicts; the verb is POST with a ``postdict`` and
        GET without, unless given.  ``max_retries`` replaces the bound of the policy (``rest/retry.py``).  A refused key
        raises KeyRefused, or with ``rethrow_errors`` an AuthenticationError that ends no process.
        """
        verb = verb or ('POST' if postdict else 'GET')
        is_order = retry.kind_of(verb, '/' + path.lstrip('/')) in (retry.CREATE, retry.AMEND)
        try:
            if is_order and isinstance(postdict, dict) and not query:
                return self._only_row(self._send_orders(verb, [postdict], [postdict], timeout, max_retries))
            if verb == 'DELETE' and path.strip('/') in ('order', 'order/all'):
                return self._sender.cancel(postdict, path, query, timeout, max_retries)
            return self._client.request(verb, path, query, postdict, timeout, max_retries)
        except AuthenticationError as error:
            raise (AuthenticationError if rethrow_errors else KeyRefused)(str(error))

    def _connected(self, should_auth, clock, connect_timeout):
        # type: (bool, Any, float) -> BitMEXWebsocket
        """Return the live tables, connected and filled."""
        if should_auth and not (self.apiKey and self.apiSecret):
            raise KeyRefused('API_KEY and API_SECRET are not set: {} trades for known keys only'.format(self.base_url))
        ws = BitMEXWebsocket(api_key=self.apiKey, api_secret=self.apiSecret, clock=clock)
        try:
            ws.connect(self.base_url, self.symbol, shouldAuth=should_auth, timeout=connect_timeout)
        except AuthenticationError as error:
            ws.exit()
            raise KeyRefused(str(error))
        except ConnectionLost as error:
            ws.exit()
            if self._way_out and self._way_out not in str(error):
                raise ConnectionLost('{}: {}'.format(error, self._way_out))
            raise
        return ws

    def _introduce(self):
        # type: () -> str
        """Open our account on the local exchange if it is another one than the one we remember; return its name then,
        else ''.

        The feed and every thread that sends may find out at the same time: one opens the account, all are told.
        """
        try:
            with self._introducing:
                instance = instance_of(self.base_url)
                if self.state is None or instance in ('', self.state.instance):
                    return ''
                if instance != self._introduced_to:
                    local.ensure(self.base_url, self.apiKey or '', self.apiSecret or '', start=False)
                    self._introduced_to = instance
                return instance
        except MarketMakerError as error:
            report(logging.WARNING, 'This local exchange was started anew and does not take us: %s', error)
            return ''

    def _creation(self, order):
        # type: (Dict[str, Any]) -> Dict[str, Any]
        """Give the caller's order a symbol and a name, and return what is sent for it."""
        order.setdefault('symbol', self.symbol)
        if not order.get('clOrdID') or isinstance(order['clOrdID'], GivenName):
            order['clOrdID'] = GivenName(new_name(self.orderIDPrefix, self._rng))
        body = _without_none(order)
        if self.postOnly and 'execInst' not in body and 'price' in body and body.get('ordType') in RESTING_TYPES:
            body['execInst'] = POST_ONLY
        return whole(body)

    def _cancel(self, which):
        # type: (Dict[str, Any]) -> Optional[List[Dict[str, Any]]]
        return self._curl_bitmex('order', postdict=which, verb='DELETE')

    def _send_orders(self, verb, orders, bodies, timeout=None, max_retries=None):
        # type: (str, Sequence[Any], Sequence[Dict[str, Any]], Optional[float], Optional[int]) -> OrderRows
        """Send one request an order and return rows and errors."""
        try:
            outcomes = self._sender.send(verb, bodies, timeout, max_retries, getattr(orders, 'begun', None))
        except AuthenticationError as error:
            raise KeyRefused(str(error))
        pairs = list(zip(orders, outcomes))
        return OrderRows([row for _, row in pairs if not isinstance(row, Exception)],
                         [pair for pair in pairs if isinstance(pair[1], Exception)])

    def _logged(self, rows):
        # type: (OrderRows) -> OrderRows
        for order, error in rows.errors:
            logger.log(logging.ERROR if isinstance(error, OutcomeUnknown) else logging.WARNING, '%s: %s',
                       describe(order), error)
        return rows

    @staticmethod
    def _only_row(rows):
        # type: (OrderRows) -> Dict[str, Any]
        for _, error in rows.errors:
            raise error
        return rows[0]


def report(level: int, text: str, *args: Any) -> None:
    """Write a log line of REST; here, so that it carries this module's name."""
    logger.log(level, text, *args)


def instance_of(base_url: str) -> str:
    """Return what a local exchange calls itself, anew at each start; '' for another kind of exchange on this machine.

    Raise ConnectionLost when it does not answer.
    """
    parts = urlsplit(base_url)
    connection = http.client.HTTPConnection(parts.hostname or '', parts.port or 80, timeout=HANDSHAKE_TIMEOUT)
    try:
        connection.request('GET', '/local-exchange')
        introduction = json.loads(connection.getresponse().read().decode('utf-8'))
    except ValueError:
        return ''
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionLost('cannot reach {}://{} ({})'.format(parts.scheme, parts.netloc.rpartition('@')[2], error))
    finally:
        connection.close()
    return str(introduction.get('instance') or '') if isinstance(introduction, dict) else ''


def amendment(order: Dict[str, Any]) -> Dict[str, Any]:
    """Return what is sent to amend an order: everything given, with the order named as the exchange wants it."""
    body = _without_none(order)
    if body.get('orderID'):
        body.pop('clOrdID', None)   # with an orderID beside it this would be a new name for the order
    elif body.get('clOrdID') and not body.get('origClOrdID'):
        body['origClOrdID'] = body.pop('clOrdID')
    return whole(body)


def whole(body: Dict[str, Any]) -> Dict[str, Any]:
    """Make integers of quantities such as 150.0, in place, and return the body; others are left to the exchange."""
    for name in WHOLE:
        value = body.get(name)
        if value is None or type(value) is int:   # as it nearly always is
            continue
        try:
            if value == int(value):
                body[name] = int(value)
        except (ValueError, TypeError, OverflowError):
            continue  # not a number at all: the exchange will say so
    return body


def _without_none(order):
    # type: (Dict[str, Any]) -> Dict[str, Any]
    return {name: value for name, value in order.items() if value is not None}
