"""ExchangeInterface: our account seen through one symbol.

Reads come from memory and return at once.  What it sends it also remembers (``orders/commands.py``), so that
``get_orders`` is right before the tables have echoed an order, and it touches only orders of our own: those whose
clOrdID is the prefix and the 22 characters that we generate, and those that the ledger names, for we sent them under a
name of the strategy's.  In a dry run it reads everything and sends nothing.  It decides nothing about quoting and never
ends the process.
"""
from __future__ import absolute_import

import random
import re
import threading
import time
from operator import itemgetter
from typing import Any, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker import bitmex, contracts, local
from market_maker.orders import commands, converge, limits, risk
from market_maker.orders.excess import beyond_limits, by_name
from market_maker.orders.results import Results
from market_maker.rest.names import is_generated, new_name
from market_maker.settings import changes, command_line, settings
from market_maker.state import losses
from market_maker.state.ledger import AMEND, CANCEL, UNKNOWN
from market_maker.utils import constants, log
from market_maker.utils.errors import (AuthenticationError, MarketClosedError, MarketEmptyError, MarketMakerError,
                                       OrderNotFound, OutcomeUnknown, SettingsError)

logger = log.under('market_maker')

NO_BUY = {'price': -2 ** 32}    # what get_highest_buy answers when we bid nothing: strategies compare with it
NO_SELL = {'price': 2 ** 32}
FLAT = ('currentQty', 'avgCostPrice', 'avgEntryPrice', 'openOrderBuyQty', 'openOrderSellQty', 'openOrderBuyCost',
        'openOrderSellCost', 'liquidationPrice', 'marginCallPrice', 'bankruptPrice', 'breakEvenPrice', 'markPrice',
        'markValue', 'initMargin', 'maintMargin', 'posMargin', 'unrealisedGrossPnl', 'unrealisedPnl',
        'unrealisedPnlPcnt', 'unrealisedRoePcnt', 'realisedPnl', 'realisedGrossPnl', 'rebalancedPnl', 'homeNotional',
        'foreignNotional', 'currentCost', 'currentComm')   # the zeros of a position that never was
MARGIN = ('amount', 'walletBalance', 'marginBalance', 'availableMargin', 'excessMargin', 'withdrawableMargin')
NO_MARGIN = ('prevRealisedPnl', 'grossComm', 'grossOpenCost', 'grossOpenPremium', 'grossExecCost', 'grossMarkValue',
             'riskValue', 'initMargin', 'maintMargin', 'realisedPnl', 'unrealisedPnl', 'marginLeverage',
             'marginUsedPcnt')   # with MARGIN, what a dry run's margin row holds
PRICE = itemgetter('price')
# the settings whose limits depend on more than orders, prices and sizes: with one of them set, every pass looks at all
WATCHFUL = ('CHECK_POSITION_LIMITS', 'FREE_MARGIN_LIMIT', 'LIQUIDATION_LIMIT', 'FILLED_LIMIT', 'MOVE_LIMIT',
            'LOSS_LIMIT', 'DRAWDOWN_LIMIT', 'DAILY_LOSS_LIMIT')
FINISHED = ('Filled', 'Canceled', 'Rejected')
REFUSED_TEXT = 'Invalid ordStatus'   # BitMEX's answer to an amend of an order that rests no more
REMEMBERED = 10000   # names of orders whose kind is kept
SHORT = 2.0      # seconds for the one attempt of somebody in a hurry
LAST_ECHO = 0.1  # seconds for the last cancels to show in the tables, and with them the last fills
FAREWELL = 6.0   # seconds that cancel_everything keeps trying
LOST_FOR = 1.0   # seconds after which a create that was cut off at the end of a run is taken for never carried out
PAUSE = 0.25     # seconds between two questions to the exchange
NUMBER = re.compile(r'\d+(\.\d+)?')   # what differs from one look to the next in the words for a cause
GLANCE = 0.01    # seconds between two looks at the tables


class Reserved(dict):
    """An order with a name under which it is known to be on its way, and that was held against the limits."""


class Checked(dict):
    """An amend that was held against the limits."""


