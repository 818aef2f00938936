"""``marketmaker testnet``: the local exchange in the foreground, or as the child of a bot that needed one.

The server, which needs the ``testnet`` extra, is fetched when the command runs: its help must work without.
"""
from __future__ import absolute_import, print_function

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

from market_maker import local
from market_maker.utils import log
from market_maker.utils.constants import LOCAL_PORT
from market_maker.utils.errors import EXIT_OK, LocalExchangeError, SettingsError

HELP = 'Run the local exchange: BitMEX on this machine, with a market to trade against. Needs the testnet extra.'
EXAMPLES = """
marketmaker testnet
marketmaker testnet --market lively --seed 7 --watch
marketmaker testnet --market still --symbol XBTUSD --bid 60000 --ask 60000.1
marketmaker testnet --market replay --data quotes.csv trades.csv --speed 10 --no-rate-limits
marketmaker testnet --account mykey:mysecret --account @accounts.json
marketmaker testnet --state accounts.sqlite --control
marketmaker testnet --market lively --faults overload lost-reply:rate=0.1,verbs=POST
"""

MARKETS = ('simulated', 'lively', 'still', 'replay')
QUEUES = ('back', 'front', 'proportional')
HIGHEST_PRICE = 1e9     # beyond this nothing of ours trades
TOKEN = 'LOCAL_CONTROL_TOKEN'   # environment variable
SHORTEST_TOKEN = 16
LOOK = 0.05             # seconds between two looks at whether anybody still needs a child
RESTART_GRACE = 2.0     # seconds for a starter that vanished without goodbye: a bot that restarts itself does
GUEST_GRACE = 3.0       # seconds since others shook hands or sent a request, in which they may come back

logger = logging.getLogger('root')


def add_arguments(parser: Any) -> None:
    """Add the command's options."""
    add = parser.add_argument
    add('--host', default='127.0.0.1', help='address to listen on (default: %(default)s, this machine only)')
    add('--port', type=int, default=LOCAL_PORT, help='port to listen on; 0 takes a free one (default: %(default)s)')
    add('--watch', action='store_true', help='show book, trades and accounts live instead of a line for each fill')
    add('--attached', action='store_true', help=argparse.SUPPRESS)
    _add_market(parser.add_argument_group('the market').add_argument)
    _add_accounts(parser.add_argument_group('accounts and money').add_argument)
    _add_trouble(parser.add_argument_group('for tests').add_argument)


def _add_market(add):
    # type: (Any) -> None
    add('--symbol', metavar='S', nargs='+', action='append', default=[], help='trade these instruments only')
    add('--market', choices=MARKETS, default='simulated',
        help='who trades besides you: simulated (default), lively (the same in fast motion), '
             'still (a fixed bid and ask), replay (a recording)')
    add('--seed', type=int, help='same seed, same market (default: a new one each time)')
    add('--bid', type=float, help='still: the bid of the first symbol')
    add('--ask', type=float, help='still: the ask of the first symbol')
    add('--data', metavar='PATH', nargs='+', action='append', default=[],
        help="replay: BitMEX's CSV files of quotes and trades, also gzipped")
    add('--queue', choices=QUEUES, default='back',
        help='replay: where in the queue your orders stand (default: %(default)s)')
    add('--speed', type=float, default=1.0, help='how fast time passes (default: %(default)s)')


def _add_accounts(add):
    # type: (Any) -> None
    add('--account', metavar='KEY:SECRET|@FILE', action='append', default=[],
        help='an account, or a JSON file with one or a list of them (key, secret, balance, positions, permissions, '
             'cidr, keys); without this option anybody on this machine may open accounts')
    add('--state', metavar='FILE',
        help='keep accounts, positions and orders in FILE (SQLite), and go on with those that are in it (default: all '
             'is forgotten at the end)')
    add('--fees', metavar='MAKER,TAKER',
        help='fees of all contracts as fractions, for example --fees=-0.0001,0.0005 (with =, because of the minus)')
    add('--funding-interval', metavar='SECONDS', type=float,
        help='pay funding every so many seconds (default: at 04:00, 12:00 and 20:00 UTC)')


