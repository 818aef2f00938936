"""OrderManager: the loop that looks at the market, asks the strategy what it wants, and makes it so.

It joins the rooms and owns the end of a run: whatever ends it, our own orders are cancelled, looked for until none is
left, and the run is summed up.  It decides no price (``orders/``), sends nothing by itself (``ExchangeInterface``) and
holds no lock.  Strategies subclass it; every method without a leading underscore may be overridden and is called
through ``self``, and what it keeps for itself begins with ``_mm_``, for the public names belong to the strategies.
"""
from __future__ import absolute_import

import atexit
import logging
import operator
import os
import random
import signal
import sys
import threading
import time
import traceback
from datetime import datetime
from os.path import getmtime
from time import sleep  # noqa: F401
from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

import requests  # noqa: F401

# Strategies star-import this module and use whatever it has always brought along, needed here or not.
from market_maker import bitmex
from market_maker.carrying import PASSING_ERRORS, Carrier, Create
from market_maker.contracts import cost, margin, settle_scale  # noqa: F401
from market_maker.exchange_interface import ExchangeInterface
from market_maker.guard import Guard
from market_maker.orders import converge, levels, limits, risk, standing
from market_maker.orders.commands import Patience
from market_maker.settings import settings
from market_maker.utils import constants, errors, log, math  # noqa: F401

logger = logging.getLogger('root')

watched_files_mtimes = []  # type: List[Tuple[str, float]]   # (path of WATCHED_FILES, its time stamp at the start)

IMPATIENCE = 3        # passes in a row, at the most, after an amend that came too late
RECONNECT_TIMEOUT = 300.0   # seconds that check_connection waits for the live tables before it gives them up
STEP = 1.0            # seconds between two looks of a waiting loop
LADDER = ('prepare_order', 'get_price_offset', 'long_position_limit_exceeded', 'short_position_limit_exceeded')
MARKET_ERRORS = (errors.MarketClosedError, errors.MarketEmptyError, errors.SanityCheckError)


class Stopped(KeyboardInterrupt, SystemExit):
    """Ctrl-C: what handlers of KeyboardInterrupt catch, and what ends the process in silence when nobody does."""

    code = errors.EXIT_OK


def XBt_to_XBT(XBt):
    # type: (float) -> float
    """Return satoshi as XBT."""
    return float(XBt) / constants.XBt_TO_XBT


