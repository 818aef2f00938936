"""What whoever runs the local exchange sees of it: a live picture of book, trades and accounts, or plain lines.

``picture`` only reads; ``Screen`` draws it; ``Diary`` writes a line for everything that changes somebody's money.
"""
import asyncio
import collections
import logging
import shutil
from typing import Any, Deque, Dict, Iterable, List, Optional, Tuple  # noqa: F401

from market_maker import contracts

logger = logging.getLogger('root')

EVERY = 0.5          # seconds between two pictures
LEVELS = 12          # of each side at most
NOTES = 5            # log lines that are kept
ACCOUNTS = 20        # shown at most
MOST_LINES = 10      # of a diary for one event; more than that are counted

ENTER, LEAVE = '\033[?1049h\033[?25l', '\033[?25h\033[?1049l'   # the terminal's second screen, without a cursor
HOME, REST_OF_LINE, REST_OF_SCREEN = '\033[H', '\033[K', '\033[J'

WORDS = {'Trade': '{verb} {lastQty:,} {symbol} at {price}',
         'Liquidation': 'is liquidated: {lastQty:,} {symbol} at {price}',
         'Settlement': 'settles {lastQty:,} {symbol} at {price}', 'Funding': 'pays funding on {lastQty:,} {symbol}'}


class Diary(object):
    """Logs every execution and every deposit, withdrawal and transfer; hand it what the exchange drains."""

    def note(self, changes: Iterable[Any]) -> None:
        """Write the lines of some changes; of a sweep through many orders the first ones."""
        lines = [line for table, action, rows, account, _ in changes
                 if account is not None and (table == 'transact' or table == 'execution' and action == 'insert')
                 for row in rows for line in [diary_line(table, row)] if line]
        for line in lines[:MOST_LINES]:
            logger.info('%s', line)
        if len(lines) > MOST_LINES:
            logger.info('... and %d more.', len(lines) - MOST_LINES)


def diary_line(table: str, row: Dict[str, Any]) -> Optional[str]:
    """Return the line of a row, None for one that moves no money."""
    if table == 'transact':
        return 'Account {}: {} of {} is {}.'.format(row['account'], row['transactType'].lower(), money(
            abs(row['amount']), row['currency']), row['transactStatus'].lower())
    words = WORDS.get(row['execType'])
    if words is None:
        return None
    words = words.format(verb='buys' if row.get('side') == 'Buy' else 'sells', price=number(row['lastPx']), **{
        name: row[name] for name in ('lastQty', 'symbol')})
    name = row.get('clOrdID') or row.get('orderID', '')[:8]
    return 'Account {} {}{}; fee {}.'.format(row['account'], words, ', order ' + name if name else '',
                                             money(row.get('execComm') or 0, row['settlCurrency']))


