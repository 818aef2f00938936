"""One run of a bot against a local exchange that misbehaves, and the evidence of it.

The exchange lives in this process, the bot in one of its own.  A trial starts both, plays faults, lets the market trade
with the bot's orders, places orders by hand beside them, ends the bot, and gathers what the judge needs: the recorder's
events, the bot's diary, its ledger and its closing words.
"""
from __future__ import absolute_import

import contextlib
import glob
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import namedtuple
from decimal import Decimal
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple  # noqa: F401

from market_maker.judge.evidence import (BotFill, Books, Command, Contract, Evidence, Execution, Opened, Process, Rules,
                                         Summary, Trouble, Wanted, is_own, requests_of, start_of)
from market_maker.judge.verdict import judge
from market_maker.server import local_exchange
from market_maker.server.recorder import Recorder
from market_maker.state.ledger import Ledger

KEY, SECRET = 'ChaosBotKey', 'chaos-bot-secret-of-no-worth'
# Where orders by hand are placed besides the bot's own contract; what they trade goes through the same wallet, which
# the judge allows for.
NEIGHBOURS = {'ETHUSD': 'XBTUSD'}
START_WITHIN = 40.0          # seconds for the bot to ask for its first ladder
END_WITHIN = 40.0            # seconds for the bot to end when it is told to
CERTAIN = 6.0                # seconds, scaled from a minute, after which an order of unknown fate is certainly absent
PULL_WITHIN = 3.0            # seconds in which quotes are taken back: several short attempts
CYCLES = 4                   # calls of converge_orders between the last fault and the end
LOOK = 0.1                   # seconds between two looks at the faults that are on
HITS = (0.5, 3.0)            # seconds between two hits of the market on the bot's orders
IMAGES = ('missing-partial', 'doubled-partial', 'late-partial', 'early-deltas')
FAR = 0.5                    # of the price: where orders by hand rest
# The timers of a run that lasts a minute; what they are by default is in settings_base.py.
SCALED = {'LOOP_INTERVAL': 0.2, 'DEADMAN_TIMEOUT': 3, 'HEARTBEAT': 1, 'STALE_AFTER': 3, 'ECHO_TIMEOUT': 3,
          'AUDIT_INTERVAL': 10, 'API_REST_INTERVAL': 0.2, 'API_ERROR_INTERVAL': 1, 'TIMEOUT': 2}
CLOSING = re.compile(r'Fills: (\d+), volume \d+ contracts \((\d+) bought, (\d+) sold\)')
POSITION = re.compile(r'Position: (-?\d+) contracts')
RESULT = re.compile(r'Result: realised ([-+][\d.]+) (\w+)')
MINOR = {'XBT': 10 ** 8, 'USDT': 10 ** 6}

Plan = namedtuple('Plan', 'symbol words profile seed seconds settings certain market by_hand ending')
Plan.__doc__ = """What a trial does.

``words`` are the bot's arguments after the symbol, ``profile`` is the name of a profile of faults or None, ``settings``
what is changed in the user's, ``certain`` the seconds that the ledger's looks are scaled to (None: as they are),
``by_hand`` whether somebody trades on the same account, ``ending`` the signal that ends the bot.
"""


def a_plan(symbol: str, **changes: Any) -> Plan:
    """Return a plan with the common choices, of which any can be changed."""
    plan = Plan(symbol, (), None, 1, 60.0, dict(SCALED), CERTAIN, 'lively', False, signal.SIGINT)
    return plan._replace(**changes)