class OrderManager(object):
    """Keeps the orders that ``place_orders`` wants, until it is told to stop.

    ``exchange``, ``instrument`` (the live row), ``start_time``, ``starting_qty``, ``running_qty`` (contracts),
    ``start_XBt`` (satoshi) and ``start_position_buy``, ``_sell`` and ``_mid`` are there when ``place_orders`` is first
    called, at the end of the constructor.
    """

    def __init__(self) -> None:
        log.setup_custom_logger('root', settings.LOG_LEVEL, settings.LOG_FILE)
        self._mm_begin()
        self.exchange = self.create_exchange()
        self._mm_watch()
        logger.info('Using symbol %s.', self.exchange.symbol)
        if settings.DRY_RUN:
            logger.info('Order Manager initializing, connecting to BitMEX. Dry run: nothing is sent.')
        else:
            logger.info('Order Manager initializing, connecting to BitMEX. Live run: executing real trades.')
        self.start_time = datetime.now()
        self.instrument = self.exchange.get_instrument()
        self._mm_put_sizes_on_lot()
        self.starting_qty = self.exchange.get_delta()
        self.running_qty = self.starting_qty
        self._mm_guarded(self.reset)

    def create_exchange(self) -> Any:
        """Return the ExchangeInterface to trade through."""
        return ExchangeInterface(settings.DRY_RUN)

    def init(self) -> None:
        """Do nothing: strategies of the first releases call it before ``run_loop``."""

    def reset(self) -> None:
        """Cancel all our orders and begin anew: look at the market, print the status, place orders.

        With KEEP_ORDERS_ON_EXIT the first one leaves what an earlier run has left behind, for this one takes it over.
        """
        is_first, self._mm_has_begun = not self._mm_has_begun, True
        if settings.KEEP_ORDERS_ON_EXIT and is_first:
            logger.info('Taking over %d orders of an earlier run.', len(self.exchange.get_orders()))
        else:
            self.exchange.cancel_all_orders()
        self.sanity_check()
        self.print_status()
        self.place_orders()

    # What we see

    def print_status(self) -> None:
        """Log balance, position, limits, average prices, contracts traded in this run, and the portfolio's delta."""
        balance = self.exchange.get_margin()
        position = self.exchange.get_position()
        self.running_qty = self.exchange.get_delta()
        self.start_XBt = balance['marginBalance']
        decimals = self.exchange.get_instrument()['tickLog']
        currency = balance.get('currency') or 'XBt'
        logger.info('Current %s Balance: %.6f', currency.upper(), self.start_XBt / float(settle_scale(currency)))
        logger.info('Current Contract Position: %d', self.running_qty)
        if settings.CHECK_POSITION_LIMITS:
            logger.info('Position limits: %d/%d', settings.MIN_POSITION, settings.MAX_POSITION)
        if position.get('currentQty'):
            logger.info('Avg Cost Price: %.*f', decimals, float(position.get('avgCostPrice') or 0))
            logger.info('Avg Entry Price: %.*f', decimals, float(position.get('avgEntryPrice') or 0))
        logger.info('Contracts Traded This Run: %d', self.running_qty - self.starting_qty)
        logger.info('Total Contract Delta: %.4f XBT', self.exchange.calc_delta()['spot'])

    def get_ticker(self) -> Dict[str, float]:
        """Return the ticker (last, buy, sell, mid) and set the start prices of the ladder from it."""
        self._mm_beat()
        ticker = self.exchange.get_ticker()
        decimals = self.instrument['tickLog']
        start = levels.start_prices(ticker, self.instrument['tickSize'], settings.MAINTAIN_SPREADS, settings.MIN_SPREAD,
                                    self.exchange.get_highest_buy()['price'], self.exchange.get_lowest_sell()['price'])
        self.start_position_buy, self.start_position_sell, self.start_position_mid = start
        if not self._mm_is_quiet:
            logger.info('%s Ticker: Buy: %.*f, Sell: %.*f', self.instrument['symbol'],
                        decimals, ticker['buy'], decimals, ticker['sell'])
            logger.info('Start Positions: Buy: %.*f, Sell: %.*f, Mid: %.*f',
                        decimals, start.buy, decimals, start.sell, decimals, start.mid)
        return ticker

    def sanity_check(self) -> None:
        """Check that there is a market to quote and that our innermost quotes would not trade at once.

        Raise MarketEmptyError, MarketClosedError or SanityCheckError; the loop then pulls the quotes and waits.
        """
        self.exchange.check_if_orderbook_empty()
        self.exchange.check_market_open()
        ticker = self.get_ticker()
        fault = risk.crossing(self.get_price_offset(-1), self.get_price_offset(1), ticker)
        if fault:
            raise errors.SanityCheckError('quotes that make no sense: {}'.format(fault))
        self._mm_report_limits()

    def long_position_limit_exceeded(self) -> bool:
        """Tell whether the position has reached MAX_POSITION; never with CHECK_POSITION_LIMITS off."""
        return bool(settings.CHECK_POSITION_LIMITS) and self.exchange.get_delta() >= settings.MAX_POSITION

    def short_position_limit_exceeded(self) -> bool:
        """Tell whether the position has reached MIN_POSITION; never with CHECK_POSITION_LIMITS off."""
        return bool(settings.CHECK_POSITION_LIMITS) and self.exchange.get_delta() <= settings.MIN_POSITION

    # What we want

    def get_price_offset(self, index: int) -> float:
        """Return the price of a level on the tick; ``index`` is negative for buys, and 1 is the innermost."""
        return levels.level_price(index, self.start_position_buy, self.start_position_sell, settings.INTERVAL,
                                  settings.MAINTAIN_SPREADS, self.instrument['tickSize'])

    def prepare_order(self, index: int) -> Dict[str, Any]:
        """Return the order of a level, see ``get_price_offset``."""
        side = 'Buy' if index < 0 else 'Sell'
        return {'price': self.get_price_offset(index), 'orderQty': self._mm_size(index), 'side': side}

    def place_orders(self) -> None:
        """Say which orders should rest, by calling ``converge_orders``; what a strategy overrides.

        This one lays ORDER_PAIRS levels on each side, the outermost first, and leaves out a side whose position limit
        is reached.
        """
        if self._mm_is_plain():
            return self._mm_place_ladder()
        buy_orders, sell_orders = [], []
        for index in reversed(range(1, settings.ORDER_PAIRS + 1)):
            if not self.long_position_limit_exceeded():
                buy_orders.append(self.prepare_order(-index))
            if not self.short_position_limit_exceeded():
                sell_orders.append(self.prepare_order(index))
        return self.converge_orders(buy_orders, sell_orders)

    def converge_orders(self, buy_orders: List[Dict[str, Any]], sell_orders: List[Dict[str, Any]]) -> None:
        """Make the resting orders the wanted ones, with the fewest requests.

        An order is a dict with price, orderQty (contracts) and side, and any other key that the API takes.  Orders that
        differ in price by no more than RELIST_INTERVAL and not in size stay.  What the limits of the settings do not
        allow is cut down or left out.  The lists and dicts remain the caller's own and are not changed.
        """
        self._mm_beat()
        if self.exchange.is_closing:
            return
        rooms = self.exchange.rooms()
        wanted = self.exchange.admitted(buy_orders, sell_orders, rooms)
        with self._mm_planning:   # from the look to the reservation nothing is sent, logged or asked of the strategy
            resting = self.exchange.get_orders()
            present = resting + self.exchange.in_flight()
            tolerance = settings.RELIST_INTERVAL or 0
            doubtful = self.exchange.doubtful(resting)
            plan = converge.plan(present, wanted, tolerance, self._mm_shapes)
            if plan is converge.STANDS and not doubtful:
                self._mm_stood = len(wanted) == len(buy_orders) + len(sell_orders)
                return
            ranks = _levels(wanted) if plan.create else {}
            creates = [Create(ranks[id(order)], self._mm_reserve(order)) for order in plan.create]
        if len(self._mm_shapes) > 10 * len(resting) + 1000:
            self._mm_shapes.clear()
        if not (plan.cancel or plan.amend or creates or doubtful):
            return
        carrier = Carrier(self.exchange, self._mm_patience, resting, creates)
        try:
            carrier.carry_out(plan, doubtful)
        finally:
            self.exchange.release(create.order for create in carrier.unsent if not settings.DRY_RUN)

    # The run

    def check_file_change(self) -> None:
        """Restart when one of WATCHED_FILES has changed since the start."""
        for path, stamp in watched_files_mtimes:
            if os.path.exists(path) and getmtime(path) > stamp:
                logger.info('%s has changed.', path)
                self.restart()

    def check_connection(self) -> bool:
        """Return True when the live tables can be trusted, if need be after a reconnect; False when it is given up."""
        self._mm_beat()
        if self.exchange.is_open():
            return True
        reason = self.exchange.why_closed() or 'the connection to the live data is lost'
        deadline = time.monotonic() + RECONNECT_TIMEOUT
        while time.monotonic() < deadline:
            self._mm_obey()
            self._mm_beat()
            self._mm_pull(self.exchange.why_closed() or reason)
            if self.exchange.wait_until_open(STEP):
                logger.info('The live data is back.')
                return True
        return False

    def run_loop(self) -> None:
        """Quote until told to stop: Ctrl-C, SIGTERM, SIGHUP, ``exit`` or an error that waiting does not heal.

        On the way out our own orders are cancelled and the run is summed up; it always ends with an exception,
        SystemExit as a rule.
        """
        try:
            while True:
                self._mm_draw_line()
                self.check_file_change()
                self._mm_wait()
                if not self.check_connection():
                    logger.error('The live data did not come back within %d s.', RECONNECT_TIMEOUT)
                    self.restart()
                self._mm_guarded(self._mm_pass)
        except BaseException as reason:
            self._mm_leave(reason)

    def restart(self) -> None:
        """Cancel our orders, close everything and start the same program again, with the same arguments."""
        logger.info('Restarting the market maker...')
        self._mm_cancel_everything()
        self._mm_close()
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable] + _arguments())

    def exit(self) -> None:
        """Cancel our orders, look that none is left, sum up the run, close the connection and raise SystemExit."""
        if self._mm_end.acquire(False):
            if getattr(self, 'exchange', None) is not None:   # else there never was an order
                logger.info('Shutting down. All open orders will be cancelled.')
            self._mm_cancel_everything()
            if self._mm_guard is not None:
                self._mm_guard.stop()
                self._mm_guard.ask_for_last_fills()
            self._mm_sum_up()
            self._mm_close()
        sys.exit(self._mm_exit_code)

    # The parts of a pass

    _mm_is_quiet = False      # a pass between two status lines: say only what is done
    _mm_exit_code = errors.EXIT_OK
    _mm_signals = 0           # how often we were told to stop
    _mm_is_leaving = False
    _mm_guard = None          # type: Any   # watches beside the loop; None in a dry run
    _mm_has_begun = False     # reset() was called
    _mm_left = 0              # our orders that may still rest at the end
    _mm_failure = None        # type: Any   # what the strategy failed with last, as it was logged

    def _mm_draw_line(self):
        # type: () -> None
        """Print the line between two looks at the market; without it, where the disk under stdout is full."""
        try:
            sys.stdout.write('-----\n')
            sys.stdout.flush()
        except BrokenPipeError:   # whoever read it has left, and wants nothing more
            raise
        except OSError as error:
            sys.stdout = open(os.devnull, 'w')   # what waits in the old one would fail once more at the end
            logger.error('Nothing can be printed any more: %s.', error.strerror or error)

    def _mm_pass(self):
        # type: () -> None
        """Look, report and place; again at once when an amend came too late, for the ladder then has a hole."""
        self.exchange.tally()
        if self._mm_is_quiet and self._mm_stands():
            return
        self.sanity_check()
        if not self._mm_is_quiet:
            self.print_status()
        self.exchange.clear_closed_sides()
        for _ in range(IMPATIENCE):
            self.place_orders()
            if not self.exchange.is_stale():
                break
            self.exchange.let_go()

    def _mm_guarded(self, act):
        # type: (Any) -> None
        """Do ``act`` and outlive what goes wrong in it, but for a refused key, wrong settings and an end that is asked
        for."""
        try:
            act()
        except (errors.AuthenticationError, errors.SettingsError):
            raise
        except MARKET_ERRORS as error:
            self._mm_pull(str(error))
        except PASSING_ERRORS as error:
            logger.warning('This pass ended early: %s', error)
        except Exception as error:
            self._mm_report_failure(error)
            self._mm_pull('the strategy failed')
        else:
            self._mm_report_recovery()

    def _mm_wait(self):
        # type: () -> None
        """Sleep LOOP_INTERVAL seconds; with QUOTE_ON_CHANGE make a quiet pass meanwhile whenever something has
        changed."""
        self._mm_obey()
        wakes_at = time.monotonic() + settings.LOOP_INTERVAL
        if not settings.QUOTE_ON_CHANGE:
            time.sleep(settings.LOOP_INTERVAL)
            return
        changed = self.exchange.bitmex.ws.changed
        while True:
            left = wakes_at - time.monotonic()
            if left <= 0 or not changed.wait(left):
                return
            began = time.monotonic()
            changed.clear()
            self._mm_quiet_pass()
            self._mm_obey()
            time.sleep(max(0, min(began + settings.MIN_LOOP_INTERVAL, wakes_at) - time.monotonic()))

    def _mm_quiet_pass(self):
        # type: () -> None
        if not self.exchange.is_open():
            return
        self._mm_is_quiet = True
        try:
            self._mm_guarded(self._mm_pass)
        finally:
            self._mm_is_quiet = False

    def _mm_pull(self, reason):
        # type: (str) -> None
        """Take our orders out of the market, as far as that is possible now, and say why (once)."""
        self.exchange.no_quotes(reason)

    def _mm_report_failure(self, error):
        # type: (Exception) -> None
        """Log an exception of the strategy with its place; the same one only once."""
        place = _place(error)
        signature = (type(error), place)
        if signature != self._mm_failure:
            logger.error('The strategy failed at %s: %s: %s. Its orders are taken back, and the next pass tries again.',
                         place, type(error).__name__, error, exc_info=True)
        self._mm_failure = signature

    def _mm_report_recovery(self):
        # type: () -> None
        if self.exchange.are_back():
            logger.info('Quoting again.')
        self._mm_failure = None

    def _mm_report_limits(self):
        # type: () -> None
        """Say once that a position limit is reached, and once that it is no longer."""
        for side, is_reached, bound, words, quotes in (
                ('Buy', self.long_position_limit_exceeded(), 'MAX_POSITION', 'at most', 'bids'),
                ('Sell', self.short_position_limit_exceeded(), 'MIN_POSITION', 'at least', 'asks')):
            if bool(is_reached) == (side in self._mm_at_limit):
                continue
            self._mm_at_limit ^= {side}
            if is_reached:
                logger.info('Position limit reached: %d contracts, %s %d are allowed. No %s.',
                            self.exchange.get_delta(), words, settings[bound], quotes)
            else:
                logger.info('Position limit no longer reached: %d contracts. There are %s again.',
                            self.exchange.get_delta(), quotes)

    def _mm_is_plain(self):
        # type: () -> bool
        """Tell whether the ladder is the built-in one in every respect, so that it can be laid as a whole."""
        return not settings.RANDOM_ORDER_SIZE and all(
            getattr(getattr(self, name), '__func__', None) is getattr(OrderManager, name) for name in LADDER)

    def _mm_ladder(self):
        # type: () -> Tuple[List[Dict[str, Any]], List[Dict[str, Any]]]
        """Return what ``prepare_order`` would for each level of both sides, without a side whose limit is reached."""
        buys, sells = levels.ladder(
            settings.ORDER_PAIRS, self.start_position_buy, self.start_position_sell, settings.INTERVAL,
            settings.MAINTAIN_SPREADS, self.instrument['tickSize'], settings.ORDER_START_SIZE, settings.ORDER_STEP_SIZE,
            self.instrument.get('lotSize') or 1)
        return ([] if self.long_position_limit_exceeded() else buys,
                [] if self.short_position_limit_exceeded() else sells)

    def _mm_place_ladder(self):
        # type: () -> None
        """Lay the built-in ladder, and remember where it was found standing already."""
        key = self._mm_standing_key()
        self._mm_stood = False
        self.converge_orders(*self._mm_ladder())
        if self._mm_stood and key is not None:
            self._mm_standing.learn(key, *self._mm_starts())

    def _mm_stands(self):
        # type: () -> bool
        """Tell, in a few steps, whether a pass would find nothing to do; whatever is doubtful is left to that pass.

        It answers for the built-in strategy only, and only where no limit has to be looked at anew.
        """
        row = self.exchange.get_instrument()
        if row.get('state') != 'Open' or row.get('midPrice') is None:
            return False
        key = self._mm_standing_key()
        if key is None:
            return False
        ticker = self.get_ticker()
        buy, sell = self._mm_starts()
        band = settings.PRICE_BAND
        return standing.is_harmless(buy, sell, ticker['buy'], ticker['sell'], row['tickSize'],
                                    limits.band('Sell', band, row)[0], limits.band('Buy', band, row)[1]) \
            and self._mm_standing.covers(key, buy, sell)

    def _mm_standing_key(self):
        # type: () -> Any
        """Return what the standing of the ladder depends on beside its start prices; None where it cannot be told."""
        if type(self.exchange) is not ExchangeInterface or not self._mm_is_built_in():
            return None
        key = self.exchange.standing_key()
        row = self.instrument
        return key and (key, row.get('tickSize'), row.get('lotSize'), row.get('maxOrderQty'))

    def _mm_is_built_in(self):
        # type: () -> bool
        """Tell whether nothing that decides about a pass is the strategy's own."""
        return (_deciding(type(self)) == BUILT_IN and DECIDING.isdisjoint(self.__dict__)
                and not settings.RANDOM_ORDER_SIZE)

    def _mm_starts(self):
        # type: () -> Tuple[float, float]
        """Return where the bids and the asks begin."""
        buy, sell = self.start_position_buy, self.start_position_sell
        return (buy, sell) if settings.MAINTAIN_SPREADS else (min(buy, sell), max(buy, sell))

    def _mm_size(self, index):
        # type: (int) -> int
        """Return the size of a level; a random one is kept as long as an order of that size rests on its side."""
        lot = self.instrument.get('lotSize') or 1
        if not settings.RANDOM_ORDER_SIZE:
            return levels.level_size(index, settings.ORDER_START_SIZE, settings.ORDER_STEP_SIZE, lot)
        side = 'Buy' if index < 0 else 'Sell'
        resting = {order.get('leavesQty') for order in self.exchange.get_orders() if order.get('side') == side}
        if self._mm_sizes.get(index) not in resting:
            bounds = settings.MIN_ORDER_SIZE, settings.MAX_ORDER_SIZE
            self._mm_sizes[index] = levels.random_size(bounds[0], bounds[1], lot, random.randint)
        return self._mm_sizes[index]

    def _mm_reserve(self, order):
        # type: (Dict[str, Any]) -> Dict[str, Any]
        """Return a copy of an order to create that holds its place from now on; the strategy's own dict stays as it
        is."""
        return dict(order) if settings.DRY_RUN else self.exchange.reserve(dict(order))

    # The beginning and the end

    def _mm_begin(self):
        # type: () -> None
        """Prepare what the rest relies on."""
        self._mm_at_limit = set()   # type: Any   # sides whose position limit is reached, as it was logged
        self._mm_patience = Patience()
        self._mm_shapes = {}    # type: Dict[str, Any]      # orderID -> what never changes about an order
        self._mm_standing = standing.Standing()
        self._mm_stood = False  # whether the latest ladder was found standing as a whole
        self._mm_sizes = {}     # type: Dict[int, int]      # index of a level -> its random size
        self._mm_planning = threading.Lock()   # type: Any   # one thread at a time decides what is missing
        self._mm_end = threading.Lock()   # taken for good by the one call of exit() that does the work
        self._mm_be_ready_to_stop()
        watched = [path for path in settings.WATCHED_FILES or () if os.path.exists(path)]
        watched_files_mtimes[:] = [(path, getmtime(path)) for path in watched]

    def _mm_watch(self):
        # type: () -> None
        """Set the guard to watch over the exchange; end here, touching nothing, when another bot of the kind runs."""
        if not isinstance(self.exchange, ExchangeInterface) or self.exchange.dry_run:
            return   # nothing is at stake in a dry run; a backtest's exchange needs no watch
        guard = Guard(self.exchange)
        try:
            guard.claim()
        except BaseException:
            self._mm_end.acquire(False)   # exit() has nothing to do: those orders are the other's
            self._mm_close()
            raise
        self._mm_guard = guard
        guard.start()

    def _mm_beat(self):
        # type: () -> None
        if self._mm_guard is not None:
            self._mm_guard.beat(settings.LOOP_INTERVAL)

    def _mm_be_ready_to_stop(self):
        # type: () -> None
        """Clean up when a signal comes, if this is the main thread, and when the interpreter ends."""
        atexit.register(self._mm_at_exit)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._mm_on_signal)
            signal.signal(signal.SIGTERM, self._mm_on_signal)
            if getattr(signal, 'SIGHUP', None) and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:   # nohup
                signal.signal(signal.SIGHUP, self._mm_on_signal)

    def _mm_put_sizes_on_lot(self):
        # type: () -> None
        lot = self.instrument.get('lotSize')
        for name in ('ORDER_START_SIZE', 'ORDER_STEP_SIZE'):
            if lot and settings[name] % lot:
                logger.warning('%s is %s and must be a multiple of the lot size of %s: taking %s.',
                               name, settings[name], self.instrument['symbol'], lot)
                settings[name] = lot

    def _mm_on_signal(self, number, frame):
        # type: (int, Any) -> None
        """End what the main thread is doing, a strategy's sleep too; told again while we clean up, cut that short."""
        self._mm_signals += 1
        if self._mm_signals == 1 and self._mm_is_leaving:
            return
        if self._mm_signals > 2:
            os._exit(errors.EXIT_FAILURE)
        if self._mm_signals == 2 and not self._mm_is_leaving:   # somebody swallowed the first
            self._mm_report_left(*self.exchange.cancel_once())
            os._exit(self._mm_exit_code)
        raise Stopped() if number == signal.SIGINT else SystemExit(errors.EXIT_OK)

    def _mm_obey(self):
        # type: () -> None
        """Stop when we were told to and a strategy's bare ``except`` swallowed it."""
        if self._mm_signals and not self._mm_is_leaving:
            raise Stopped()

    def _mm_at_exit(self):
        # type: () -> None
        """Clean up at the interpreter's end, when a strategy's own loop has left without ``exit``."""
        if getattr(self, 'exchange', None) is None:
            return   # it never connected: there is nothing to clean up, and what was wrong has been said
        try:
            self.exit()
        except SystemExit:
            pass   # the process ends already

    def _mm_leave(self, reason):
        # type: (BaseException) -> None
        """Clean up after what ended the loop, and raise what the process shall end with."""
        self._mm_is_leaving = True
        if not isinstance(reason, (KeyboardInterrupt, SystemExit)):
            self._mm_exit_code = getattr(reason, 'exit_code', errors.EXIT_FAILURE)
        try:
            self.exit()
        except SystemExit:
            if self._mm_signals or isinstance(reason, KeyboardInterrupt):
                raise
        if isinstance(reason, errors.AuthenticationError) and not isinstance(reason, SystemExit):
            raise bitmex.KeyRefused(str(reason))   # one line and an exit status, instead of a traceback, for scripts
        raise reason

    def _mm_cancel_everything(self):
        # type: () -> None
        self._mm_is_leaving = True
        exchange = getattr(self, 'exchange', None)
        if exchange is None:
            return
        if self._mm_keeps_orders():
            exchange.is_closing = True
            logger.info('%d orders stay in the market (KEEP_ORDERS_ON_EXIT); the next start takes them over.',
                        len(exchange.get_orders()))
            return
        try:
            left = exchange.cancel_everything()
        except errors.AuthenticationError as error:
            left = len(exchange.get_orders()), str(error)
        except (KeyboardInterrupt, SystemExit):
            left = exchange.cancel_once()
        except Exception as error:   # whatever it is, the end must go on
            logger.exception('Cancelling our orders failed.')
            left = max(1, len(exchange.get_orders())), str(error)
        self._mm_report_left(*left)

    def _mm_keeps_orders(self):
        # type: () -> bool
        """Tell whether our orders stay behind: that was asked for, and nothing has gone wrong."""
        return bool(settings.KEEP_ORDERS_ON_EXIT) and self._mm_exit_code == errors.EXIT_OK and not settings.DRY_RUN

    def _mm_report_left(self, count, reason):
        # type: (int, str) -> None
        """Say loudly that orders of ours may be left at the exchange."""
        self._mm_left = count
        if count:
            self._mm_exit_code = self._mm_exit_code or errors.EXIT_FAILURE
            logger.critical('%d of our orders may still rest at the exchange (%s). Cancel them there by hand.',
                            count, reason)

    def _mm_close(self):
        # type: () -> None
        """Close the connection, and be no longer in the way of the interpreter's end."""
        atexit.unregister(self._mm_at_exit)
        exchange, guard = getattr(self, 'exchange', None), self._mm_guard
        if guard is not None and exchange is not None:
            guard.stop()
            guard.stand_down(is_clean=not self._mm_left and not exchange.bitmex.unsettled())
        if exchange is not None:
            exchange.bitmex.exit()

    def _mm_sum_up(self):
        # type: () -> None
        """Log the closing summary of the run."""
        if getattr(self, 'exchange', None) is None or getattr(self, 'start_time', None) is None:
            return
        results = self.exchange.tally()
        currency, scale = self._mm_money()
        position = self.exchange.get_position()
        logger.info('Run time: %s', str(datetime.now() - self.start_time).split('.')[0])
        logger.info('Orders: %d created, %d amended, %d cancelled', results.created, results.amended, results.cancelled)
        logger.info('Fills: %d, volume %d contracts (%d bought, %d sold)',
                    results.fills, results.bought + results.sold, results.bought, results.sold)
        logger.info('Fees paid: %.8f %s, funding paid: %.8f %s',
                    results.fees / scale, currency, results.funding / scale, currency)
        if position.get('currentQty'):
            logger.info('Position: %d contracts at %.*f', position['currentQty'], self.exchange.tick_log(),
                        float(position.get('avgEntryPrice') or 0))
        else:
            logger.info('Position: 0 contracts')
        self._mm_sum_up_watch()
        logger.info('Result: realised %+.8f %s (after fees and funding), unrealised %+.8f %s',
                    self.exchange.realised() / scale, currency, (position.get('unrealisedPnl') or 0) / scale, currency)

    def _mm_sum_up_watch(self):
        # type: () -> None
        """Log what the guard has found, where there was anything to look at."""
        if self._mm_guard is None:
            return
        counts = self._mm_guard.counts
        if counts.audits:
            logger.info('Audits: %d; found %d ghosts, %d zombies, %d altered orders, %d wrong positions, '
                        '%d fills not told of',
                        counts.audits, counts.ghosts, counts.zombies, counts.altered, counts.positions, counts.fills)
        if counts.gaps:
            logger.info('Gaps: %d, %.1f s without data', counts.gaps, counts.seconds)

    def _mm_money(self):
        # type: () -> Tuple[str, float]
        """Return the name of the settlement currency and its minor units in one."""
        currency = self.instrument.get('settlCurrency') or 'XBt'
        return currency.upper(), float(settle_scale(currency))