class Notes(logging.Handler):
    """Keeps the last log lines for the screen."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.lines = collections.deque(maxlen=NOTES)  # type: Deque[str]
        self.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(self.format(record).partition('\n')[0])


class Screen(object):
    """Draws the picture of ``server`` on a terminal until it is cancelled."""

    def __init__(self, server: Any, terminal: Any, notes: Notes) -> None:
        self._server = server
        self._terminal = terminal
        self._notes = notes

    async def run(self) -> None:
        """Draw twice a second; the terminal is as before at the end, however that comes."""
        self._terminal.write(ENTER)
        try:
            while True:
                size = shutil.get_terminal_size()
                lines = picture(self._server, list(self._notes.lines), size.columns, size.lines)
                self._terminal.write(HOME + ''.join(line + REST_OF_LINE + '\r\n' for line in lines[:-1])
                                     + lines[-1] + REST_OF_LINE + REST_OF_SCREEN)
                self._terminal.flush()
                await asyncio.sleep(EVERY)
        finally:
            self._terminal.write(LEAVE)
            self._terminal.flush()


def picture(server: Any, notes: List[str], width: int, height: int) -> List[str]:
    """Return the lines of the screen, none longer than ``width``, at most ``height``; book and trades give way first.
    """
    exchange = server.exchange
    first = next(iter(exchange.tapes.values()))
    above = [_title(server), '', _contract(first, exchange.now)]
    below = [''] + _accounts(exchange)
    if len(exchange.tapes) > 1:
        below = [''] + _others(list(exchange.tapes.values())[1:]) + below
    below += ['', _state(server)] + notes + ['Ctrl-C ends it.']
    room = max(0, min(LEVELS, height - len(above) - len(below) - 2))
    lines = above + ([''] + _book_and_trades(first, room) if room else []) + below
    return [line[:width] for line in lines[:height - 1] + lines[-1:]] if len(lines) > height else [
        line[:width] for line in lines]


def _title(server: Any) -> str:
    seed = ', seed {}'.format(server.seed) if server.kind in ('simulated', 'lively') else ''
    frozen = ', frozen' if server.market_held_by else ''
    return '{}   {}{}{}   {} UTC'.format(server.url, server.kind, seed, frozen,
                                         server.exchange.stamp()[:19].replace('T', ' '))


def _contract(tape: Any, now: float) -> str:
    row = tape.instrument.row
    words = '{}  {}  last {}  mark {}  index {}  24 h {:,}'.format(
        tape.symbol, row['state'].lower(), number(row['lastPrice']), number(row.get('markPrice')),
        number(row.get('indicativeSettlePrice')), row['volume24h'])
    if tape.instrument.expires is None:
        left = max(0, int(tape.instrument.funding_at - now))
        words += '  funding {:.4f} % in {}:{:02d}:{:02d}'.format(
            100 * (row.get('fundingRate') or 0), left // 3600, left // 60 % 60, left % 60)
    return words


def _others(tapes: List[Any]) -> List[str]:
    lines = []
    for tape in tapes:
        row = tape.instrument.row
        lines.append('{:<8} {:<8} bid {:>12} ask {:>12} mark {:>12} 24 h {:>14,}'.format(
            tape.symbol, row['state'].lower(), number(row.get('bidPrice')), number(row.get('askPrice')),
            number(row.get('markPrice')), row['volume24h']))
    return lines


def _book_and_trades(tape: Any, room: int) -> List[str]:
    """Return the best levels of both sides, a star where somebody's order rests, with the last trades beside them."""
    bids, asks = [[('*' if any(order.row is not None for order in level) else ' ', number(level.price),
                    '{:,}'.format(level.quantity)) for level in side.top(room)]
                  for side in (tape.book.bids, tape.book.asks)]
    trades = ['{} {:<4} {:>9,} at {}'.format(row['timestamp'][11:19], row['side'], row['size'], number(row['price']))
              for row in list(tape.trades)[-room:][::-1] if row['size']]
    lines = ['  {:>12} {:>12}   {:<12} {:<12}     {}'.format('bid size', 'bid', 'ask', 'ask size', 'trades')]
    for place in range(room):
        star, price, size = bids[place] if place < len(bids) else (' ', '', '')
        other, ask, asked = asks[place] if place < len(asks) else (' ', '', '')
        lines.append('{} {:>12} {:>12} | {:<12} {:<12} {}   {}'.format(
            star, size, price, ask, asked, other, trades[place] if place < len(trades) else '').rstrip())
    return lines


def _accounts(exchange: Any) -> List[str]:
    """Return a line for each account: money, result at the mark, positions, open orders."""
    lines = ['{:<8} {:<12} {:>24} {:>20} {:>7}  {}'.format('account', 'key', 'wallet', 'at the mark', 'orders',
                                                           'positions')]
    for account in list(exchange.accounts.values())[:ACCOUNTS]:
        held = ', '.join('{:+,} {}'.format(position.quantity, symbol)
                         for symbol, position in account.positions.items() if position.quantity)
        purses = [purse for purse in account.purses.values() if purse.wallet or purse.upnl] or [account.purse('XBt')]
        for place, purse in enumerate(purses):
            lines.append('{:<8} {:<12} {:>24} {:>20} {:>7}  {}'.format(
                *(((account.id, _short(account)) if not place else ('', ''))
                  + (money(purse.wallet, purse.currency), money(purse.upnl, purse.currency))
                  + ((len(account.orders), held) if not place else ('', '')))).rstrip())
    if len(exchange.accounts) > ACCOUNTS:
        lines.append('... and {} more accounts'.format(len(exchange.accounts) - ACCOUNTS))
    return lines


def _short(account: Any) -> str:
    key = account.keys[0].key if account.keys else ''
    return key if len(key) <= 4 else key[:4] + '...'


def _state(server: Any) -> str:
    faults = ', '.join('{} ({} hits)'.format(row['fault'], row['hits']) for row in server.faults.rows())
    return '{} WebSockets, {} connections{}'.format(len(server.hub.sessions), server.connections,
                                                    '; faults: ' + faults if faults else '')


def money(amount: int, currency: str) -> str:
    """Return minor units as an amount in the currency itself: 100000000 XBt are '1.00000000 XBT'."""
    scale = contracts.SETTLE_SCALES.get(currency, 1)
    digits = len(str(scale)) - 1
    return '{:,.{}f} {}'.format(amount / float(scale), digits, currency.upper())


def number(value: Optional[float]) -> str:
    """Return a price as a person writes it, '-' for none."""
    return '-' if value is None else '{:,}'.format(value)