class Trial(object):
    """One run in a ``with`` block: the exchange is there from its beginning to its end.

    ``folder`` is where the bot's state, its diary and its output go; ``cwd`` is the project that it runs in.
    ``testnet`` is the exchange, ``recorder`` what it writes down, ``bot`` the process.
    """

    def __init__(self, plan: Plan, folder: str, cwd: str, beside: Optional['Trial'] = None, **exchange: Any) -> None:
        # beside: the trial of another bot on the same account, whose exchange this one shares
        self.plan = plan
        self.key = KEY if beside is None else '{}-{}'.format(KEY, id(self))
        self.beside = beside
        self.folder = folder
        self.cwd = cwd
        self.diary = os.path.join(folder, 'diary.jsonl')
        self.output = os.path.join(folder, 'bot.log')
        self.rng = random.Random('trial {}'.format(plan.seed))
        self.bot = None          # type: Any
        self.testnet = None      # type: Any
        self.recorder = None     # type: Any
        self._exchange = exchange
        self._stack = contextlib.ExitStack()
        self._died = self._stopped = self._killed = self._gone = None   # type: Optional[float]
        self._deaths = []        # type: List[Trouble]   # from a kill to the first ladder of the next process
        self._wallet = 0
        self._next_hit = 0.0
        self._dropped = set()    # type: set   # faults of images for which the sockets were dropped

    def __enter__(self) -> 'Trial':
        plan, options = self.plan, dict(self._exchange)
        if self.beside is not None:
            self.testnet, self.recorder = self.beside.testnet, self.beside.recorder
            self._wallet = self.beside._wallet
            self.testnet.call(lambda: self.testnet.exchange.add_key(self.account, self.key, SECRET))
            return self
        options.setdefault('accounts', [{'key': KEY, 'secret': SECRET}])
        options.setdefault('symbols', [plan.symbol, NEIGHBOURS.get(plan.symbol, 'ETHUSD')])
        options.setdefault('rate_limits', True)
        self.testnet = self._stack.enter_context(local_exchange.running(plan.market, seed=plan.seed, **options))
        self.testnet.call(self._prepare)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.bot is not None and self.bot.poll() is None:
            self.bot.kill()
            self.bot.wait()
        self._stack.close()

    def _prepare(self) -> None:
        exchange = self.testnet.exchange
        self._wallet = self._purse().wallet
        if self.plan.by_hand:
            for symbol in sorted(exchange.books):
                self.place_by_hand(symbol, 'Buy')
                self.place_by_hand(symbol, 'Sell')
        self.recorder = Recorder(self.testnet.server, KEY, self.plan.symbol)
        self.testnet.server.record(self.recorder)

    # The exchange's side; these belong to its thread (``testnet.call``)

    @property
    def account(self) -> Any:
        """The bot's account."""
        return self.testnet.exchange.account_of(KEY)

    def _purse(self) -> Any:
        return self.account.position(self.testnet.exchange.instruments[self.plan.symbol]).purse

    def place_by_hand(self, symbol: str, side: str, clOrdID: str = '') -> Dict[str, Any]:
        """Place an order of the account that is not the bot's, far from the market; return its row.

        On the bot's own contract it is a stop, so that it is no bid or ask to quote around when the book is empty.
        """
        exchange = self.testnet.exchange
        instrument = exchange.instruments[symbol]
        is_stop = symbol == self.plan.symbol
        price = instrument.row['markPrice'] * (1 + FAR if is_stop == (side == 'Buy') else 1 - FAR)
        fields = {'symbol': symbol, 'side': side, 'orderQty': instrument.lot, 'text': 'Submission from www.bitmex.com',
                  'stopPx' if is_stop else 'price': instrument.price_of(instrument.nearest_ticks(price))}
        if clOrdID:
            fields['clOrdID'] = clOrdID
        return exchange.place(self.account, fields)  # type: ignore[no-any-return]

    def hit(self, rng: Any) -> int:
        """Let the market trade through the book up to the bot's best order of one side, and with a part of that.

        Return how much was traded; 0 where the bot has no order.
        """
        side = rng.choice(('Buy', 'Sell'))
        symbol, exchange = self.plan.symbol, self.testnet.exchange
        orders = [order for order in self.account.orders.values() if order.instrument.symbol == symbol
                  and order.row['side'] == side and order.level is not None
                  and not str(order.row.get('text')).startswith('Submission')]
        if not orders or exchange.instruments[symbol].row['state'] != 'Open':
            return 0
        sign = -1 if side == 'Buy' else 1
        best = min(orders, key=lambda order: sign * order.price_ticks)
        before = sum(size for ticks, size in exchange.depth(symbol, side, 0)
                     if sign * ticks < sign * best.price_ticks)
        lot = exchange.instruments[symbol].lot
        part = rng.randint(1, max(1, best.leaves // lot)) * lot
        return exchange.take(symbol, 'Sell' if side == 'Buy' else 'Buy', before + part,  # type: ignore[no-any-return]
                             best.price_ticks)

    # The bot's side

    def start(self, waits: bool = True) -> None:
        """Start the bot, in a group of its own: Ctrl-C for us is not Ctrl-C for it.

        Return when it has asked for its first ladder, or at once without ``waits``; again after a ``kill``.
        """
        plan, seen = self.plan, self.cycles()
        if self._killed is not None:
            self._deaths.append(Trouble(self._killed, float('inf'), 'rest: the bot was killed'))
            self._killed = self._gone = None
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        paths = [package] + [path for path in (os.environ.get('PYTHONPATH'),) if path]
        order = {'diary': self.diary, 'settings': plan.settings, 'certain': plan.certain,
                 'lot': self.testnet.exchange.instruments[plan.symbol].lot}
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), PYTHONUNBUFFERED='1',
                           XDG_STATE_HOME=os.path.join(self.folder, 'state'), BITMEX_BASE_URL=self.testnet.url,
                           BITMEX_API_KEY=self.key, BITMEX_API_SECRET=SECRET, WATCHED=json.dumps(order))
        command = [sys.executable, '-m', 'market_maker.commands.watched', plan.symbol] + list(plan.words)
        with open(self.output, 'ab') as sink:
            self.bot = subprocess.Popen(command, cwd=self.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=sink,
                                        stderr=subprocess.STDOUT, start_new_session=True)
        if waits:
            self.wait(lambda: self.bot.poll() is not None or self.cycles() > seen, START_WITHIN)

    def wait(self, condition: Callable[[], Any], seconds: float) -> bool:
        """Poll until the condition is true, ``seconds`` at most, and return whether it is."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def lines(self) -> List[Dict[str, Any]]:
        """Return the diary so far; a last line that is only half there is left out."""
        if not os.path.exists(self.diary):
            return []
        with open(self.diary, 'rb') as file:
            return [json.loads(line.decode('utf-8')) for line in file if line.endswith(b'\n')]

    def cycles(self) -> int:
        """Return how many calls of converge_orders have ended."""
        return sum(line['what'] == 'done' for line in self.lines())

    def is_alive(self) -> bool:
        """Tell whether the bot runs, and note when it was first seen that it does not."""
        if self.bot.poll() is None:
            return True
        if self._stopped is None and self._killed is None and self._died is None:
            self._died = self._gone = time.monotonic()
        return False

    def play(self) -> None:
        """Play the plan's faults for its seconds, and let the market trade with the bot now and then."""
        if self.plan.profile:
            self.testnet.faults.play(self.plan.profile, self.plan.seed)
        self.go_on(self.plan.seconds)
        self.testnet.faults.clear()

    def go_on(self, seconds: float, is_over: Callable[[], Any] = lambda: False) -> None:
        """Let time pass, until ``is_over`` or the bot has ended: hits come now and then, and sockets are dropped for
        faults of images, which strike only those who connect."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.is_alive() and not is_over():
            time.sleep(min(LOOK, max(0.0, until - time.monotonic())))
            images = {one for one in self.testnet.call(lambda: list(self.testnet.server.faults.working))
                      if one.name in IMAGES} - self._dropped
            if images:
                self._dropped |= images
                self.testnet.drop_sockets()
            if time.monotonic() > self._next_hit:
                self._next_hit = time.monotonic() + self.rng.uniform(*HITS)
                self.testnet.call(lambda: self.hit(self.rng))

    def calm_down(self) -> None:
        """Wait until the bot has made some undisturbed cycles, and everything of unknown fate has been looked for."""
        since, seen = time.monotonic(), self.cycles()
        certain = (self.plan.certain or 60.0) + 3.0
        self.wait(lambda: not self.is_alive() or (time.monotonic() - since > certain and
                                                  self.cycles() >= seen + CYCLES), certain + END_WITHIN)

    def end(self) -> None:
        """End the bot as the plan says, and wait until the exchange has seen all of it."""
        if not self.is_alive():
            return
        if self.plan.ending == signal.SIGKILL:
            self.kill()
            return
        self._stopped = time.monotonic()
        self.bot.send_signal(self.plan.ending)
        if not self.wait(lambda: self.bot.poll() is not None, END_WITHIN):
            self.bot.kill()
            self.bot.wait()
        self._gone = time.monotonic()

    def kill(self) -> None:
        """Kill the bot without a warning."""
        self._killed = self._gone = time.monotonic()
        self.bot.kill()
        self.bot.wait()

    # The evidence

    def evidence(self) -> Evidence:
        """Return what there is on this run; the bot has ended."""
        told = self.lines()
        settings = next((line for line in told if line['what'] == 'settings'), {})
        names = {converged: {name for line in told if line['what'] == 'names' and line['converged'] == converged
                             for name in line['names']} for converged in (True, False)}
        events, books, contract, neighbours = self.testnet.call(self._seen)
        starts = tuple(line['at'] for line in told if line['what'] == 'start')
        # Every process that was killed has begun once; one that was killed before it could say so is missing here.
        after = max([death.began for death in self._deaths] or [0.0])
        if len(starts) <= len(self._deaths) + 1:
            starts = tuple(start for start in starts if start > after)
        process = Process(starts, self._died, self.bot.returncode, self._stopped, self._killed, self._gone)
        commands, fills = self._ledger()
        troubles = list(self.recorder.troubles) + self._dead(told)
        return Evidence(events, _wanted(told), names[True], names[True] | names[False], troubles, process, commands,
                        fills, self._summary(), books, contract, neighbours, self._rules(settings), 0, 0)

    def _dead(self, told):
        # type: (List[Dict[str, Any]]) -> List[Trouble]
        """Return from when to when no bot was there: until the first ladder after a kill was through."""
        ends = [line['at'] for line in told if line['what'] == 'done']
        return [death._replace(ended=min([end for end in ends if end > death.began] or [death.ended]))
                for death in self._deaths]

    def _seen(self) -> Tuple[List[Any], Books, Contract, Tuple[Contract, ...]]:
        instruments = [self.testnet.exchange.instruments[symbol] for symbol in self.testnet.exchange.tapes]
        quoted = self.testnet.exchange.instruments[self.plan.symbol]
        position = self.account.position(quoted)
        neighbours = tuple(contract_of(one) for one in instruments
                           if one is not quoted and one.currency == quoted.currency)
        return (list(self.recorder.events), Books(position.quantity, position.purse.wallet - self._wallet),
                contract_of(quoted), neighbours)

    def _rules(self, told):
        # type: (Dict[str, Any]) -> Rules
        limited = self.testnet.server.limits.enabled
        return Rules(self.key, told.get('ORDERID_PREFIX', ''), told.get('MIN_POSITION'), told.get('MAX_POSITION'),
                     told.get('RELIST_INTERVAL') or 0.0, told.get('HEARTBEAT', 5.0), told.get('STALE_AFTER', 15.0),
                     told.get('ECHO_TIMEOUT', 15.0), PULL_WITHIN, told.get('DEADMAN_TIMEOUT') or 0.0,
                     (self.plan.certain or 60.0), 120 if limited else None, 10 if limited else None)

    def _ledger(self):
        # type: () -> Tuple[Optional[List[Command]], Optional[List[BotFill]]]
        """Return the commands and the fills in the bot's ledger, read without the bot's own code; what a killed bot
        left beside SQLite is put there first."""
        found = glob.glob(os.path.join(self.folder, 'state', '*', '*', 'ledger.db'))
        if not found:
            return None, None
        commands, fills, now = [], [], time.time()   # type: List[Command], List[BotFill], float
        for path in sorted(found):
            Ledger(path).close()
            ledger = sqlite3.connect(path)
            try:
                commands += [Command(*(row[:4] + (now - row[4],))) for row in ledger.execute(
                    'SELECT kind, clOrdID, orderID, state, written FROM commands ORDER BY id')]
                fills += [BotFill(*row) for row in ledger.execute(
                    'SELECT execID, side, quantity, price, fee FROM fills ORDER BY id')]
            finally:
                ledger.close()
        return commands, fills

    def _summary(self):
        # type: () -> Optional[Summary]
        """Return the bot's closing words; None where it did not get to say them, or has begun to count anew."""
        with open(self.output, errors='replace') as file:
            text = file.read()
        closing, position, result = [shape.findall(text)[-1:] for shape in (CLOSING, POSITION, RESULT)]
        if not (closing and position and result) or self._killed is not None or self._deaths:
            return None
        amount, currency = result[0]
        return Summary(*([int(number) for number in closing[0]] +
                         [int(position[0]), int(Decimal(amount) * MINOR[currency])]))


