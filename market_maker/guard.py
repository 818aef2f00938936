"""The guard: watches beside the loop whether the data can be trusted, and what the exchange really holds.

A strategy may sleep for minutes inside ``place_orders``; this thread, ``bitmex-guard``, does not.  A few times a second
it looks at the live tables.  Where they are stale, contradict each other or do not show what the exchange has answered,
it takes our quotes out of the market and says why; the gate of ExchangeInterface keeps new ones from going out until
the data are good again.  What rests on a side that a limit has closed it takes back too.  After every gap, and every
AUDIT_INTERVAL seconds, it compares orders, position and executions with what REST says and heals what differs.  It
looks for commands of unknown fate and keeps the dead man's switch.

It never creates or amends an order, and cancels only our own.
"""
from __future__ import absolute_import

import logging
import threading
import time
from typing import Any, Callable, Dict, List, Optional  # noqa: F401

from market_maker import local
from market_maker.deadman import DeadMansSwitch
from market_maker.orders import audit
from market_maker.settings import settings
from market_maker.state.lock import InstanceLock
from market_maker.utils import log
from market_maker.utils.errors import MarketMakerError, SettingsError
from market_maker.ws.health import time_stamp

logger = log.under('market_maker')

TICK = 0.1             # seconds between two looks
AGAIN = 0.5            # seconds after a failure before the same is tried again
SAY_AGAIN = 60.0       # seconds after which a failure that lasts is told of again
LIMITS_EVERY = 0.25    # seconds between two looks at the limits, which the loop keeps too, at its own pace
BUSY = 1.0             # seconds; a budget that makes us wait longer is left to those who quote
CONFIRM = 5.0          # seconds after which a difference that is still there is none of timing
GAP_PATIENCE = 2.0     # the same right after a gap, when nothing is under way
OVERLAP = 60.0         # seconds by which executions are asked for again: those of late messages, and of clocks
LOCAL_DEADMAN = 60     # seconds, DEADMAN_TIMEOUT on the local exchange where none is set
JOIN_WITHIN = 3.0      # seconds that stop() waits for the thread


class Counts(object):
    """What the audits of a run have found: how many there were, and how many orders or positions were wrong."""

    def __init__(self):
        # type: () -> None
        self.audits = self.ghosts = self.zombies = self.altered = self.positions = 0
        self.gaps = 0          # how often there were no data ...
        self.seconds = 0.0     # ... and for how long, together
        self.fills = 0         # learnt of over REST only


