"""The control interface of the local exchange: everything that no trader can do, for tests and for whoever runs it.

Below ``/local-exchange/control``, on the port of the exchange; there only when the exchange was started with it
(``--control``), answered on loopback only, and only to whoever sends the token that the exchange printed::

    curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8765/local-exchange/control

Bodies are JSON objects, answers JSON, errors in the shape of BitMEX's; what is asked for is done before the answer is
sent, and WebSockets are told like of anything else.
"""
import asyncio
import hmac
import random
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple  # noqa: F401
from urllib.parse import unquote

from aiohttp import web

from market_maker import local
from market_maker.server import accounts, rest
from market_maker.server.checks import LONGEST, REQUIRED, Options, checked, flag, number, one_of, text, whole  # noqa: F401
from market_maker.server.faults import CATALOGUE, PROFILES
from market_maker.simulator import laws
from market_maker.simulator.exchange import Refusal
from market_maker.simulator.instruments import FUNDING_INTERVAL
from market_maker.simulator.market import Still
from market_maker.utils.errors import SettingsError

PATH = '/local-exchange/control'
LONGEST_JUMP = 7 * 86400.0      # seconds that the clock may be advanced in one request
HIGHEST_PRICE = 1e9
TOKEN_BITS = 160

Route = NamedTuple('Route', [('verb', str), ('path', str), ('act', Callable[..., Any]), ('about', str)])
Route.__doc__ = """One thing that can be asked for; words of ``path`` in capitals are handed to ``act`` before the body.
"""


def new_token() -> str:
    """Return a token that nobody can guess."""
    return '{:040x}'.format(random.SystemRandom().getrandbits(TOKEN_BITS))


def any_value(value: Any) -> Any:
    """Let a value pass that is looked at elsewhere."""
    return value


def a_list(value: Any) -> Any:
    """Return a list."""
    if not isinstance(value, list):
        raise ValueError('a list')
    return value


PRICE = number(1e-9, HIGHEST_PRICE)
MONEY = {'currency': ('XBt', one_of('XBt', 'USDt')), 'amount': (REQUIRED, whole(1, 2 ** 53))}  # type: Options
ACCOUNT = {'restricted': (None, flag)}  # type: Options
KEY = {'enabled': (None, flag), 'permissions': (None, a_list), 'cidr': (None, any_value)}  # type: Options
INSTRUMENT = {
    'state': (None, one_of('Open', 'Closed', 'Settled')), 'tickSize': (None, PRICE),
    'lotSize': (None, whole(1, 10 ** 9)), 'makerFee': (None, number(-0.1, 0.1)), 'takerFee': (None, number(-0.1, 0.1)),
    'markPrice': (None, any_value), 'indexPrice': (None, PRICE), 'fundingRate': (None, number(-0.1, 0.1)),
    'fundingInterval': (None, number(1, FUNDING_INTERVAL)),
}  # type: Options
MARKET = {'frozen': (None, flag), 'symbol': (None, text), 'bid': (None, PRICE), 'ask': (None, PRICE)}  # type: Options
TRADE = {'symbol': (REQUIRED, text), 'side': (REQUIRED, one_of('Buy', 'Sell')),
         'quantity': (REQUIRED, whole(1, 10 ** 9)), 'price': (None, PRICE)}  # type: Options
CLOCK = {'advance': (None, number(0, LONGEST_JUMP)), 'skew': (None, number(-LONGEST, LONGEST))}  # type: Options
WITHDRAWAL = {'action': (REQUIRED, one_of('confirm', 'cancel'))}  # type: Options
FAULT = {'fault': (None, text), 'profile': (None, one_of(*PROFILES)), 'seed': (None, any_value),
         'options': (None, any_value)}  # type: Options