def _add_trouble(add):
    # type: (Any) -> None
    add('--no-rate-limits', action='store_true', help='never answer 429')
    add('--control', action='store_true',
        help='let whoever has the token that is printed (or is in LOCAL_CONTROL_TOKEN) do more than trade: accounts, '
             'market, clock, faults')
    add('--faults', metavar='F', nargs='+', action='append', default=[],
        help='trouble, for testing clients: profiles, or faults with their options, for example overload '
             'lost-reply:rate=0.1,verbs=POST; the word list shows them all and ends')


def main(args: Any) -> int:
    """Serve until SIGINT or SIGTERM (or, attached, until nobody needs the exchange) and return the exit code."""
    options = _options(args)
    local.need_extra()
    if 'list' in options['faults']:
        print('\n'.join(fault_lines()))
        return EXIT_OK
    from market_maker.server import collector, local_exchange
    if args.watch and not sys.stdout.isatty():
        raise SettingsError('--watch draws on a terminal, and the output goes elsewhere: leave it out')
    if not args.watch:
        log.setup_custom_logger('root', logging.WARNING if args.attached else logging.INFO)
    lifeline = None
    if args.attached:
        lifeline = Lifeline(sys.stdin.buffer.raw)  # type: ignore[union-attr]
        if lifeline.starter is None:
            return EXIT_OK
        options['people'] = [lifeline.starter]
    if not options['people']:
        options['people'] = [{'key': local.LOCAL_API_KEY, 'secret': local.LOCAL_API_SECRET}]
    collector.spare()
    server = local_exchange.assemble(args.market, **options)
    try:
        asyncio.run(_serve(server, lifeline, None if args.attached else args))
    except LocalExchangeError:
        _say_who_is_there(server)
        raise
    return EXIT_OK


def _say_who_is_there(server):
    # type: (Any) -> None
    """Raise LocalExchangeError naming the local exchange that has the port already, if one has."""
    try:
        found = local.introduction(server.url)
    except LocalExchangeError:
        return   # a stranger, which the first message has told
    if found is not None:
        raise LocalExchangeError('a local exchange runs at {} already (market {}): use that one, end it, or choose '
                                 'another port with --port'.format(server.url, found['market']))


async def _serve(server, lifeline, args):
    # type: (Any, Optional[Lifeline], Any) -> None
    screen = None   # type: Optional[asyncio.Task[None]]
    try:
        await server.start()
        _stop_on_signals(server.stop)
        if lifeline is not None:
            lifeline.watch(server)
        else:
            print('\n'.join(greeting(server, args)), flush=True)
            screen = _show(server, args.watch)
        await server.wait()
    finally:
        if screen is not None:
            screen.cancel()
            await asyncio.wait([screen])
            if not screen.cancelled():
                screen.result()   # a picture that could not be drawn
        await server.close()
    if args is not None:
        print('The local exchange has ended.', flush=True)


def _show(server, watched):
    # type: (Any, bool) -> Optional[asyncio.Task[None]]
    """Let a person see what happens: line by line, or as a picture whose task is returned."""
    from market_maker.server import watch
    server.keep_diary(watch.Diary())
    if not watched:
        return None
    notes = watch.Notes()
    logger.addHandler(notes)
    logger.setLevel(logging.INFO)
    return asyncio.get_running_loop().create_task(watch.Screen(server, sys.stdout, notes).run())