class Guard(object):
    """Watches over an ExchangeInterface.

    ``claim`` before anything is placed, ``start`` to begin, ``beat`` whenever the loop shows that it lives, ``stop``
    and ``stand_down`` at the end.  ``counts`` is for the closing summary.
    """

    def __init__(self, exchange: Any, clock: Any = time.monotonic) -> None:
        self.exchange = exchange
        self.counts = Counts()
        self._monotonic = clock   # type: Callable[[], float]
        self._stop = threading.Event()
        self._thread = None       # type: Optional[threading.Thread]
        self._lock = InstanceLock(None, '')
        self._switch = self._new_switch()
        self._suspicion = audit.Suspicion()
        self._due = {}            # type: Dict[str, float]   # step -> when it is due
        self._told = {}           # type: Dict[Any, float]   # (step, how it failed) -> when that was logged
        self._alive_until = 0.0   # when the loop is expected to have shown itself at the latest
        self._is_stalled = False
        self._gap_since = None    # type: Optional[float]    # when the tables were back after a gap
        self._began = ''          # exchange's time stamp of the start: what is older is no fill of this run
        self._complete_until = 0.0    # exchange's Unix time until which we know every fill
        self._owes_fills = False      # those between the last run and this one are not known yet
        self._noted = -1          # fills of the account when they were last written into the ledger

    def claim(self) -> None:
        """Take the lock of our account, symbol and prefix; raise SettingsError when another bot has it."""
        bitmex = self.exchange.bitmex
        folder = bitmex.state.path if bitmex.state is not None else None
        lock = InstanceLock(folder, '{} {}'.format(bitmex.symbol, bitmex.orderIDPrefix), _report)
        lock.acquire()
        self._lock.release()
        self._lock = lock
        self._switch = self._new_switch()
        self._switch.rely()

    def start(self) -> None:
        """Begin to watch."""
        exchange = self.exchange
        now = exchange.bitmex.exchange_time()
        self._began = time_stamp(now)
        self._begin_fills(now)
        self._due['audit'] = self._monotonic() + (settings.AUDIT_INTERVAL or 0)
        exchange.watched_reconnects = exchange.bitmex.ws.reconnects
        self.beat(settings.LOOP_INTERVAL)
        self._take('switch', self._tend_switch)   # before the first order: who is killed right after it leaves none
        self._thread = threading.Thread(target=self._run, name='bitmex-guard')
        self._thread.daemon = True   # a strategy that never calls exit() still comes to its end
        self._thread.start()

    def beat(self, seconds: float) -> None:
        """Note that the loop lives and will show itself again within so many seconds."""
        self._alive_until = self._monotonic() + seconds + settings.LOOP_STALL

    def stop(self) -> None:
        """End the watch, and wait a moment for what is under way; may be called twice."""
        self._stop.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_WITHIN)

    def ask_for_last_fills(self) -> None:
        """After ``stop``: learn of the fills that the stream has not told of, with one short attempt."""
        try:
            if self.exchange.bitmex.seconds_to_wait() < BUSY:
                self._learn_fills()
                self._note_fills(0.0)
                return
            reason = 'the allowance of requests is used up'   # type: Any
        except (MarketMakerError, SystemExit) as error:   # a refused key too: the run ends anyway
            reason = error
        logger.warning('The fills since the last audit could not be asked for (%s): what the live data has not told of '
                       'is missing below, and the next start asks again.', reason)

    def stand_down(self, is_clean: bool) -> None:
        """After ``stop``: disarm the switch and give the lock back, unless orders of ours are left (not clean)."""
        self._switch.stand_down(is_clean)
        if is_clean or not self._switch.seconds:
            self._lock.release()
        # Else the lock's file keeps its words until this process ends: the others then leave the switch to fire.

    # The thread

    def _run(self):
        # type: () -> None
        while not self._stop.wait(TICK):
            for name, step in (('limits', self._keep_limits), ('gap', self._close_gap), ('resolve', self._resolve),
                               ('audit', self._audit), ('fills', self._note_fills)):
                if self._stop.is_set():
                    return
                self._take('watch', self._watch)   # these two each time, for a step may wait for the exchange
                self._take('switch', self._tend_switch)
                self._take(name, step)

    def _take(self, name, step):
        # type: (str, Callable[[float], Any]) -> None
        """Take one step; what goes wrong is said once, and the step is taken again."""
        now = self._monotonic()
        if now < self._due.get(name, 0.0):
            return
        try:
            step(now)
        except (MarketMakerError, SystemExit) as error:   # a refused key is for the loop to meet and to end with
            self._due[name] = now + AGAIN
            if self._is_news(name, type(error), now):
                level = logging.DEBUG if name in ('watch', 'switch', 'resolve') else logging.WARNING
                logger.log(level, 'The guard could not finish its step %r: %s', name, error)
        except Exception as error:   # the edge of the thread: whatever it is, the watch must go on
            self._due[name] = now + AGAIN
            if self._is_news(name, repr(error), now):
                logger.exception('The guard failed in its step %r.', name)

    def _is_news(self, name, failure, now):
        # type: (str, Any, float) -> bool
        """Tell whether a failure was not told of lately."""
        told = self._told.get((name, failure))
        if told is not None and now - told < SAY_AGAIN:
            return False
        self._told[name, failure] = now
        return True

    # Freshness

    def _watch(self, now):
        # type: (float) -> None
        """Pull the quotes while the data cannot be trusted; have tables that miss something filled anew."""
        exchange = self.exchange
        missed = exchange.look_for_echo()
        reason = exchange.why_closed()
        if not reason:
            return
        exchange.no_quotes(reason)
        ws = exchange.bitmex.ws
        if missed and ws.ready() and ws.reconnects == exchange.watched_reconnects:   # else its images are still read
            ws.reopen(missed)

    def _keep_limits(self, now):
        # type: (float) -> None
        """Take back what rests on a side that a limit has closed: a strategy may sleep through it."""
        self._due['limits'] = now + LIMITS_EVERY
        if self.exchange.bitmex.ws.ready():
            self.exchange.clear_closed_sides()

    def _close_gap(self, now):
        # type: (float) -> None
        """After a reconnect: compare everything with REST before the gate opens again."""
        exchange, ws = self.exchange, self.exchange.bitmex.ws
        number = ws.reconnects
        if number == exchange.watched_reconnects or not ws.ready():
            self._gap_since = None
            return
        if exchange.bitmex.seconds_to_wait() > BUSY:
            return   # nothing can be placed until then either, and who waits for his turn cannot watch
        if self._gap_since is None:
            self._meet_again()
            self._gap_since = now
        exchange.take_images(ws.opened_at or 0.0)
        self._due['gap'] = now + AGAIN / 2
        findings = self._findings()
        if findings and now - self._gap_since < GAP_PATIENCE:
            return   # messages and answers may be on their way
        self._heal(findings)
        fills = self._learn_fills()
        if number != ws.reconnects or not ws.ready():
            return   # lost again meanwhile
        self.counts.gaps += 1
        self.counts.seconds += ws.last_gap or 0.0
        exchange.watched_reconnects = number
        logger.info('Orders, position and executions are compared with the exchange after a gap of %.1f s: %d fills '
                    'were missed, %d orders were not as we believed.', ws.last_gap or 0.0, fills, len(findings))

    def _meet_again(self):
        # type: () -> None
        """Use the state folder of the exchange that we are connected to now; a local one may be another than before."""
        bitmex = self.exchange.bitmex
        before = bitmex.state
        if bitmex.remember() is not before:
            try:
                self.claim()
            except SettingsError as error:
                self.exchange.halt = str(error)
                raise
            self._begin_fills(bitmex.exchange_time())

    # Commands of unknown fate, fills

    def _resolve(self, now):
        # type: (float) -> None
        self.exchange.resolve()

    def _note_fills(self, now):
        # type: (float) -> None
        """Write our fills into the ledger as they come."""
        if self._owes_fills and self.exchange.bitmex.seconds_to_wait() < BUSY:
            self._learn_fills()
            self._owes_fills = False
        exchange = self.exchange
        ledger, heard = exchange.bitmex.ledger, exchange.bitmex.ws.executions
        if ledger is None or heard.fills == self._noted:
            return
        self._noted = heard.fills
        for row in heard.rows():
            if row.get('execType') == 'Trade' and exchange.is_own(row):
                ledger.record_fill(row)

    def _begin_fills(self, now):
        # type: (float) -> None
        """Begin where an earlier run has left off: the fills of the time between are owed to the ledger."""
        ledger = self.exchange.bitmex.ledger
        known = None if ledger is None else ledger.complete_until()
        self._owes_fills = known is not None
        self._complete_until = now if known is None else known
        if known is None and ledger is not None:
            ledger.note_complete(now)

    def _learn_fills(self):
        # type: () -> int
        """Ask for the executions since we last knew all of them; return how many the stream has not told of."""
        exchange = self.exchange
        bitmex, ledger = exchange.bitmex, exchange.bitmex.ledger
        asked_at = bitmex.exchange_time()
        rows = bitmex.executions_since(time_stamp(self._complete_until - OVERLAP))
        news = bitmex.ws.add_executions([row for row in rows if (row.get('timestamp') or '') >= self._began])
        for row in rows:
            if ledger is not None and exchange.is_own(row):
                ledger.record_fill(row)
        self._complete_until = asked_at
        if ledger is not None:
            ledger.note_complete(asked_at)
        self.counts.fills += news
        return news

    # The audit

    def _audit(self, now):
        # type: (float) -> None
        interval = settings.AUDIT_INTERVAL
        ws = self.exchange.bitmex.ws
        if not interval or not ws.ready() or ws.reconnects != self.exchange.watched_reconnects:
            return
        if self.exchange.is_closing:
            return   # who cleans up asks for himself, and needs what is left of the allowance
        if self.exchange.bitmex.seconds_to_wait() > BUSY:
            return
        self._due['audit'] = now + interval
        proven = self._suspicion.confirmed(self._findings(), now, min(CONFIRM, settings.ECHO_TIMEOUT))
        if not self._suspicion.is_empty:
            self._due['audit'] = now + min(CONFIRM, interval)
        self._learn_fills()
        if proven:
            self._heal(proven)
            ws.reopen('{} of what its tables show is not so'.format(len(proven)))

    def _findings(self):
        # type: () -> List[Any]
        """Compare our view of orders and position with REST; look for foreign orders on the way."""
        exchange = self.exchange
        bitmex = exchange.bitmex
        before, position = exchange.get_orders(), exchange.get_delta()
        everybody = bitmex.account_orders()
        there = bitmex.http_position()
        after, flying = exchange.get_orders(), [order['clOrdID'] for order in exchange.in_flight()]
        self.counts.audits += 1
        ours = [row for row in everybody if row.get('symbol') == bitmex.symbol and exchange.is_own(row)]
        findings = audit.compare(before, ours, after, flying)
        if position == exchange.get_delta() != int(there.get('currentQty') or 0):
            findings.append(audit.Finding(audit.POSITION, '{} and {}'.format(position, there.get('currentQty')), there))
        self._take('foreign', lambda now: self._switch.see(everybody))
        return findings

    def _heal(self, findings):
        # type: (List[Any]) -> None
        """Believe the exchange, count what was wrong and say it."""
        exchange, counts = self.exchange, self.counts
        for kind, name, row in findings:
            if kind == audit.POSITION:
                counts.positions += 1
                logger.warning('Audit: the position is %s contracts, and our table says %s.', row.get('currentQty'),
                               exchange.get_delta())
                continue
            words = exchange.describe(row).strip()
            if kind == audit.GHOST:
                counts.ghosts += 1
                logger.warning('Audit: %s (%s) does not rest at the exchange, and our table shows it.', words, name)
                exchange.believe_gone(name)
            else:
                counts.zombies += kind == audit.ZOMBIE
                counts.altered += kind == audit.ALTERED
                logger.warning('Audit: %s (%s) rests at the exchange, and our table %s.', words, name,
                               'does not show it' if kind == audit.ZOMBIE else 'shows it otherwise')
                exchange.believe(row)

    # The dead man's switch

    def _new_switch(self):
        # type: () -> DeadMansSwitch
        seconds = settings.DEADMAN_TIMEOUT
        if seconds is None:
            seconds = LOCAL_DEADMAN if local.is_local(settings.BASE_URL) else 0
        return DeadMansSwitch(seconds, self.exchange.bitmex, self._lock, self.exchange.is_own,
                              bool(settings.DEADMAN_DESPITE_FOREIGN_ORDERS), _report)

    def _tend_switch(self, now):
        # type: (float) -> None
        stalled = now > max(self._alive_until, self.exchange.used_at + settings.LOOP_STALL)
        if stalled and not self._is_stalled:
            logger.warning('The loop has been silent for %g s longer than it should be%s.', settings.LOOP_STALL,
                           ": the dead man's switch is no longer refreshed" if self._switch.is_armed else '')
        elif self._is_stalled and not stalled:
            logger.info('The loop is back.')
        self._is_stalled = stalled
        if not stalled:
            self._switch.tend(now)


def _report(level, text, *args):
    # type: (int, str, *Any) -> None
    logger.log(level, text, *args)