class Control(object):
    """Answers the control requests of one exchange (``server``); belongs to the event loop's thread."""

    def __init__(self, server: Any, token: str) -> None:
        self.token = token
        self._server = server
        self._routes = [
            Route('GET', '', self._help, 'what can be asked for, and how the exchange stands'),
            Route('GET', 'accounts', self._accounts, 'all accounts: keys, money, positions, number of open orders'),
            Route('POST', 'accounts', self._open_account, 'open one, described as in an account file'),
            Route('GET', 'accounts/ACCOUNT', self._account, 'one account, by its number or one of its keys'),
            Route('PUT', 'accounts/ACCOUNT', self._change_account, 'restricted: true keeps it from placing orders'),
            Route('POST', 'accounts/ACCOUNT/keys', self._add_key, 'one more: key, secret, permissions, cidr, enabled'),
            Route('PUT', 'keys/KEY', self._change_key, 'change permissions, cidr or enabled'),
            Route('DELETE', 'keys/KEY', self._remove_key, 'forget a key'),
            Route('POST', 'accounts/ACCOUNT/deposit', self._deposit, 'money from outside: currency, amount'),
            Route('GET', 'withdrawals', self._withdrawals, 'the withdrawals that wait'),
            Route('PUT', 'withdrawals/ID', self._end_withdrawal, 'action: confirm or cancel'),
            Route('GET', 'instruments/SYMBOL', self._instrument, 'the row of a contract or an index'),
            Route('PUT', 'instruments/SYMBOL', self._change_instrument, 'change: ' + ', '.join(sorted(INSTRUMENT))),
            Route('POST', 'trades', self._trade, 'let the market take: symbol, side, quantity, price (its limit)'),
            Route('PUT', 'market', self._change_market, 'frozen stops it; symbol, bid, ask move a still one'),
            Route('PUT', 'clock', self._change_clock, 'advance lets seconds pass; skew makes it wrong by seconds'),
            Route('GET', 'faults', self._list_faults, 'the faults that are on'),
            Route('POST', 'faults', self._fault_on, 'switch on: fault and options, or profile and seed'),
            Route('DELETE', 'faults', self._faults_off, 'switch all off'),
            Route('DELETE', 'faults/FAULT', self._fault_off, 'switch off all of that name'),
            Route('GET', 'laws', self._laws, 'what must hold: positions and money that sum to 0, no crossed book'),
        ]

    async def handle(self, request: web.BaseRequest, path: str) -> rest.Answer:
        """Answer one request; ``path`` begins with PATH."""
        try:
            self._admit(request)
            act, words = self._find(request.method, path[len(PATH):].strip('/'))
            said = await request.read() if request.body_exists else b''
            body = rest.body_of(said.decode('utf-8'), 'application/json')
            self._server.advance()
            try:
                answer = act(*words, body)
                if asyncio.iscoroutine(answer):
                    answer = await answer
            finally:
                self._server.hub.flush()
            return rest.answered(200, answer, {})
        except UnicodeDecodeError:
            return rest.refused(Refusal(400, 'The body is not UTF-8 text.'), {})
        except (SettingsError, ValueError) as error:
            return rest.refused(Refusal(400, str(error)), {})
        except Refusal as refusal:
            return rest.refused(refusal, {})

    def _admit(self, request: web.BaseRequest) -> None:
        if not local.is_loopback(request.remote or ''):
            raise Refusal(403, 'The exchange is controlled from its own machine only.')
        sent = request.headers.get('Authorization', '')
        kind, _, token = sent.partition(' ')
        if kind.lower() != 'bearer' or not hmac.compare_digest(token.strip().encode('utf-8', 'replace'),
                                                               self.token.encode('utf-8')):
            raise Refusal(401, 'Send the token that the exchange printed: "Authorization: Bearer TOKEN".')

    def _find(self, verb: str, path: str) -> Tuple[Callable[..., Any], List[str]]:
        parts = [unquote(part) for part in path.split('/')]
        verbs = []
        for route in self._routes:
            wanted = route.path.split('/')
            if len(wanted) == len(parts) and all(word in (part, word.upper()) and (word == part or word)
                                                 for word, part in zip(wanted, parts)):
                if route.verb == verb:
                    return route.act, [part for word, part in zip(wanted, parts) if word and word == word.upper()]
                verbs.append(route.verb)
        if verbs:
            raise Refusal(405, '{} does not go with {}; take {}.'.format(verb, path or PATH, ' or '.join(verbs)))
        raise Refusal(404, 'There is no {}; GET {} lists what there is.'.format(path, PATH))

    def _help(self, body: Dict[str, Any]) -> Any:
        checked('a look at the control interface', {}, body)
        return dict(self._server.introduction(), requests=[
            {'verb': route.verb, 'path': '/'.join([PATH] + [route.path] * bool(route.path)), 'about': route.about}
            for route in self._routes], faults=list(CATALOGUE), profiles=list(PROFILES))

    # Accounts

    def _account_named(self, name: str) -> Any:
        exchange = self._server.exchange
        account = exchange.accounts.get(int(name)) if name.isdigit() else None
        account = account or exchange.account_of(name)
        if account is None:
            raise Refusal(404, 'No account has the number or the key {}.'.format(name))
        return account

    def _accounts(self, body: Dict[str, Any]) -> Any:
        self._server.exchange.settle()
        return [account_row(account) for account in self._server.exchange.accounts.values()]

    def _account(self, name: str, body: Dict[str, Any]) -> Any:
        self._server.exchange.settle()
        return account_row(self._account_named(name))

    def _open_account(self, body: Dict[str, Any]) -> Any:
        body.setdefault('key', 'key-{}'.format(new_token()[:16]))
        secret = body.setdefault('secret', new_token())
        account = accounts.open_account(self._server.exchange, body)
        self._server.exchange.settle()
        return dict(account_row(account), key=body['key'], secret=secret)

    def _change_account(self, name: str, body: Dict[str, Any]) -> Any:
        account = self._account_named(name)
        wanted = checked('an account', ACCOUNT, body, 'field')
        if wanted['restricted'] is not None:
            account.restricted = wanted['restricted']
            self._server.exchange.journal.accounts[account.id] = account
        return account_row(account)

    def _add_key(self, name: str, body: Dict[str, Any]) -> Any:
        account = self._account_named(name)
        body.setdefault('key', 'key-{}'.format(new_token()[:16]))
        secret = body.setdefault('secret', new_token())
        key = accounts.add_key(self._server.exchange, account, accounts.check_key(body))
        return dict(key_row(key), secret=secret)

    def _key_named(self, name: str) -> Tuple[Any, Any]:
        account = self._server.exchange.account_of(name)
        if account is None:
            raise Refusal(404, 'No account has the key {}.'.format(name))
        return account, account.key(name)

    def _change_key(self, name: str, body: Dict[str, Any]) -> Any:
        account, key = self._key_named(name)
        wanted = checked('a key', KEY, body, 'field')
        permissions = accounts.permissions_of(name, wanted['permissions'])
        networks = accounts.networks_of(name, wanted['cidr'])
        if permissions is not None:
            key.permissions = permissions
        if 'cidr' in body:
            key.cidr = networks
        if wanted['enabled'] is not None:
            key.enabled = wanted['enabled']
        self._server.exchange.journal.accounts[account.id] = account
        return key_row(key)

    def _remove_key(self, name: str, body: Dict[str, Any]) -> Any:
        account, key = self._key_named(name)
        self._server.exchange.remove_key(account, key)
        return account_row(account)

    def _deposit(self, name: str, body: Dict[str, Any]) -> Any:
        account = self._account_named(name)
        wanted = checked('a deposit', MONEY, body, 'field')
        self._server.exchange.banker.deposit(account.purse(wanted['currency']), wanted['amount'])
        self._server.exchange.settle()
        return account_row(account)

    def _withdrawals(self, body: Dict[str, Any]) -> Any:
        return [dict(row) for account in self._server.exchange.accounts.values() for row in account.transactions
                if (row['transactType'], row['transactStatus']) == ('Withdrawal', 'Pending')]

    def _end_withdrawal(self, name: str, body: Dict[str, Any]) -> Any:
        wanted = checked('a withdrawal', WITHDRAWAL, body, 'field')
        exchange = self._server.exchange
        for row in self._withdrawals({}):
            if row['transactID'] == name:
                exchange.settle()
                account = exchange.accounts[row['account']]
                act = exchange.banker.confirm_withdrawal if wanted['action'] == 'confirm' \
                    else exchange.banker.cancel_withdrawal
                return dict(act(account, name))
        raise Refusal(404, 'No withdrawal with the transactID {} waits.'.format(name))

    # The market

    def _instrument_named(self, symbol: str, trades: bool = True) -> Any:
        instrument = self._server.exchange.instrument_of(symbol)
        if instrument is None or trades and instrument.is_index:
            known = [name for name, one in self._server.exchange.instruments.items() if not (trades and one.is_index)]
            raise Refusal(404, '{} does not trade here; there are {}.'.format(symbol, ', '.join(known)))
        return instrument

    def _instrument(self, symbol: str, body: Dict[str, Any]) -> Any:
        self._server.exchange.settle()
        return dict(self._instrument_named(symbol, False).row)

    def _change_instrument(self, symbol: str, body: Dict[str, Any]) -> Any:
        exchange = self._server.exchange
        index = self._instrument_named(symbol, False).is_index
        wanted = checked('an instrument', INSTRUMENT, body, 'field')
        if 'markPrice' in body and body['markPrice'] is not None:
            wanted['markPrice'] = checked('an instrument', {'markPrice': (None, PRICE)},
                                          {'markPrice': body['markPrice']}, 'field')['markPrice']
        if index and [name for name in body if name != 'indexPrice']:
            raise Refusal(400, '{} is an index: it has an indexPrice and nothing else to change.'.format(symbol))
        instrument = self._instrument_named(symbol, False)
        symbol = instrument.symbol
        if wanted['tickSize'] is not None:
            exchange.set_tick(symbol, wanted['tickSize'])
        if wanted['lotSize'] is not None:
            exchange.set_lot(symbol, wanted['lotSize'])
        if wanted['makerFee'] is not None or wanted['takerFee'] is not None:
            exchange.set_fees(symbol, wanted['makerFee'], wanted['takerFee'])
        if wanted['indexPrice'] is not None:
            exchange.set_index(symbol, wanted['indexPrice'], at_once=True)
        if 'markPrice' in body:
            exchange.set_mark(symbol, wanted['markPrice'])
        if (wanted['fundingRate'], wanted['fundingInterval']) != (None, None):
            if instrument.expires is not None:
                raise Refusal(400, '{} expires: it knows no funding.'.format(symbol))
            exchange.set_funding(symbol, wanted['fundingRate'], wanted['fundingInterval'])
        if wanted['state'] is not None:
            exchange.set_state(symbol, wanted['state'])
        exchange.settle()
        return dict(instrument.row)

    def _trade(self, body: Dict[str, Any]) -> Any:
        wanted = checked('a trade', TRADE, body, 'field')
        instrument = self._instrument_named(wanted['symbol'])
        limit = None
        if wanted['price'] is not None:
            limit = instrument.ticks_of(wanted['price'])
            if limit is None:
                raise Refusal(400, 'A price of {} is no multiple of {}, the tick of {}.'.format(
                    wanted['price'], instrument.tick, instrument.symbol))
        filled = self._server.exchange.take(instrument.symbol, wanted['side'], wanted['quantity'], limit)
        return {'symbol': instrument.symbol, 'side': wanted['side'], 'quantity': wanted['quantity'], 'filled': filled}

    def _change_market(self, body: Dict[str, Any]) -> Any:
        wanted = checked('the market', MARKET, body, 'field')
        server = self._server
        if (wanted['bid'], wanted['ask']) != (None, None):
            if not isinstance(server.market, Still):
                raise Refusal(400, 'A {} market moves by itself; bid and ask are those of --market still.'.format(
                    server.kind))
            if wanted['bid'] is None or wanted['ask'] is None:
                raise Refusal(400, 'Give both bid and ask.')
            symbol = self._instrument_named(wanted['symbol'] or next(iter(server.exchange.tapes))).symbol
            server.market.move(symbol, wanted['bid'], wanted['ask'])
        if wanted['frozen'] is not None:
            server.hold_market('control', wanted['frozen'])
        return {'market': server.kind, 'frozen': bool(server.market_held_by)}

    async def _change_clock(self, body: Dict[str, Any]) -> Any:
        wanted = checked('the clock', CLOCK, body, 'field')
        server = self._server
        if wanted['skew'] is not None:
            server.set_skew(wanted['skew'])
        if wanted['advance'] is not None:
            await server.pass_time(wanted['advance'])
        return {'timestamp': server.exchange.stamp(), 'skew': server.pace.skew}

    # Trouble

    def _list_faults(self, body: Dict[str, Any]) -> Any:
        return self._server.faults.rows()

    def _fault_on(self, body: Dict[str, Any]) -> Any:
        wanted = checked('a fault', FAULT, body, 'field')
        options = wanted['options'] or {}
        if not isinstance(options, dict) or (wanted['fault'] is None) == (wanted['profile'] is None):
            raise Refusal(400, 'Give {"fault": NAME, "options": {...}} or {"profile": NAME}.')
        if wanted['profile'] is not None:
            self._server.faults.play(wanted['profile'], wanted['seed'])
        else:
            self._server.faults.on(wanted['fault'], **options)
        return self._server.faults.rows()

    def _faults_off(self, body: Dict[str, Any]) -> Any:
        return {'off': self._server.faults.clear()}

    def _fault_off(self, name: str, body: Dict[str, Any]) -> Any:
        if name not in CATALOGUE:
            raise Refusal(404, 'No fault is called {}; GET {} lists them.'.format(name, PATH))
        return {'off': self._server.faults.off(name)}

    def _laws(self, body: Dict[str, Any]) -> Any:
        exchange = self._server.exchange
        exchange.settle()
        positions, money, crossed = laws.positions(exchange), laws.money(exchange), laws.crossed(exchange)
        return {'hold': not (any(positions.values()) or any(money.values()) or crossed),
                'positions': positions, 'money': money, 'crossed': crossed}


def key_row(key: Any) -> Dict[str, Any]:
    """Return a key without its secret, as plain data."""
    return {'key': key.key, 'permissions': list(key.permissions), 'cidr': key.cidr, 'enabled': key.enabled,
            'created': key.created}


def account_row(account: Any) -> Dict[str, Any]:
    """Return what there is to know of an account, as plain data; secrets excepted."""
    return {
        'account': account.id, 'opened': account.opened, 'restricted': account.restricted,
        'keys': [key_row(key) for key in account.keys],
        'money': {purse.currency: {'walletBalance': purse.wallet, 'marginBalance': purse.balance,
                                   'availableMargin': purse.available, 'deposited': purse.deposited,
                                   'withdrawn': purse.withdrawn, 'pendingDebit': purse.pending_debit}
                  for purse in account.purses.values()},
        'positions': {symbol: position.quantity for symbol, position in account.positions.items() if position.quantity},
        'openOrders': len(account.orders),
    }