def _stop_on_signals(stop):
    # type: (Any) -> None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def greeting(server: Any, args: Any) -> List[str]:
    """Return the lines that tell the user where the exchange is, with which key, and how to go on."""
    traded = [symbol for symbol in server.exchange.instruments if not symbol.startswith('.')]
    lines = ['Local exchange at {} (WebSocket {}).'.format(server.url, server.ws_url),
             'Market: {}{}; {}.'.format(args.market, _details(server, args), ', '.join(traded))]
    if args.account:
        lines.append('Accounts: those of --account; no others.')
    else:
        lines += ['API_KEY = "{}"'.format(local.LOCAL_API_KEY), 'API_SECRET = "{}"'.format(local.LOCAL_API_SECRET),
                  'Or any key and secret of your own choice: `marketmaker` opens an account for them.']
    if args.control:
        lines += ['Control: curl -H "Authorization: Bearer {}" {}/local-exchange/control'.format(
            '$' + TOKEN if os.environ.get(TOKEN) else server.control.token, server.base)]
    if args.faults:
        lines.append('Faults: {}. Each strike is on purpose.'.format(', '.join(
            word for group in args.faults for word in group)))
    if args.state:
        lines.append('Accounts are kept in {}.'.format(args.state))
    if args.host not in ('127.0.0.1', '::1', 'localhost'):
        lines.append('Whoever can reach {} can trade here.'.format(args.host))
    return lines + ['Try, in another terminal:',
                    '  curl "{}quote?symbol={}&count=1&reverse=true"'.format(server.url, traded[0]),
                    '  BITMEX_BASE_URL={} marketmaker {}'.format(server.url, traded[0]),
                    'Ctrl-C ends it.']


def fault_lines() -> List[str]:
    """Return the table of faults and profiles."""
    from market_maker.server import faults
    lines = (faults.__doc__ or '').splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith('===')] or [0, 0]
    profiles = ['{:<19} {}'.format(name, profile.about) for name, profile in faults.PROFILES.items()]
    return (lines[rules[0] + 1:rules[-1]] + ['', 'Every fault takes account, seconds, rate, count and skip.', '',
                                             'Profiles:'] + profiles)


def _details(server, args):
    # type: (Any, Any) -> str
    if args.market in ('simulated', 'lively'):
        return ', seed {}'.format(server.seed)
    if args.market == 'replay':
        from market_maker.simulator.timestamps import iso
        return ' from {} at {:g}x, queue {}'.format(iso(server.pace.start), args.speed, args.queue)
    return ''


# Arguments

def _options(args):
    # type: (Any) -> Dict[str, Any]
    """Return the arguments of ``assemble``; raise SettingsError for what cannot be used."""
    if not 0 <= args.port <= 65535:
        raise SettingsError('--port {} is no port: take 1024 to 65535, or 0 for any free one'.format(args.port))
    data = [path for group in args.data for path in group]
    for name, value in (('--bid', args.bid), ('--ask', args.ask)):
        if value is not None and args.market != 'still':
            raise SettingsError('{} {:g} is of use with --market still only'.format(name, value))
        if value is not None and not 0 < value < HIGHEST_PRICE:
            raise SettingsError('{} {:g} is no price: take one between 0 and {:g}'.format(name, value, HIGHEST_PRICE))
    if data and args.market != 'replay':
        raise SettingsError('--data {} is of use with --market replay only'.format(data[0]))
    if args.market == 'replay' and not data:
        raise SettingsError('--market replay needs the files of a recording: --data QUOTES.csv TRADES.csv')
    people = [description for word in args.account for description in _people(word)]
    return {'symbols': [symbol for group in args.symbol for symbol in group], 'seed': args.seed, 'bid': args.bid,
            'ask': args.ask, 'data': data, 'queue': args.queue, 'speed': args.speed, 'fees': _fees(args.fees),
            'people': people, 'closed_accounts': bool(people), 'rate_limits': not args.no_rate_limits,
            'host': args.host, 'port': args.port, 'faults': [word for group in args.faults for word in group],
            'control': _token(os.environ.get(TOKEN)) if args.control else None, 'state': args.state,
            'funding_interval': args.funding_interval}


