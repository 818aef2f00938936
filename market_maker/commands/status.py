"""``marketmaker status``: what is so at this moment, for people or as JSON."""
from __future__ import absolute_import, print_function

import json
from typing import Any, Dict, List  # noqa: F401

from market_maker.commands import account
from market_maker.commands.account import Account, money, opened, price
from market_maker.contracts import settle_scale
from market_maker.settings import settings
from market_maker.utils.errors import EXIT_OK

HELP = 'Show market, position, balance, orders and loss limits of a symbol; changes nothing.'
EXAMPLES = """
marketmaker status                  of SYMBOL of settings.py
marketmaker status XBTUSD --json    for programs: one JSON object
"""
EXIT_CODES = """
0  told; the other codes are trouble on the way to it
"""

MARKET = ('state', 'bidPrice', 'askPrice', 'lastPrice', 'markPrice')
POSITION = ('currentQty', 'avgEntryPrice', 'liquidationPrice', 'leverage', 'unrealisedPnl', 'realisedPnl')
BALANCE = ('walletBalance', 'marginBalance', 'availableMargin', 'initMargin', 'maintMargin')
ORDER = ('side', 'price', 'stopPx', 'leavesQty', 'ordType', 'orderID', 'clOrdID')


def add_arguments(parser: Any) -> None:
    """Add the account's arguments and the form of the answer."""
    account.add_arguments(parser)
    parser.add_argument('--json', action='store_true', help='one JSON object on stdout, with the fields of the API')


def main(args: Any) -> int:
    """Print the status and return the exit code."""
    with opened() as mine:
        found = look(mine)
    if args.json:
        print(json.dumps(found, sort_keys=True, indent=1))
    else:
        print('\n'.join(words(found)))
    return EXIT_OK


def look(mine: Account) -> Dict[str, Any]:
    """Return everything that the command tells; amounts in minor units, with their scale."""
    instrument = mine.instrument()
    currency = instrument.get('settlCurrency') or 'XBt'
    position, margin, orders = mine.position(), mine.margin(currency), mine.open_orders()
    own = [order for order in orders if mine.is_own(order)]
    watch = mine.losses()
    pid = mine.running_bot()
    return {
        'exchange': mine.url, 'symbol': mine.symbol, 'prefix': mine.prefix,
        'bot': {'running': pid is not None if mine.state.path else None, 'pid': pid},
        'market': dict(_only(instrument, MARKET), tickSize=instrument.get('tickSize')),
        'position': dict(_only(position, POSITION), currentQty=position.get('currentQty') or 0),
        'balance': dict(_only(margin, BALANCE), currency=currency, scale=settle_scale(currency)),
        'orders': {'own': [_only(order, ORDER) for order in own], 'others': len(orders) - len(own)},
        'losses': dict(watch.state, halted=watch.halted, limits={
            name: settings[name] for name in ('LOSS_LIMIT', 'DRAWDOWN_LIMIT', 'DAILY_LOSS_LIMIT')}),
    }


def words(found: Dict[str, Any]) -> List[str]:
    """Return the status in lines for people."""
    market, position, balance = found['market'], found['position'], found['balance']
    currency = balance['currency']
    lines = [
        ('Exchange', found['exchange']),
        ('Bot', 'runs here, process {}'.format(found['bot']['pid']) if found['bot']['running'] else
         'whether one runs cannot be told, as the state folder cannot be used' if found['bot']['running'] is None else
         'none runs here for {} with the prefix {!r}'.format(found['symbol'], found['prefix'])),
        (found['symbol'], '{}; bid {}, ask {}, last {}, mark {}'.format(
            market['state'], *(price(market[name], market) for name in MARKET[1:]))),
        ('Position', '0 contracts')]
    if position['currentQty']:
        lines[-1] = ('Position', '{} contracts at {}, unrealised {}, liquidation at {}'.format(
            position['currentQty'], price(position['avgEntryPrice'], market),
            money(position['unrealisedPnl'], currency, '+'), price(position['liquidationPrice'], market)))
    lines.append(('Balance', '{}, with what is unrealised {}, available {}'.format(
        *(money(balance[name], currency) for name in BALANCE[:3]))))
    for side, name, best in (('Buy', 'Bids', max), ('Sell', 'Asks', min)):
        orders = [order for order in found['orders']['own'] if order['side'] == side]
        prices = [order['price'] for order in orders if order['price'] is not None]
        lines.append((name, '{} orders of the bot, {} contracts{}'.format(
            len(orders), sum(order['leavesQty'] or 0 for order in orders),
            ', the innermost at {}'.format(price(best(prices), market)) if prices else '')))
    lines.append(('Others', '{} open orders that are not the bot\'s'.format(found['orders']['others'])))
    return ['{:<10}{}'.format(*line) for line in lines + [('Losses', _losses(found['losses'], balance))]]


def _losses(losses, balance):
    # type: (Dict[str, Any], Dict[str, Any]) -> str
    if losses['halted']:
        return losses['halted']   # type: ignore[no-any-return]
    limits = losses['limits']
    parts = []
    for name, since in (('LOSS_LIMIT', 'start'), ('DRAWDOWN_LIMIT', 'peak'), ('DAILY_LOSS_LIMIT', 'day_start')):
        if limits[name] is not None and losses.get(since) is not None and balance['marginBalance'] is not None:
            lost = (losses[since] - balance['marginBalance']) / float(balance['scale'])
            parts.append('{:.8f} of {} {:g}'.format(max(0.0, lost), name, limits[name]))
    if parts:
        return ', '.join(parts)
    return 'no limit is set' if set(limits.values()) == {None} else 'nothing was watched yet'


def _only(row, names):
    # type: (Dict[str, Any], Any) -> Dict[str, Any]
    return {name: row.get(name) for name in names}