# What a pass of the built-in strategy consists of, as it was before anybody replaced any of it.
DECIDING = frozenset(LADDER + ('sanity_check', 'get_ticker', 'place_orders', 'converge_orders', '_mm_ladder'))
_deciding = operator.attrgetter(*sorted(DECIDING))
BUILT_IN = _deciding(OrderManager)


def _levels(wanted):
    # type: (List[Dict[str, Any]]) -> Dict[int, Any]
    """Return for each wanted order (by identity) its level: side and rank, 0 the innermost."""
    found = {}   # type: Dict[int, Any]
    for side in converge.SIDES:
        orders = [order for order in wanted if order['side'] == side]
        for rank, place in enumerate(risk.inner_first(orders, side)):
            found[id(orders[place])] = (side, rank)
    return found


def _place(error):
    # type: (BaseException) -> str
    """Return file and line of the strategy's code that failed: the innermost frame that is not ours."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = os.path.dirname(os.path.abspath(__file__))
    theirs = [frame for frame in frames if not os.path.abspath(frame[0]).startswith(ours)] or frames
    return '{}:{}'.format(theirs[-1][0], theirs[-1][1])


def _arguments():
    # type: () -> List[str]
    """Return what follows the interpreter on the command line that started this process."""
    spec = getattr(sys.modules.get('__main__'), '__spec__', None)
    if spec is None:
        return list(sys.argv)
    name = spec.name[:-len('.__main__')] if spec.name.endswith('.__main__') else spec.name
    return ['-m', name] + sys.argv[1:]


def run(strategy=None):
    # type: (Any) -> None
    """Quote with the built-in strategy, or with the given subclass of OrderManager, until told to stop.

    Raise SystemExit at the end of a run that was asked for, and what ended any other one.
    """
    log.setup_custom_logger('root', settings.LOG_LEVEL, settings.LOG_FILE)
    logger.info('BitMEX Market Maker Version: %s', constants.VERSION)
    manager = (strategy or OrderManager)()
    manager.run_loop()