def _token(text):
    # type: (Optional[str]) -> str
    """Return the token that the environment gives the control interface, '' for one of the exchange's own."""
    if text and (len(text) < SHORTEST_TOKEN or not text.isprintable() or ' ' in text):
        raise SettingsError('{} in the environment is no token: give {} or more characters without spaces, or leave it '
                            'out'.format(TOKEN, SHORTEST_TOKEN))
    return text or ''


def _fees(text):
    # type: (Optional[str]) -> Optional[Tuple[float, float]]
    if text is None:
        return None
    try:
        maker, taker = [float(number) for number in text.split(',')]
    except ValueError:
        raise SettingsError('--fees {}: give maker and taker fee as fractions, for example -0.0001,0.0005'.format(text))
    if not (abs(maker) < 0.1 and abs(taker) < 0.1):
        raise SettingsError('--fees {}: a fee is a fraction of the value, 0.0005 is 0.05 %; these are 10 % or more'
                            .format(text))
    return maker, taker


def _people(word):
    # type: (str) -> List[Dict[str, Any]]
    """Return the accounts that one --account describes."""
    if not word.startswith('@'):
        key, colon, secret = word.partition(':')
        if not (key and colon and secret):
            raise SettingsError('--account {}...: give KEY:SECRET or @FILE'.format(word[:4]))
        return [{'key': key, 'secret': secret}]
    path = word[1:]
    try:
        with open(path, encoding='utf-8') as file:
            described = json.load(file)
    except OSError as error:
        raise SettingsError('--account {}: {}'.format(path, error.strerror))
    except ValueError as error:
        raise SettingsError('--account {}: not JSON: {}'.format(path, error))
    described = described if isinstance(described, list) else [described]
    if not described:
        raise SettingsError('--account {}: describes no account'.format(path))
    return described


# As a child

class Lifeline(object):
    """The pipe from the process that started this one: a line with its key, silence, and at its end perhaps a goodbye.

    ``starter`` describes its account; None when it is gone before it said a word.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._goodbye = False
        self._token = ''
        self.starter = None  # type: Optional[Dict[str, Any]]
        # From the unbuffered file: a goodbye may follow at once, and is read elsewhere.
        line = pipe.readline()
        if line:
            try:
                words = json.loads(line.decode('utf-8'))
                self.starter = {'key': words['key'], 'secret': words['secret']}
                self._token = str(words.get('token', ''))
            except (ValueError, KeyError, TypeError, AttributeError):
                raise SettingsError('--attached is for processes that hand an account through the pipe; leave it out')

    def watch(self, server: Any) -> None:
        """Stop ``server`` once the starter is gone and nobody else needs it; called in the server's event loop."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        self._task = loop.create_task(self._wait(server, gone))

        def read() -> None:
            for words in iter(lambda: self._pipe.read(4096), b''):
                self._goodbye = self._goodbye or local.GOODBYE in words
            try:
                loop.call_soon_threadsafe(gone.set_result, None)
            except RuntimeError:
                # The loop has been closed by a signal: nothing is left to stop.
                return
        threading.Thread(target=read, name='lifeline', daemon=True).start()

    async def _wait(self, server, gone):
        # type: (Any, Any) -> None
        await gone
        since = server.pace.wall()
        while not self.is_over(server, since, server.pace.wall()):
            await asyncio.sleep(LOOK)
        server.stop()

    def is_over(self, server: Any, since: float, now: float) -> bool:
        """Return whether nobody needs the exchange any more, the starter having gone at ``since`` (Unix seconds)."""
        if server.connections:
            return False
        if not self._goodbye and now - since < RESTART_GRACE:
            return False
        own = server.exchange.account_of(self.starter['key']).id  # type: ignore[index]
        others = [seen for token, seen in server.guests.items() if token != self._token]
        others += [seen for account_id, seen in server.rest.seen.items() if account_id != own]
        return all(now - seen > GUEST_GRACE for seen in others)