class ExchangeInterface(object):
    """What a strategy may ask and tell the exchange; ``dry_run``, ``symbol`` and ``bitmex`` are its public attributes.

    Building it connects (see ``bitmex.BitMEX`` for what that raises).  Any thread may call any method; no lock is held
    while one of them talks to the exchange.
    """

    def __init__(self, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self.symbol = command_line().symbol or settings.SYMBOL
        self.bitmex = self._connect()
        if not dry_run:
            self.bitmex.remember()
            self.bitmex.gate = self._why_not
            self.bitmex.heard = self._hear
        self.results = Results()
        self._commands = commands.Commands()
        self._own_names = {}      # type: Dict[Any, bool]   # clOrdID -> whether we generate such names
        self._given_names = {}    # type: Dict[str, bool]   # clOrdIDs of the strategy's that we sent -> True
        self._fills = commands.FillWatch()
        self.limits = limits.Limits()
        self._losses = None       # type: Any   # (state folder, its state.losses.Losses)
        self._rng = random.SystemRandom()
        self._warned = set()      # type: Any   # warnings that were given
        self._limits_asleep = None  # type: Any   # (settings.changes(), whether no limit has to be watched)
        self._known_orders = None   # type: Any   # (version, what _orders returned for it)
        self._counted = None     # type: Any   # (fills, funding) of the account when the results were counted last
        self.is_closing = False  # nothing is placed any more
        self._missed_echo = ''   # what look_for_echo said last
        self.used_at = 0.0       # when a strategy or the loop used us last (monotonic seconds)
        self.halt = ''           # why nothing may be quoted until somebody takes it back
        self.watched_reconnects = None   # type: Optional[int]   # of the connection that is compared; None: no guard
        self._no_quotes = ''     # why there are none, as it was logged, without its numbers
        self._counting = threading.RLock()   # a signal's handler may come back here on the same thread
        self._excess_told = set()   # type: Any   # why orders of the strategy's were not sent, as it was logged
        self._not_cleared = ''    # why a closed side was not cleared, as it was logged
        self._pull_again = 0.0   # when an attempt that failed may be repeated (monotonic seconds)
        self._pulling = threading.Lock()   # taken, without waiting, by the one thread that pulls
        self._is_stale = False   # an amend was refused for an order that rests no more: the ladder wants another look
        self._called_gone = set()   # type: Any   # ids of orders that the exchange called finished when they were amended
        self.results.wallet_before = self._funds().get('walletBalance')
        self._recall()

    def _recall(self):
        # type: () -> None
        """Let the creates of unknown fate that an earlier process left behind hold their places until all is known."""
        ledger = self.bitmex.ledger
        for record in ledger.unresolved() if ledger is not None else ():
            if record.kind == commands.CREATE and record.symbol == self.symbol:
                self._commands.reserve(record.clOrdID, record.body)
                self._commands.sent(record.clOrdID, time.monotonic())
                self._commands.lost(record.clOrdID)

    def _connect(self):
        # type: () -> Any
        """Return the connector.  A dry run does without keys where there are none; then there is no account to read."""
        has_keys = bool(settings.API_KEY and settings.API_SECRET) or local.is_local(settings.BASE_URL)
        connector = bitmex.BitMEX(settings.BASE_URL, self.symbol, settings.API_KEY, settings.API_SECRET,
                                  orderIDPrefix=settings.ORDERID_PREFIX, shouldWSAuth=has_keys or not self.dry_run,
                                  postOnly=settings.POST_ONLY, timeout=settings.TIMEOUT,
                                  local_market=settings.LOCAL_MARKET, local_seed=settings.LOCAL_SEED,
                                  connect_timeout=settings.CONNECT_TIMEOUT)
        connector.ws.health.heartbeat = settings.HEARTBEAT
        connector.ws.health.stale_after = settings.STALE_AFTER
        return connector

    # The market

    def get_instrument(self, symbol: Optional[str] = None) -> Dict[str, Any]:
        """Return the live row of an instrument, ours by default, with ``tickLog``, the decimals of its tick."""
        return self.bitmex.instrument(symbol or self.symbol)

    def get_ticker(self, symbol: Optional[str] = None) -> Dict[str, float]:
        """Return a new dict with the prices last, buy, sell and mid, each on the tick."""
        self.used_at = time.monotonic()
        return self.bitmex.ticker_data(symbol or self.symbol)

    def _why_not(self, order):
        # type: (Dict[str, Any]) -> str
        """Return why an order may not go out at this moment, or ''; what can only close a position at once may."""
        if order.get('price') is None and risk.only_reduces(order):
            return ''
        if self.is_closing:
            return 'the bot is shutting down'
        return self.why_closed() or self._beyond_limit(order)

    def _hear(self, row):
        # type: (Dict[str, Any]) -> None
        """Remember an answer when it comes, not when the last order of its list has one."""
        self._note([row])

    def _beyond_limit(self, order):
        # type: (Dict[str, Any]) -> str
        """Return why an order that has waited for its turn would now break a position limit, or ''."""
        if not settings.CHECK_POSITION_LIMITS or order.get('orderQty') is None or risk.only_reduces(order):
            return ''
        resting = self.get_orders()
        before = next((row for row in resting if row['orderID'] == order.get('orderID')), {})   # type: Dict[str, Any]
        side = before.get('side') or order.get('side') or ('Buy' if order['orderQty'] > 0 else 'Sell')
        name = order.get('clOrdID')
        grown = abs(order['orderQty']) - (before.get('cumQty') or 0) - risk.leaves(before)
        if grown <= 0 or risk.only_reduces(before):
            return ''
        others = [row for row in self.in_flight() if row.get('clOrdID') != name]
        working = sum(risk.leaves(row) for row in resting + others if row.get('side') == side)
        room = self.rooms()[side]
        if working + grown <= room:
            return ''
        return '{} {} contracts beside the {} at work would now pass the position limit, which leaves {:.0f}'.format(
            side, grown, working, room)

    def is_open(self) -> bool:
        """Tell whether the live tables are connected and can be trusted."""
        return self.bitmex.ws.ready() and not self.look_for_echo() and not self.why_closed()

    def why_closed(self) -> str:
        """Return why the live tables cannot be trusted, in words for a log line; '' when they can."""
        if not self._missed_echo and self._commands.may_be_overdue(time.monotonic(), settings.ECHO_TIMEOUT):
            self.look_for_echo()
        # After a gap the fresh images, not yet looked at, have what the echoes of before would have shown.
        return self.bitmex.ws.reason() or self._unwatched() or self._missed_echo or self.halt

    def _unwatched(self):
        # type: () -> str
        if self.watched_reconnects in (None, self.bitmex.ws.reconnects):
            return ''
        return 'orders and position are still being compared with the exchange after a gap'

    def wait_until_open(self, seconds: float) -> bool:
        """Wait until the live tables have fresh images of everything, ``seconds`` at most; return whether they have."""
        deadline = time.monotonic() + seconds
        self.bitmex.ws.wait_until_ready(seconds)
        while not self.is_open() and time.monotonic() < deadline:
            time.sleep(GLANCE)
        return self.is_open()

    def check_market_open(self) -> None:
        """Raise MarketClosedError unless the instrument trades now."""
        state = self.get_instrument().get('state')
        if state != 'Open':
            raise MarketClosedError('{} does not trade now: its state is {}'.format(self.symbol, state))

    def check_if_orderbook_empty(self) -> None:
        """Raise MarketEmptyError when there is no bid or no ask to quote around."""
        if self.get_instrument().get('midPrice') is None:
            raise MarketEmptyError('the order book of {} has no price to quote around'.format(self.symbol))

    # The account

    def get_margin(self) -> Dict[str, Any]:
        """Return the live margin row in satoshi (on contracts settled in USDT, the row of that, in millionths).

        In a dry run it is a row of the balance DRY_BTC, with availableFunds in XBT beside it.
        """
        if not self.dry_run:
            return self._funds()
        balance = int(round(settings.DRY_BTC * constants.XBt_TO_XBT))
        row = dict.fromkeys(NO_MARGIN, 0)  # type: Dict[str, Any]
        row.update(dict.fromkeys(MARGIN, balance))
        row.update(currency='XBt', availableFunds=float(settings.DRY_BTC))
        return row

    def get_position(self, symbol: Optional[str] = None) -> Dict[str, Any]:
        """Return the live position row, or without one a row of zeros."""
        symbol = symbol or self.symbol
        row = self.bitmex.position(symbol)
        if row and 'avgCostPrice' in row:
            return row
        return dict(dict.fromkeys(FLAT, 0), **dict(row or {}, symbol=symbol))

    def get_delta(self, symbol: Optional[str] = None) -> int:
        """Return the position in contracts, signed."""
        return self.get_position(symbol).get('currentQty') or 0

    def get_portfolio(self) -> Dict[str, Dict[str, Any]]:
        """Return for each of CONTRACTS its currentQty, futureType, multiplier (for the delta), markPrice and spot."""
        portfolio = {}
        for symbol in settings.CONTRACTS:
            try:
                instrument = self.get_instrument(symbol)
            except SettingsError as error:
                self._warn_once('CONTRACTS: {}'.format(error))
                continue
            mark = instrument.get('markPrice')
            spot = instrument.get('indicativeSettlePrice')
            portfolio[symbol] = {
                'currentQty': float(self.get_delta(symbol)),
                'futureType': contracts.kind(instrument).capitalize(),
                'multiplier': contracts.delta_multiplier(instrument),
                'markPrice': float(mark or spot or 0),
                'spot': float(spot or mark or 0),
            }
        return portfolio

    def calc_delta(self) -> Dict[str, float]:
        """Return the portfolio's delta in XBT, signed: at the index (spot), at the marks, and the difference
        (basis)."""
        spot = mark = 0.0
        for item in self.get_portfolio().values():
            if item['currentQty'] and item['spot']:
                which = item['futureType'].lower()
                spot += contracts.exposure(which, item['multiplier'], item['currentQty'], item['spot'])
                mark += contracts.exposure(which, item['multiplier'], item['currentQty'], item['markPrice'])
        return {'spot': spot, 'mark_price': mark, 'basis': mark - spot}

    # Our orders

    def get_orders(self) -> List[Dict[str, Any]]:
        """Return our open orders of this symbol as a fresh list of live rows; [] in a dry run.

        Where the tables have not echoed the exchange's answer to a command yet, the answer counts.
        """
        return list(self._orders()[0])

    def get_highest_buy(self) -> Dict[str, Any]:
        """Return our best bid, or a dict with an impossibly low price."""
        return self._orders()[1] or dict(NO_BUY)

    def get_lowest_sell(self) -> Dict[str, Any]:
        """Return our best ask, or a dict with an impossibly high price."""
        return self._orders()[2] or dict(NO_SELL)

    def is_own(self, order: Dict[str, Any]) -> bool:
        """Tell whether an order is ours: its name is one that we generate, or one that this process sent."""
        name = order.get('clOrdID')
        known = self._own_names.get(name)
        if known is None:
            known = bool(name) and is_generated(name, self.bitmex.orderIDPrefix)
            if len(self._own_names) >= REMEMBERED:
                self._own_names.clear()   # it only saves time
            self._own_names[name] = known
        return known or name in self._given_names or self._is_in_ledger(name)

    def _is_in_ledger(self, name):
        # type: (Any) -> bool
        ledger = self.bitmex.ledger
        return ledger is not None and ledger.owns(name)

    def create_orders(self, orders: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Place orders and return the rows that came back; in a dry run return the list unsent.

        A dict is passed on whole, and ``symbol`` and ``clOrdID`` are written into it where it has none.  An order that
        is refused is logged and does not keep the others from being sent; ``.errors`` of the answer lists it.
        """
        if self.dry_run:
            return orders
        self.used_at = time.monotonic()
        begun = getattr(orders, 'begun', None)
        if self.is_closing:
            self._warn_once('The bot is shutting down and places nothing any more.')
            return []
        excess = self._excess([order for order in orders if not isinstance(order, Reserved)], False)
        if excess:
            orders = self._without(orders, excess)
        named = [order if isinstance(order, Reserved) else self.reserve(order) for order in orders]
        for order in named:
            self._commands.sent(order['clOrdID'], time.monotonic())
        try:
            rows = self._note(self.bitmex.create_orders(_announced(named, begun)))
        except BaseException:   # a stop, a refused key: whether they were sent is for cancel_everything to find out
            for order in named:
                self._commands.lost(order['clOrdID'])
            raise
        for order, error in getattr(rows, 'errors', ()):
            if isinstance(error, OutcomeUnknown):
                self._commands.lost(order['clOrdID'])
            else:
                self._commands.refused(order['clOrdID'])
        self.results.created += len(rows)
        return _with_errors(rows, excess)

    def amend_orders(self, orders: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Amend orders by orderID or clOrdID and return the rows that came back; in a dry run the list, unsent."""
        if self.dry_run:
            return orders
        self.used_at = time.monotonic()
        begun = getattr(orders, 'begun', None)
        excess = self._excess([order for order in orders if not isinstance(order, Checked)], True)
        if excess:
            orders = self._without(orders, excess)
        rows = self._note(self.bitmex.amend_orders(_announced(orders, begun)))
        for order, error in getattr(rows, 'errors', ()):
            if isinstance(error, OrderNotFound) or getattr(error, 'message', '').startswith(REFUSED_TEXT):
                self._is_stale = True
                if not getattr(error, 'message', '').endswith(FINISHED):   # else it is certain
                    self._called_gone.add(order.get('orderID'))
                self._note_gone(order.get('orderID'))
            elif isinstance(error, OutcomeUnknown):
                for row in self.get_orders():
                    if row['orderID'] == order.get('orderID'):
                        self._commands.doubt(row, order, time.monotonic())
        self.results.amended += len(rows)
        return _with_errors(rows, excess)

    def cancel_orders(self, orders: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Cancel orders in one request and return the rows that came back; in a dry run return the list unsent."""
        if self.dry_run or not orders:
            return orders
        return self._note_cancelled(orders, self.bitmex.cancel_orders(orders) or [])

    def _note_cancelled(self, orders, rows):
        # type: (List[Dict[str, Any]], List[Dict[str, Any]]) -> List[Dict[str, Any]]
        """Remember what came of cancelling these orders; what the exchange does not mention it does not have."""
        answered = self._note([row for row in rows if not row.get('error') and row.get('orderID')])
        self.results.cancelled += len(answered)
        known = {row.get('orderID') for row in rows}
        for order in orders:
            if order.get('orderID') and order['orderID'] not in known:
                self._commands.gone(order['orderID'], time.monotonic())
        refused = [row['orderID'] for row in rows if row.get('error') and row.get('orderID')]
        if refused:   # as a rule for they have ended, of which the tables may not tell
            try:
                self._note([row for row in self.bitmex.look_up([], refused) if not commands.is_open(row)])
            except AuthenticationError:
                raise
            except MarketMakerError as error:   # the cancel is answered all the same, and the audit looks again
                logger.warning('What became of %d orders that could not be cancelled is not known yet: %s',
                               len(refused), error)
        return rows

    create_bulk_orders = create_orders   # the names of releases before 1.6; there are no bulk endpoints any more
    amend_bulk_orders = amend_orders
    cancel_bulk_orders = cancel_orders

    def cancel_order(self, order: Dict[str, Any]) -> None:
        """Cancel one order."""
        logger.info('Canceling: %s', self.describe(order))
        self.cancel_orders([order])

    def cancel_all_orders(self) -> None:
        """Cancel every order of ours on this symbol, as the exchange knows them; nothing in a dry run.

        Returns when the tables have followed, or after API_REST_INTERVAL seconds.
        """
        if self.dry_run:
            return
        logger.info('Resetting current position. Cancelling all existing orders.')
        orders = self._resting()
        if not orders:
            return
        for order in orders:
            logger.info('Canceling: %s', self.describe(order))
        self.cancel_orders(orders)
        self._wait_for_echo({order['orderID'] for order in orders}, settings.API_REST_INTERVAL or 0)

    def cancel_everything(self, seconds: float = FAREWELL) -> Tuple[int, str]:
        """Cancel every order of ours and look until none is left; return (how many may be left, why).

        It asks the exchange, not the tables, also for the creates that were cut off before their answer came.
        """
        self.is_closing = True
        if self.dry_run:
            return 0, ''
        cancelled = set()   # type: set
        deadline = time.monotonic() + seconds
        try:   # what we know of goes before anything is asked: a question may have to wait for its turn
            self.pull(self.get_orders())
        except AuthenticationError:
            raise
        except MarketMakerError as error:
            logger.warning('Our orders could not be cancelled at once: %s', error)
        while True:
            left = None   # type: Optional[List[Dict[str, Any]]]
            try:
                self._find_lost()
                left = self._resting(timeout=SHORT, max_retries=0)
                if left:
                    self._cancel_at_once([order['orderID'] for order in left], left)
                    cancelled.update(order['orderID'] for order in left)
                elif not self._commands.unanswered():
                    self.bitmex.resolve_now()   # cancels without an answer, above all
                    self._wait_for_echo(cancelled, LAST_ECHO)
                    return 0, ''
                reason = 'they still rest after their cancel' if left else 'sent, and the answer was lost'
            except AuthenticationError:
                raise
            except MarketMakerError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                return max(len(self.get_orders() if left is None else left), len(self._commands.unanswered())), reason
            if not left:
                time.sleep(PAUSE)

    def pull(self, orders: List[Dict[str, Any]]) -> None:
        """Cancel orders with one short attempt; whoever calls does so again while there are any."""
        if orders and not self.dry_run:
            self._cancel_at_once([order['orderID'] for order in orders], orders)

    def no_quotes(self, reason: str) -> None:
        """Take our orders out of the market, as far as that is possible now, and say why, once for each cause.

        Whoever calls does so again as long as the cause lasts; any thread may, one at a time does the work.
        """
        cause = NUMBER.sub('#', reason)
        is_new, self._no_quotes = cause != self._no_quotes, cause
        if is_new:
            logger.warning('No quotes: %s.', reason)
        if time.monotonic() < self._pull_again or not self._pulling.acquire(False):
            return
        try:
            orders = self.get_orders()
            if orders and is_new:
                logger.info('Canceling %d orders.', len(orders))
            self.pull(orders)
        except AuthenticationError:
            raise
        except MarketMakerError as error:
            self._pull_again = time.monotonic() + PAUSE   # whoever is out of reach is not asked at every look
            if is_new:
                logger.warning('Our orders could not be cancelled yet: %s', error)
        finally:
            self._pulling.release()

    def are_back(self) -> bool:
        """Note that a pass has placed its quotes; tell whether there were none before."""
        if not self._no_quotes or self.why_closed():
            return False
        self._no_quotes = ''
        return True

    def take_images(self, asked_at: float) -> None:
        """Believe the tables, which were filled anew by images that were asked for then (monotonic seconds)."""
        self._commands.imaged(asked_at)
        self.look_for_echo()

    def believe(self, row: Dict[str, Any]) -> None:
        """Believe an order row of REST, whatever the tables show."""
        self._note([row])

    def believe_gone(self, order_id: str) -> None:
        """Believe that the exchange works an order no more, whatever the tables show."""
        self._note_gone(order_id)

    def cancel_once(self) -> Tuple[int, str]:
        """Cancel what the tables show as ours with one short attempt and no look afterwards; as cancel_everything."""
        self.is_closing = True
        resting = [order['orderID'] for order in self.get_orders()]
        wanted = [('orderID', resting), ('clOrdID', self._commands.unanswered())]
        try:
            for field, names in wanted:
                if names and not self.dry_run:
                    self.bitmex._curl_bitmex('order', postdict={field: names}, timeout=SHORT, verb='DELETE',
                                             max_retries=0)
        except MarketMakerError as error:
            return sum(len(names) for _, names in wanted), str(error)
        return 0, ''

    def resolve(self) -> None:
        """Look for the commands of unknown fate whose next look is due, and note what became of them.

        Raise ConnectionLost or APIError when the exchange cannot be asked.
        """
        now = time.monotonic()
        for record, row in self.bitmex.resolve_due():
            if row is not None:
                self._note([row], commands.is_open(row))
            elif record.kind == commands.CREATE:
                self._commands.refused(record.clOrdID)
            elif record.orderID:
                self._commands.undoubt(record.orderID)
        lost = self._commands.lost_names()
        unsettled = set(self.bitmex.unsettled()) if lost else ()
        settled = [name for name in lost if name not in unsettled]   # a stop cut off whoever would have told us
        found = {row.get('clOrdID'): row for row in (self.bitmex.look_up(settled) if settled else ())}
        for name in settled:
            if name in found:
                self._commands.answered(found[name], now, commands.is_open(found[name]))
            else:
                self._commands.refused(name)

    def look_for_echo(self) -> str:
        """Return why the order table cannot be trusted: an answer that it has not shown for ECHO_TIMEOUT; else ''."""
        if not self._commands.owes_echoes():   # as it is nearly always, however many orders rest
            self._missed_echo = ''
            return ''
        overdue = self._commands.overdue(self._shown(), self.bitmex.ws.finished_order, time.monotonic(),
                                         settings.ECHO_TIMEOUT)
        self._missed_echo = '' if not overdue else (
            'the live table does not show for {:g} s what became of {} ({} in all)'.format(
                settings.ECHO_TIMEOUT, self.describe(overdue[0]).strip(), len(overdue)))
        return self._missed_echo

    def reserve(self, order: Dict[str, Any]) -> 'Reserved':
        """Note that an order is about to be created, and return what to hand to ``create_orders`` (or ``release``).

        From now on ``in_flight`` has it.  A name and the symbol are written into the dict where it has none.
        """
        name = order.get('clOrdID')
        if not name or isinstance(name, bitmex.GivenName):
            name = new_name(self.bitmex.orderIDPrefix, self._rng)
            order['clOrdID'] = bitmex.GivenName(name)
        elif not is_generated(name, self.bitmex.orderIDPrefix):
            self._given_names[str(name)] = True
        order.setdefault('symbol', self.symbol)
        reserved = Reserved(order, clOrdID=str(name))
        self._commands.reserve(str(name), reserved)
        return reserved

    def release(self, orders: Iterable['Reserved']) -> None:
        """Give up the places of those orders that were reserved and not sent after all."""
        for order in orders:
            self._commands.release(order['clOrdID'])

    def in_flight(self) -> List[Dict[str, Any]]:
        """Return the creates that have no answer yet, as rows without orderID."""
        return self._commands.in_flight()

    def is_stale(self) -> bool:
        """Tell, once, whether an amend came too late since the last call."""
        was, self._is_stale = self._is_stale, False
        return was

    def let_go(self) -> None:
        """Cancel the orders that the exchange calls finished while the table still shows them: one of them is wrong."""
        called, self._called_gone = self._called_gone, set()
        orders = [row for row in self._shown() if row['orderID'] in called and self.is_own(row)]
        try:
            self.pull(orders)
        except MarketMakerError:
            self._called_gone.update(row['orderID'] for row in orders)
            self._is_stale = True
            raise

    def doubtful(self, orders: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Return those of these orders with an amend or a cancel of unknown fate, which has been looked for in vain."""
        ledger = self.bitmex.ledger
        names = {name for record in (ledger.unresolved() if ledger is not None else ())
                 if record.kind in (AMEND, CANCEL) and record.state == UNKNOWN
                 for name in (record.clOrdID, record.orderID)}
        names.discard('')
        return [order for order in orders if names and not names.isdisjoint((order.get('clOrdID'), order['orderID']))]

    def rooms(self) -> Dict[str, float]:
        """Return for each side the contracts that may work at once without passing a limit; infinity where none is set.

        One line is logged when a limit begins to bite, and one when it lets go.
        """
        bounds = _bounds()
        with self._counting:
            rooms = self.limits.rooms(self._facts(bounds), bounds)
        self._tell_limits()
        return rooms

    def clear_closed_sides(self) -> None:
        """Take back what rests on a side that a limit has closed, however it was placed; what only reduces the position
        stays.

        The loop calls it at each pass, and the guard beside it.  Raise AuthenticationError only: what cannot be
        cancelled now is tried again at the next call.
        """
        rooms = self.rooms()
        if rooms['Buy'] > 0 and rooms['Sell'] > 0:
            return
        orders = [order for order in self.get_orders()
                  if rooms.get(order.get('side') or '', 1) == 0 and risk.leaves(order) > 0]
        if not orders or not self._pulling.acquire(False):
            return
        try:
            if not self._not_cleared:
                logger.info('Canceling %d orders of a side that is closed.', len(orders))
            self.pull(orders)
            self._not_cleared = ''
        except AuthenticationError:
            raise
        except MarketMakerError as error:
            cause = NUMBER.sub('#', str(error))
            if cause != self._not_cleared:
                logger.warning('Our orders could not be cancelled yet: %s', error)
            self._not_cleared = cause
        finally:
            self._pulling.release()

    def admitted(self, buys: List[Dict[str, Any]], sells: List[Dict[str, Any]],
                 rooms: Dict[str, float]) -> List[Dict[str, Any]]:
        """Return the wanted orders of both sides, cut to what the limits allow; the caller's own stay as they are."""
        with self._counting:
            wanted = self.limits.admitted(buys, sells, rooms, _bounds(), self.get_instrument())
        self._tell_limits()
        return wanted

    def standing_key(self) -> Any:
        """Return what is another thing whenever one of our orders, or a setting, has changed.

        None while more than that counts: a command without its echo, a limit that bites or has to be looked at, a dry
        run.  What then stood as it was wanted stands until the key, the instrument or the touch is another.
        """
        commands_seen = self._commands.changes   # first: what changes while we look makes the key an old one
        asleep = self._limits_asleep
        if asleep is None or asleep[0] != changes():
            asleep = self._limits_asleep = changes(), not any(
                settings[name] for name in WATCHFUL) and not self.dry_run
        if not asleep[1] or self.limits.biting or self._no_quotes or self.is_closing or self._is_stale \
                or not self._commands.is_settled():
            return None
        return asleep[0], commands_seen, self.bitmex.ws.health.last_rows.get('order')

    # Words

    def describe(self, order: Dict[str, Any]) -> str:
        """Return an order as the log shows it: ``Sell 100 @ 389.88``, buys indented to the same width.

        The size is what is left of it; of one that has ended, its own.
        """
        size = order.get('leavesQty')
        if not size:
            size = converge.quantity(order)
        price = order.get('price')
        where = '{:.{}f}'.format(price, self.tick_log()) if price is not None else 'market'
        if order.get('stopPx') is not None:
            where += ' (stop {})'.format(order['stopPx'])
        return '{:>4} {} @ {}'.format(order.get('side') or '', 'all' if size is None else size, where)

    def tick_log(self) -> int:
        """Return how many decimals prices of our instrument have."""
        return self.get_instrument().get('tickLog') or 0

    def tally(self) -> Results:
        """Return what this run has done so far, with the newest executions counted."""
        heard = self.bitmex.ws.executions
        with self._counting:
            news = heard.fills, sum(heard.funding.values())
            if news != self._counted:
                self._counted = news
                self.results.count(heard.rows(), self.is_own)
        return self.results

    def realised(self) -> int:
        """Return by how much the wallet has changed in this run, in minor units: profits less fees and funding.

        It is that of the whole account: other contracts settled in our currency, deposits and withdrawals count too.
        """
        wallet = self._funds().get('walletBalance')
        return 0 if wallet is None or self.results.wallet_before is None else wallet - self.results.wallet_before

    # Inside

    def _facts(self, bounds):
        # type: (Dict[str, Any]) -> limits.Facts
        """Return what the limits look at, as far as one that is set needs it."""
        low = high = bought = sold = 0
        position = {}   # type: Dict[str, Any]
        price = None
        if bounds['CHECK_POSITION_LIMITS'] or bounds['FREE_MARGIN_LIMIT'] or bounds['LIQUIDATION_LIMIT']:
            position = self.get_position()
            low, high = self._fills.bounds(position, self.get_orders(), self.bitmex.ws.finished_order, time.monotonic())
        if bounds['FILLED_LIMIT'] is not None:
            results = self.tally()
            bought, sold = results.bought, results.sold
        if bounds['MOVE_LIMIT'] is not None:
            price = self.get_instrument().get('midPrice')
        margin = self.get_margin() if bounds['FREE_MARGIN_LIMIT'] else {}
        return limits.Facts(time.monotonic(), low, high, position, margin, price, bought, sold, self._lost(bounds))

    def _lost(self, bounds):
        # type: (Dict[str, Any]) -> str
        """Return why no more may be lost, or ''."""
        most = bounds['LOSS_LIMIT'], bounds['DRAWDOWN_LIMIT'], bounds['DAILY_LOSS_LIMIT']
        if most == (None, None, None) or self.dry_run:
            return ''
        currency = self.get_instrument().get('settlCurrency') or 'XBt'
        allowed = losses.Bounds(most[0], most[1], most[2], currency, contracts.settle_scale(currency))
        return self._loss_watch().check(self._funds().get('marginBalance'), allowed, self.bitmex.exchange_time(),
                                        time.monotonic())

    def _loss_watch(self):
        # type: () -> losses.Losses
        """Return the loss watch of the account on this exchange; a local one that was started anew has a new one."""
        folder = self.bitmex.state
        if self._losses is None or self._losses[0] is not folder:
            name = losses.file_name('{} {}'.format(self.symbol, self.bitmex.orderIDPrefix))
            self._losses = folder, losses.Losses(folder and folder.file(name), logger.log)
        return self._losses[1]

    def _tell_limits(self):
        # type: () -> None
        with self._counting:
            news = self.limits.take_news()
        for bites, words in news:
            if bites:
                logger.warning('Limit: %s.', words)
            else:
                logger.info('No longer limited by %s.', words)

    def _without(self, orders, excess):
        # type: (List[Dict[str, Any]], List[Any]) -> List[Dict[str, Any]]
        """Return the orders that the limits allow; say which they do not."""
        for order, error in excess:
            cause = NUMBER.sub('#', str(error))
            if cause not in self._excess_told:   # else a strategy that tries at each pass would fill the log
                self._excess_told.add(cause)
                words = '{} {} @ {}'.format(order.get('side') or '', order.get('orderQty'), order.get('price'))
                logger.warning('%s: %s', words.strip(), error)   # nonsense has no description
        left_out = {id(order) for order, _ in excess}
        return [order for order in orders if id(order) not in left_out]

    def _excess(self, orders, are_amends):
        # type: (List[Dict[str, Any]], bool) -> List[Tuple[Dict[str, Any], MarketMakerError]]
        """Return those orders, with the reason, that the limits do not allow beside what works now: a strategy sends
        them by itself."""
        if not orders:
            return []
        rows = self.get_orders()
        working = risk.Working(rows + self.in_flight(), self.rooms())
        found = beyond_limits(orders, by_name(rows) if are_amends else {}, working, _bounds(), self.get_instrument())
        if not found:
            self._excess_told.clear()
        return found

    def _note(self, rows, is_echoed=True):
        # type: (Any, bool) -> Any
        """Remember the rows that the exchange answered with, and whether the tables will show them too."""
        for row in rows or ():
            if row.get('symbol') not in (None, self.symbol):   # our order table does not have it, and never will
                self._commands.refused(row.get('clOrdID') or '')
            elif row.get('orderID'):
                self._commands.answered(row, time.monotonic(), is_echoed)
                self._fills.know(row)
        return rows

    def _warn_once(self, words):
        # type: (str) -> None
        if words not in self._warned:
            self._warned.add(words)
            logger.warning('%s', words)

    def _note_gone(self, order_id):
        # type: (Optional[str]) -> None
        """Note that the exchange works an order no more, although the tables show it: perhaps it has filled."""
        for row in self.get_orders():
            if row['orderID'] == order_id:
                self._fills.presume_filled(row, time.monotonic() + settings.ECHO_TIMEOUT)
                self._commands.gone(row['orderID'], time.monotonic())

    def _resting(self, **patience):
        # type: (**Any) -> List[Dict[str, Any]]
        """Return our open orders as REST knows them; ``patience`` may bound ``timeout`` and ``max_retries``."""
        query = {'filter': {'symbol': self.symbol, 'open': True}, 'count': 500}
        return [row for row in self.bitmex._curl_bitmex('order', query, **patience) if self.is_own(row)]

    def _cancel_at_once(self, order_ids, orders):
        # type: (List[str], List[Dict[str, Any]]) -> None
        """Cancel orders with one short attempt, which whoever calls repeats."""
        rows = self.bitmex._curl_bitmex('order', postdict={'orderID': order_ids}, timeout=SHORT, verb='DELETE',
                                        max_retries=0)
        self._note_cancelled(orders, rows or [])

    def _find_lost(self):
        # type: () -> None
        """Look up the creates without an answer; one that stays unknown for LOST_FOR seconds was never carried out."""
        names = self._commands.unanswered()
        unsettled = set(self.bitmex.unsettled()) if names else ()   # first: it may be settled while we look
        found = {row.get('clOrdID'): row for row in (self.bitmex.look_up(names) if names else ())}
        for name in names:
            if name in found:
                self._commands.answered(found[name], time.monotonic())
            elif name not in unsettled:   # a stop came before its turn
                self._commands.refused(name)
            else:
                self._commands.absent(name, time.monotonic(), LOST_FOR)

    def _orders(self):
        # type: () -> Tuple[List[Dict[str, Any]], Any, Any]
        """Return our open orders, the highest bid among them and the lowest ask (or None).

        They are worked out anew only when the order table or our commands have changed since; until the tables have
        echoed every command, each time.
        """
        if self.dry_run:
            return [], None, None
        version = self.bitmex.ws.health.last_rows.get('order'), self._commands.changes
        known = self._known_orders
        if known is not None and known[0] == version:
            return known[1]
        rows = [row for row in self._shown() if self.is_own(row)]
        rows = self._commands.overlay(rows, self.bitmex.ws.finished_order, time.monotonic())
        bids = [row for row in rows if row.get('side') == 'Buy' and row.get('price') is not None]
        asks = [row for row in rows if row.get('side') == 'Sell' and row.get('price') is not None]
        found = (rows, max(bids, key=PRICE) if bids else None, min(asks, key=PRICE) if asks else None)
        if self._commands.is_settled():
            self._known_orders = version, found
        return found

    def _shown(self):
        # type: () -> List[Dict[str, Any]]
        """Return the open orders in the tables, anybody's and also those without a quantity."""
        return [row for row in self.bitmex.ws.data.get('order', ()) if row.get('leavesQty') != 0]

    def _funds(self):
        # type: () -> Dict[str, Any]
        """Return the margin row of our contract's settlement currency; an empty one without an account."""
        try:
            return self.bitmex.ws.funds(self.get_instrument().get('settlCurrency') or 'XBt')
        except KeyError:
            return {}

    def _wait_for_echo(self, order_ids, seconds):
        # type: (Any, float) -> None
        """Wait until the tables no longer show these orders, ``seconds`` at most."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(row['orderID'] in order_ids for row in self._shown()):
                return
            time.sleep(GLANCE)


def _announced(orders, begun):
    # type: (Any, Any) -> Any
    return orders if begun is None else bitmex.Announced(orders, begun)


def _bounds():
    # type: () -> Dict[str, Any]
    """Return the settings that the limits look at as a plain dict, which is read much faster."""
    settings.get('SYMBOL')   # the first read loads
    return {name: dict.get(settings, name) for name in limits.NAMES}


def _with_errors(rows, excess):
    # type: (Any, List[Any]) -> Any
    """Return what came back for orders, with those that were not even sent among its errors."""
    return bitmex.OrderRows(rows, list(getattr(rows, 'errors', ())) + excess) if excess else rows
