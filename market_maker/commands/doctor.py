"""``marketmaker doctor``: what is wrong, or may go wrong, before a run: one line a finding, with the way out.

It places no order, changes nothing at the exchange and starts nothing.  Everything that waits for somebody else does so
in threads of its own, so that an answer stands within five seconds whatever they do.
"""
from __future__ import absolute_import, print_function

import contextlib
import importlib
import io
import logging
import os
import shutil
import sys
import threading
import time
from collections import namedtuple
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

HELP = 'Look for what is wrong, or may go wrong, before a run: settings, key, exchange, account. Places no order.'
EXAMPLES = """
marketmaker doctor                                    everything about SYMBOL of settings.py
marketmaker doctor XBTUSD                             everything about XBTUSD
marketmaker doctor XBTUSD --strategy my_strategy.py   settings as for that strategy
"""
EXIT_CODES = """
0  neither warning nor fault
5  warnings
6  faults
"""

FAULT, WARNING, NOTE, FINE = 'FAULT', 'warning', 'note', 'ok'
EXIT_WARNINGS, EXIT_FAULTS = 5, 6   # those of utils/errors.py, which cannot be imported where requests is missing
TOPICS = ('settings', 'dependencies', 'disk', 'connection', 'latency', 'feed', 'clock', 'key', 'permissions', 'symbol',
          'limits', 'leverage', 'funds', 'orders', 'bot')

PATIENCE = 4.0        # seconds for everything that the network has a part in
REQUEST = 2.0         # seconds for one answer
SLOW = 0.5            # seconds for an answer, above which quotes are late
SKEW = 2.0            # seconds that a clock may be off before anybody need care
ROOM = 100 * 10 ** 6  # bytes that should be free for the ledger and the log
EXPOSURE = 10.0       # times the balance that a filled side may make of the position before it is worth a word
LEVERAGE = 25.0       # of an isolated position, above which a move of a few per cent liquidates it
NEEDED = (('requests', 'requests', (2, 25, 1)), ('websocket', 'websocket-client', (0, 59, 0)), ('future', 'future', ()))

Finding = namedtuple('Finding', 'level topic words')
Finding.__doc__ = """One line: how bad it is, what it is about, cause and way out."""


def add_arguments(parser: Any) -> None:
    """Add what a run understands of this; written here, for nothing else can be imported where a library is missing."""
    parser.add_argument('symbol', nargs='?', metavar='SYMBOL', help='the contract (default: SYMBOL of settings.py)')
    parser.add_argument('--strategy', metavar='FILE[:CLASS]', help='the strategy that is to be run')
    parser.add_argument('--local', action='store_true', help='use the local exchange, whatever BASE_URL says')
    parser.add_argument('--base-url', metavar='URL', help='use the exchange at this address instead of BASE_URL')


def main(args: Any) -> int:
    """Print the findings and return the exit code."""
    findings = examine(args.strategy)
    for finding in sorted(findings, key=lambda finding: TOPICS.index(finding.topic)):
        print('{:<8} {:<13} {}'.format(*finding))
    levels = {finding.level for finding in findings}
    sys.stdout.flush()
    return EXIT_FAULTS if FAULT in levels else EXIT_WARNINGS if WARNING in levels else 0


def examine(strategy: Optional[str] = None) -> List[Finding]:
    """Return all findings."""
    sheet = Sheet()
    check_dependencies(sheet)
    if sheet.has_fault():
        return sheet.findings
    logging.getLogger('root').setLevel(logging.CRITICAL)   # what others would log is told here
    if check_settings(sheet, strategy):
        check_disk(sheet)
        within(PATIENCE, lambda: check_exchange(sheet), sheet)
    return sheet.findings


class Sheet(object):
    """The findings so far; any thread may add to them."""

    def __init__(self):
        # type: () -> None
        self.findings = []   # type: List[Finding]

    def add(self, level, topic, words, *values):
        # type: (str, str, str, *Any) -> None
        """Note a finding."""
        self.findings.append(Finding(level, topic, ' '.join(words.format(*values).split())))

    def fine(self, topic, words, *values):
        # type: (str, str, *Any) -> None
        """Note that all is well with a topic, unless something else was found about it."""
        if not any(finding.topic == topic and finding.level != NOTE for finding in self.findings):
            self.add(FINE, topic, words, *values)

    def has_fault(self):
        # type: () -> bool
        """Tell whether anything was found that prevents a run."""
        return any(finding.level == FAULT for finding in self.findings)