def contract_of(instrument: Any) -> Contract:
    """Return what the judge is told of a contract of the exchange."""
    return Contract(instrument.symbol, instrument.kind, abs(instrument.row['multiplier']), instrument.lot,
                    instrument.tick)


def _wanted(told):
    # type: (List[Dict[str, Any]]) -> List[Wanted]
    ends = {line['began']: line['at'] for line in told if line['what'] == 'done'}
    return [Wanted(line['began'], ends.get(line['began']), tuple(map(tuple, line['buys'])),
                   tuple(map(tuple, line['sells']))) for line in told if line['what'] == 'wanted']


Outcome = namedtuple('Outcome', 'findings evidence figures')
Outcome.__doc__ = """What came of a trial: the judge's findings, the evidence, and some figures for the table."""


def run(plan: Plan, folder: str, cwd: str) -> Outcome:
    """Make a trial from start to end and judge it."""
    with Trial(plan, folder, cwd) as trial:
        trial.start()
        trial.play()
        trial.calm_down()
        trial.end()
        if plan.ending == signal.SIGKILL:
            time.sleep(float(plan.settings.get('DEADMAN_TIMEOUT', 3)) + 2.0)
        evidence = trial.evidence()
    keep(evidence, os.path.join(folder, 'exchange.jsonl'))
    return Outcome(judge(evidence), evidence, figures(evidence))


def keep(evidence: Evidence, path: str) -> None:
    """Write down what the exchange saw, one JSON object a line, with the seconds since the beginning."""
    since = start_of(evidence)
    lines = [dict(event._asdict(), what=type(event).__name__, at=round(event.at - since, 4))
             for event in evidence.events]
    for trouble in evidence.troubles:
        for moment, what in ((trouble.began, 'Fault on'), (trouble.ended, 'Fault off')):
            if moment != float('inf'):
                lines.append({'what': what, 'at': round(moment - since, 4), 'words': trouble.words})
    with open(path, 'w') as file:
        for line in sorted(lines, key=lambda one: one['at']):
            file.write(json.dumps(line, default=str) + '\n')


def figures(evidence: Evidence) -> Dict[str, int]:
    """Return how much happened: requests, fills, reconnects, faults, cycles."""
    fills = [event for event in evidence.events if isinstance(event, Execution) and event.row['execType'] == 'Trade'
             and is_own(event.row, evidence)]
    sockets = [event for event in evidence.events if isinstance(event, Opened)]
    return {'requests': len(requests_of(evidence)), 'fills': len(fills), 'sockets': len(sockets),
            'faults': len(evidence.troubles), 'cycles': len(evidence.wanted)}