def within(seconds: float, act: Callable[[], None], sheet: Sheet) -> None:
    """Do something that may hang; after that time go on without it."""
    thread = threading.Thread(target=act, name='doctor', daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        sheet.add(FAULT, 'connection', 'not everything was answered within {:g} s (the exchange is very slow, its name '
                  'cannot be looked up, or somebody takes connections and is silent): check BASE_URL and the network',
                  seconds)


# This machine

def check_dependencies(sheet: Sheet) -> None:
    """Look for the libraries of the base install, and whether they are old enough to matter."""
    for module, package, oldest in NEEDED:
        try:
            found = importlib.import_module(module)
        except ImportError:
            sheet.add(FAULT, 'dependencies', '{0} is not installed: python -m pip install {0}', package)
            continue
        if module == 'websocket' and not hasattr(found, 'create_connection'):
            sheet.add(FAULT, 'dependencies', 'another package named websocket hides websocket-client: python -m pip '
                      'uninstall websocket, then install websocket-client')
        elif oldest and version_of(found) < oldest:
            sheet.add(FAULT, 'dependencies', '{} {} is older than {}, the oldest that works: python -m pip install '
                      '--upgrade {}', package, getattr(found, '__version__', '?'), '.'.join(map(str, oldest)), package)
    try:
        importlib.import_module('sqlite3')
    except ImportError:
        sheet.add(WARNING, 'dependencies', 'this Python was built without sqlite3, so nothing is known of orders after '
                  'a crash: use another one')
    sheet.fine('dependencies', 'Python {}.{}.{} with everything that a run needs', *sys.version_info[:3])


def version_of(module: Any) -> Tuple[int, ...]:
    """Return the numbers of a module's version."""
    numbers = []
    for part in str(getattr(module, '__version__', '')).split('.')[:3]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def check_settings(sheet: Sheet, strategy: Optional[str]) -> bool:
    """Read the settings as a run would; tell whether they can be used."""
    from market_maker import settings as module
    from market_maker.commands import run
    from market_maker.utils.errors import SettingsError
    heard = Heard()
    logger = logging.getLogger('root')
    logger.addHandler(heard)
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module.validate(strict=strategy is None)
            if strategy:
                run.load_strategy(strategy)
    except (SettingsError, SyntaxError) as error:
        for line in str(error).splitlines():
            sheet.add(FAULT, 'settings', '{}', line)
        return False
    finally:
        logger.removeHandler(heard)
        logger.setLevel(logging.CRITICAL)
    for line in heard.lines:
        sheet.add(NOTE if 'running on the defaults' in line else WARNING, 'settings', '{}', line)
    values = module.settings
    if values.DRY_RUN:
        sheet.add(NOTE, 'settings', 'DRY_RUN is True: nothing is sent')
    sheet.fine('settings', 'they can be used; the exchange is {}', values.BASE_URL)
    return True


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        # type: () -> None
        logging.Handler.__init__(self)
        self.lines = []   # type: List[str]

    def emit(self, record):
        # type: (logging.LogRecord) -> None
        """Keep a line."""
        self.lines.append(record.getMessage())


def check_disk(sheet: Sheet) -> None:
    """See whether ledger, limits and log can be written, and whether there is room for them."""
    from market_maker.settings import settings
    from market_maker.state.folder import state_root
    root = state_root(os.environ)
    places = [('the state folder', root, 'orders and loss limits are forgotten when the bot ends: set XDG_STATE_HOME '
               'to a folder that can be written')]
    if settings.LOG_FILE:
        path = os.path.abspath(os.path.expanduser(settings.LOG_FILE))
        places.append(('LOG_FILE', path, 'a run would refuse to start: name a file in a folder that you may write to'))
    for name, path, way_out in places:
        fault = unwritable(path, path != root)
        if fault:
            sheet.add(WARNING if path == root else FAULT, 'disk', '{} {} cannot be written ({}): {}', name, path, fault,
                      way_out)
            continue
        free = shutil.disk_usage(existing(path)).free
        if free < ROOM:
            sheet.add(WARNING, 'disk', '{:.0f} MB are free for {} {}, and a full disk stops new orders: make room',
                      free / 1e6, name, path)
    sheet.fine('disk', '{} can be written', ' and '.join(path for _, path, _ in places))


def existing(path: str) -> str:
    """Return the nearest part of a path that exists."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def unwritable(path: str, is_file: bool) -> str:
    """Return why a file or a folder could not be made, or ''; a folder is made as deep as it takes, a file is not."""
    there = existing(path)
    if is_file and os.path.isdir(path):
        return 'it is a folder'
    if is_file and there not in (path, os.path.dirname(path)):
        return 'there is no folder {}'.format(os.path.dirname(path))
    if there != path and not os.path.isdir(there):
        return '{} is no folder'.format(there)
    return '' if os.access(there, os.W_OK) else 'permission denied'


# The exchange

def check_exchange(sheet: Sheet) -> None:
    """Look at everything that only the exchange knows."""
    from market_maker.commands.account import Account
    from market_maker.settings import settings
    from market_maker.utils.errors import (APIError, AuthenticationError, ConnectionLost, LocalExchangeError,
                                           MarketMakerError, SettingsError)
    try:
        if not is_there(sheet):
            return
        instrument, skew = reach(sheet)
        with Account(REQUEST, 0, any_symbol=True) as mine:
            mine.bitmex._client.skew = skew
            feed = start(lambda: check_feed(sheet, mine, skew))
            if check_key(sheet, mine):
                check_account(sheet, mine, instrument)
            feed()
    except AuthenticationError as error:
        sheet.add(FAULT, 'key', '{}', error)
    except (ConnectionLost, LocalExchangeError) as error:
        sheet.add(FAULT, 'connection', '{}', error)
    except SettingsError as error:
        sheet.add(FAULT, 'settings', '{}', error)
    except APIError as error:
        way_out = 'is BASE_URL {} the address of its API? It ends with /api/v1/'.format(settings.BASE_URL) \
            if error.status == 404 else 'try again later'
        sheet.add(FAULT, 'connection', 'the exchange does not do what is asked of it ({}): {}', error, way_out)
    except MarketMakerError as error:
        sheet.add(FAULT, 'connection', 'the exchange does not do what is asked of it ({}): try again later', error)


def start(act: Callable[[], Any]) -> Callable[[], Any]:
    """Begin something in a thread of its own; return what waits for its result, or raises its error."""
    results = []   # type: List[Any]
    errors = []    # type: List[BaseException]

    def work():
        # type: () -> None
        try:
            results.append(act())
        except BaseException as error:   # it belongs to whoever waits
            errors.append(error)
    thread = threading.Thread(target=work, name='doctor', daemon=True)
    thread.start()

    def wait():
        # type: () -> Any
        thread.join()
        if errors:
            raise errors[0]
        return results[0]
    return wait


def is_there(sheet: Sheet) -> bool:
    """Tell whether there is an exchange to ask; a local one that does not run yet is none, and no fault."""
    from market_maker import local
    from market_maker.settings import settings
    from market_maker.utils.errors import SettingsError
    if not local.is_local(settings.BASE_URL):
        return True
    found = local.introduction(settings.BASE_URL)
    if found is not None:
        return True
    try:
        local.need_extra()
    except SettingsError as error:
        sheet.add(FAULT, 'dependencies', '{}', error)
        return False
    sheet.add(NOTE, 'connection', 'no local exchange runs at {}; `marketmaker` starts one by itself, and then there is '
              'more to look at', settings.BASE_URL)
    return False


def reach(sheet: Sheet) -> Tuple[Dict[str, Any], float]:
    """Ask without a key, as anybody may: is it an exchange, how long does it take, is there such a contract?

    Return its row, and by how many seconds the exchange's clock is ahead of ours, as the Date header tells (to a second
    or so; 0 below two).
    """
    from market_maker.bitmex import BitMEX
    from market_maker.commands.account import NoTables
    from market_maker.rest.transport import Transport
    from market_maker.settings import command_line, settings
    from market_maker.ws.views import unknown_symbol
    symbol = command_line().symbol or settings.SYMBOL
    anybody = BitMEX(settings.BASE_URL, symbol, transport=Transport(settings.BASE_URL), ws=NoTables(), timeout=REQUEST)
    try:
        def ask():
            # type: () -> Any
            return anybody._curl_bitmex('instrument', {'filter': {'symbol': symbol}, 'count': 1}, max_retries=0)
        rows = ask()   # opens the connection
        spans = []
        for _ in range(2):
            began = time.monotonic()
            ask()
            spans.append(time.monotonic() - began)
        sheet.fine('connection', '{} answers', settings.BASE_URL)
        if min(spans) > SLOW:
            sheet.add(WARNING, 'latency', 'an answer takes {:.0f} ms, so quotes are late and are hit when they are '
                      'wrong: run the bot nearer to the exchange, or quote further away', 1000 * min(spans))
        sheet.fine('latency', 'an answer takes {:.0f} ms', 1000 * min(spans))
        if not rows:
            active = anybody._curl_bitmex('instrument/active', max_retries=0)
            sheet.add(FAULT, 'symbol', '{}', unknown_symbol(symbol, [row['symbol'] for row in active]))
            return {}, anybody._client.skew
        if rows[0].get('state') not in ('Open', 'Unlisted'):   # an index is of the second kind, and told of below
            sheet.add(WARNING, 'symbol', '{} does not trade now, its state is {}: the bot waits until it does, or '
                      'quote another one', symbol, rows[0].get('state'))
        return rows[0], anybody._client.skew
    finally:
        anybody.exit()


def check_feed(sheet: Sheet, mine: Any, skew: float) -> None:
    """Open the live feed as the bot would, and compare the clocks to a fraction of a second by its welcome."""
    import json

    from market_maker.auth import signing
    from market_maker.ws.address import websocket_url
    from market_maker.ws.health import unix_seconds
    from market_maker.ws.link import Link, LinkError, route
    url = websocket_url(mine.url)
    link = Link(route(url), REQUEST)
    try:
        for _ in range(2):
            expires = signing.generate_expires(time.time() + skew)
            began = time.time()
            try:
                link.open(url, signing.auth_headers(mine.key, mine.secret, expires) if mine.key else {})
                break
            except LinkError as error:
                theirs = error.exchange_time()
                if error.status != 400 or theirs is None:
                    raise
                skew = theirs - time.time()
        welcome = json.loads((link.receive() or b'{}').decode('utf-8'))
        if 'timestamp' in welcome:
            told = unix_seconds(welcome['timestamp']) - (began + time.time()) / 2
            skew = told if abs(told - skew) <= SKEW else skew   # in a replay the feed's time is not that of signatures
        sheet.fine('feed', '{} lets us in', url)
    except LinkError as error:
        if error.status not in (401, 403):   # the key has a finding of its own
            sheet.add(FAULT, 'feed', '{} cannot be opened ({}): a proxy or firewall between may stop WebSockets', url,
                      error)
    finally:
        link.close()
    if abs(skew) > SKEW:
        sheet.add(WARNING, 'clock', "this machine's clock is {:.1f} s {} the exchange's: the bot allows for it, but "
                  'set it right (NTP)', abs(skew), 'behind' if skew > 0 else 'ahead of')
    sheet.fine('clock', "it agrees with the exchange's to {:.1f} s", abs(skew))


def check_key(sheet: Sheet, mine: Any) -> bool:
    """See whether the exchange takes the key; tell whether the account can be looked at."""
    from market_maker.utils.errors import AuthenticationError
    if not mine.key:
        sheet.add(FAULT, 'key', 'API_KEY is empty: set API_KEY and API_SECRET')
        return False
    shown = mine.key[:4] + '...'
    try:
        mine.get('user')
    except AuthenticationError as error:
        text = str(error)
        if 'Invalid API Key' in text:
            sheet.add(FAULT, 'key', '{} does not know the key {}: keys of BitMEX, of its testnet and of a local '
                      'exchange are each good for their own only; set the one of this exchange', mine.url, shown)
        elif 'Signature not valid' in text:
            sheet.add(FAULT, 'key', '{} knows the key {}, but not with this secret: copy API_SECRET again', mine.url,
                      shown)
        else:
            sheet.add(FAULT, 'key', '{}', text)
        return False
    sheet.fine('key', '{} takes the key {}', mine.url, shown)
    return True


def check_account(sheet: Sheet, mine: Any, instrument: Dict[str, Any]) -> None:
    """Look at what belongs to the account."""
    from market_maker.contracts import kind
    currency = instrument.get('settlCurrency') or 'XBt'
    asked = [start(act) for act in (
        lambda: mine.get('apiKey'), lambda: mine.get('order', filter={'open': True}, count=500), mine.position,
        lambda: mine.margin(currency))]
    keys, orders, position, margin = (wait() for wait in asked)
    check_permissions(sheet, mine, keys)
    check_orders(sheet, mine, orders)
    if not instrument:
        return
    if kind(instrument) in ('index', 'spot'):
        sheet.add(FAULT, 'symbol', '{} is an index or spot, which the bot cannot quote: name a contract', mine.symbol)
        return
    quantity = position.get('currentQty') or 0
    check_lots(sheet, mine, instrument)
    check_limits(sheet, mine, quantity)
    own = [order for order in orders if order.get('symbol') == mine.symbol and mine.is_own(order)]
    check_money(sheet, instrument, position, margin, own)


def check_permissions(sheet: Sheet, mine: Any, keys: List[Dict[str, Any]]) -> None:
    """See what the key may do: place orders, and better nothing else."""
    from market_maker import local
    own = [row for row in keys if row.get('id') == mine.key]
    if not own:
        sheet.add(NOTE, 'permissions', 'the exchange does not tell what the key may do')
        return
    permissions = own[0].get('permissions') or []
    if 'order' not in permissions:
        sheet.add(FAULT, 'permissions', 'the key {}... may not place orders ({}): make one with the permission "order"',
                  mine.key[:4], ', '.join(permissions) or 'it may only read')
    if 'withdraw' in permissions and not local.is_local(mine.url):
        sheet.add(WARNING, 'permissions', 'the key {}... may withdraw, which the bot never does and a thief would: '
                  'make one without that permission', mine.key[:4])
    sheet.fine('permissions', 'the key may place orders')


def check_orders(sheet: Sheet, mine: Any, orders: List[Dict[str, Any]]) -> None:
    """See whose orders are open, and who else is at work."""
    pid = mine.running_bot()
    own = [order for order in orders if order.get('symbol') == mine.symbol and mine.is_own(order)]
    others = {}   # type: Dict[str, int]
    for order in orders:
        if order not in own:
            others[order.get('symbol', '?')] = others.get(order.get('symbol', '?'), 0) + 1
    if others:
        sheet.add(WARNING, 'orders', "{} open orders are not this bot's ({}): it leaves them alone, but they use "
                  'margin and move the position; cancel them, or give them an account of their own',
                  sum(others.values()), ', '.join('{} {}'.format(*pair) for pair in sorted(others.items())))
    if own and pid is None:
        sheet.add(NOTE, 'orders', '{} orders of the bot are left from an earlier run: its next start cancels them, or '
                  '`marketmaker cancel`', len(own))
    sheet.fine('orders', "none but the bot's own {}", len(own))
    if pid is not None:
        sheet.add(NOTE, 'bot', 'it runs, process {}; a second one needs an ORDERID_PREFIX of its own', pid)


def check_lots(sheet: Sheet, mine: Any, instrument: Dict[str, Any]) -> None:
    """See whether the sizes of the ladder fit the contract."""
    from market_maker.settings import settings
    lot = instrument.get('lotSize') or 1
    for name in ('ORDER_START_SIZE', 'ORDER_STEP_SIZE'):
        if settings[name] % lot:
            sheet.add(WARNING, 'symbol', '{} is {} and no multiple of {}, the lot of {}: one lot is taken; set a '
                      'multiple', name, settings[name], lot, mine.symbol)
    if settings.ORDER_SIZE_LIMIT is not None and settings.ORDER_SIZE_LIMIT < lot:
        sheet.add(FAULT, 'limits', 'ORDER_SIZE_LIMIT is {} and a lot of {} has {}: nothing would be placed; raise it',
                  settings.ORDER_SIZE_LIMIT, mine.symbol, lot)
    sheet.fine('symbol', '{} trades, its lot is {} and its tick {}', mine.symbol, lot, instrument.get('tickSize'))


def check_limits(sheet: Sheet, mine: Any, quantity: int) -> None:
    """See whether a limit keeps the bot from quoting."""
    from market_maker.settings import settings
    stopped = mine.losses().halted
    if stopped:
        sheet.add(FAULT, 'limits', '{}', stopped)
    if not settings.CHECK_POSITION_LIMITS:
        sheet.add(NOTE, 'limits', 'CHECK_POSITION_LIMITS is False: the position may grow without bounds')
    elif not settings.MIN_POSITION < quantity < settings.MAX_POSITION:
        sheet.add(WARNING, 'limits', 'the position of {} has reached {}: one side only is quoted; `marketmaker '
                  'flatten` closes it', quantity, 'MAX_POSITION {}'.format(settings.MAX_POSITION)
                  if quantity >= settings.MAX_POSITION else 'MIN_POSITION {}'.format(settings.MIN_POSITION))
    if settings.ORDER_COUNT_LIMIT is not None and 2 * settings.ORDER_PAIRS > settings.ORDER_COUNT_LIMIT:
        sheet.add(WARNING, 'limits', 'ORDER_PAIRS {} makes {} orders and ORDER_COUNT_LIMIT is {}: the outer ones are '
                  'left out', settings.ORDER_PAIRS, 2 * settings.ORDER_PAIRS, settings.ORDER_COUNT_LIMIT)
    sheet.fine('limits', 'none keeps the bot from quoting')


def check_money(sheet: Sheet, instrument: Dict[str, Any], position: Dict[str, Any], margin: Dict[str, Any],
                own: List[Dict[str, Any]]) -> None:
    """See whether the account can carry the ladder of the settings, and what it would be worth when it is filled."""
    from market_maker import contracts
    from market_maker.commands.account import money
    from market_maker.settings import settings
    price = instrument.get('markPrice') or instrument.get('lastPrice')
    currency = instrument.get('settlCurrency') or 'XBt'
    balance, free = margin.get('marginBalance') or 0, margin.get('availableMargin') or 0
    if balance <= 0:
        sheet.add(FAULT, 'funds', 'the account has no {}: {} is settled in it, so deposit some', currency.upper(),
                  instrument['symbol'])
        return
    if not price:
        return
    leverage = position.get('leverage') if position.get('crossMargin') is False else None
    rate = max(instrument.get('initMargin') or 0, 1.0 / leverage if leverage else 0)
    size = side_size(settings, position.get('currentQty') or 0)
    held = sum(contracts.cost(instrument, order.get('leavesQty') or 0, order.get('price') or price) for order in own)
    needed = contracts.cost(instrument, size, price) * rate
    if needed > free + held * rate:
        sheet.add(FAULT, 'funds', 'one side of the ladder ({} contracts) needs a margin of {} and {} are available: '
                  'smaller sizes, fewer ORDER_PAIRS, or a deposit', size, money(needed, currency),
                  money(free + held * rate, currency))
    sheet.fine('funds', '{} are available, one side of the ladder needs {}', money(free, currency),
               money(needed, currency))
    if leverage and leverage > LEVERAGE:
        sheet.add(WARNING, 'leverage', 'the position is isolated at {:g} times: a move of {:.1f} % liquidates it; '
                  'lower the leverage, or use cross margin (POST /position/leverage with 0)', leverage,
                  100.0 / leverage)
    times = contracts.cost(instrument, abs(position.get('currentQty') or 0) + size, price) / balance
    if times > EXPOSURE:
        sheet.add(WARNING, 'leverage', 'were one side filled, the position would be {:.0f} times the balance, which a '
                  'move of about {:.1f} % would cost: smaller sizes, or CHECK_POSITION_LIMITS', times, 100.0 / times)
    sheet.fine('leverage', 'were one side filled, the position would be {:.2f} times the balance', times)


def side_size(settings: Any, quantity: int) -> int:
    """Return the contracts of one side of the built-in ladder, the larger one where limits cut them."""
    pairs = settings.ORDER_PAIRS
    if settings.RANDOM_ORDER_SIZE:
        size = pairs * settings.MAX_ORDER_SIZE
    else:
        size = pairs * settings.ORDER_START_SIZE + settings.ORDER_STEP_SIZE * pairs * (pairs - 1) // 2
    if settings.CHECK_POSITION_LIMITS:
        size = min(size, max(0, settings.MAX_POSITION - quantity, quantity - settings.MIN_POSITION))
    return int(size)
