"""BitMEX's REST API without HTTP: a verb, a path and parameters in, a status and plain data out.

What comes in is as the client sent it: numbers may be text, anything may be missing or nonsense.  Whatever cannot be
carried out raises Refusal with BitMEX's status and text; nothing else is ever raised.  The same object serves the local
exchange and a backtest.  Pure: the moment is handed in with every request.
"""
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker import contracts
from market_maker.simulator import authentication, queries, schema
from market_maker.simulator.account import Account
from market_maker.simulator.bins import SIZES
from market_maker.simulator.orders import given, whole
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.timestamps import DAY, seconds_of

BASE = '/api/v1'
MOST_PUBLIC_ROWS = 1000          # of trades, quotes and their bins in one answer
MOST_WALLET_ROWS = 10000
DEFAULT_DEPTH = 25
BALANCE_TYPES = ('Trade', 'Funding', 'Settlement', 'Liquidation', 'Bankruptcy', 'Insurance')
PENDING_ID = '00000000-0000-0000-0000-000000000000'

Params = Dict[str, Any]
Rows = List[Dict[str, Any]]

ASSETS = [
    {'asset': 'XBT', 'currency': 'XBt', 'majorCurrency': 'XBT', 'name': 'Bitcoin', 'currencyType': 'Crypto', 'scale': 8,
     'enabled': True, 'isMarginCurrency': True, 'minDepositAmount': 10000, 'minWithdrawalAmount': 1000,
     'maxWithdrawalAmount': 100000000000000, 'memoRequired': False,
     'networks': [{'asset': 'btc', 'depositEnabled': True, 'withdrawalEnabled': True, 'withdrawalFee': 1000,
                   'minFee': 1000, 'maxFee': 10000000}]},
    {'asset': 'USDT', 'currency': 'USDt', 'majorCurrency': 'USDT', 'name': 'Tether', 'currencyType': 'Crypto',
     'scale': 6,
     'enabled': True, 'isMarginCurrency': True, 'minDepositAmount': 1000000, 'minWithdrawalAmount': 1000000,
     'maxWithdrawalAmount': 100000000000000, 'memoRequired': False,
     'networks': [{'asset': 'eth', 'depositEnabled': True, 'withdrawalEnabled': True, 'withdrawalFee': 3000000,
                   'minFee': 3000000, 'maxFee': 3000000}]},
]  # type: Rows
NETWORKS = [
    {'network': 'btc', 'name': 'Bitcoin', 'currency': 'XBt', 'networkSymbol': 'XBT', 'transactionExplorer': '',
     'tokenExplorer': '', 'depositConfirmations': 1, 'enabled': True},
    {'network': 'eth', 'name': 'Ethereum', 'currency': 'USDt', 'networkSymbol': 'ETH', 'transactionExplorer': '',
     'tokenExplorer': '', 'depositConfirmations': 12, 'enabled': True},
]  # type: Rows
CHANNELS = [{'id': 1, 'name': 'English'}, {'id': 2, 'name': 'Chinese'}, {'id': 3, 'name': 'Russian'},
            {'id': 4, 'name': 'Korean'}, {'id': 5, 'name': 'Japanese'}]  # type: Rows

PUBLIC, READ, ORDER, CANCEL, WITHDRAW = 'public', None, 'order', 'cancel', 'withdraw'


class Api(object):
    """The REST API of one exchange."""

    def __init__(self, exchange: Any):
        self.exchange = exchange
        self._routes = {}  # type: Dict[Tuple[str, str], Tuple[Any, Callable[[Params, Any], Any]]]
        for verb, path, permission, action in self._list():
            self._routes[verb, path] = (permission, action)

    # -- the door ----------------------------------------------------------------------------------

    def request(self, verb: str, path: str, query: Optional[Params], body: Optional[Params], account: Optional[Account],
                now: float) -> Tuple[int, Any]:
        """Carry out a request at ``now`` and return (status, payload).

        ``path`` has no /api/v1; parameters may stand in the query or in the body whatever the verb.  Raise Refusal:
        404 for a route that does not exist, 401 without an account where one is needed, 400 for parameters that make
        no sense.
        """
        route = self._routes.get((verb.upper(), path))
        if route is None:
            raise Refusal(404, 'Not Found')
        permission, action = route
        if permission != PUBLIC and account is None:
            raise Refusal(401, 'Authorization Required')
        params = dict(query or {})
        if isinstance(body, dict):
            params.update(body)
        self.exchange.advance(now)
        return 200, action(params, account)

    def authenticate(self, verb: str, raw_path: str, headers: Any, body_text: str, now: float,
                     address: Optional[str] = None) -> Optional[Account]:
        """Return the account whose key signed a request, None when it is not signed.

        ``raw_path`` is path and query exactly as sent, /api/v1 included; ``body_text`` the body as text, '' when there
        is none; ``now`` the server's own Unix time.  Raise Refusal with BitMEX's texts: 400 expired, 401 key or
        signature, 403 what the key may not do.
        """
        sent = authentication.credentials(headers)
        if sent is None:
            return None
        account, key = authentication.verify(self.exchange, sent, verb, raw_path, body_text or '', now, address)
        path = raw_path.partition('?')[0]
        if path.startswith(BASE):
            path = path[len(BASE):]
        route = self._routes.get((verb.upper(), path))
        if route is not None and route[0] != PUBLIC and not authentication.may(key, route[0]):
            raise Refusal(403, 'Access Denied')
        return account

    def authenticate_ws(self, key: Any, expires: Any, signature: Any, now: float,
                        address: Optional[str] = None) -> Account:
        """Return the account that a WebSocket login signs for (GET/realtime, without the query); Refusal as above."""
        if not given(key) or not given(expires) or not given(signature):
            raise Refusal(401, 'Authorization Required')
        return authentication.verify(self.exchange, (key, expires, signature), 'GET', authentication.REALTIME, '', now,
                                     address)[0]

    def _list(self) -> List[Tuple[str, str, Any, Callable[[Params, Any], Any]]]:
        exchange = self.exchange

        def acts(action: Callable[[Any, Params], Any]) -> Callable[[Params, Any], Any]:
            return lambda params, account: sorted_row(action(account, params))

        def table(name: str, keys: str = '', most: int = queries.MOST_ROWS) -> Callable[[Params, Any], Any]:
            return lambda params, account: self._select(exchange.history(name, account), name, params, most)

        def nothing(params: Params, account: Any) -> Any:
            return []

        return [
            ('GET', '/order', READ, table('order')),
            ('POST', '/order', ORDER, acts(exchange.place)),
            ('PUT', '/order', ORDER, acts(exchange.amend)),
            ('DELETE', '/order', CANCEL, lambda params, account: [
                sorted_row(row) for row in exchange.cancel(account, self._ids(params))]),
            ('DELETE', '/order/all', CANCEL, lambda params, account: [
                sorted_row(row) for row in exchange.cancel_all(account, params)]),
            ('POST', '/order/cancelAllAfter', CANCEL, self._cancel_all_after),
            ('POST', '/order/closePosition', ORDER, acts(exchange.close_position)),
            ('GET', '/execution', READ, table('execution')),
            ('GET', '/execution/tradeHistory', READ, self._trade_history),
            ('GET', '/position', READ, lambda params, account: self._select(
                exchange.rows('position', account), 'position', params)),
            ('POST', '/position/leverage', ORDER, acts(exchange.leverage)),
            ('POST', '/position/isolate', ORDER, acts(exchange.isolate)),
            ('POST', '/position/riskLimit', ORDER, acts(exchange.risk_limit)),
            ('POST', '/position/transferMargin', ORDER, acts(exchange.transfer_margin)),
            ('GET', '/user', READ, self._user),
            ('GET', '/user/margin', READ, lambda params, account: self._by_currency('margin', params, account)),
            ('GET', '/user/wallet', READ, lambda params, account: self._by_currency('wallet', params, account)),
            ('GET', '/user/walletHistory', READ, self._wallet_history),
            ('GET', '/user/walletSummary', READ, self._wallet_summary),
            ('GET', '/user/commission', READ, self._commission),
            ('GET', '/user/quoteFillRatio', READ, nothing),
            ('GET', '/user/quoteValueRatio', READ, nothing),
            ('GET', '/user/tradingVolume', READ, lambda params, account: [{'advUsd': 0}]),
            ('GET', '/user/executionHistory', READ, self._execution_history),
            ('GET', '/user/affiliateStatus', READ, lambda params, account: {}),
            ('GET', '/user/depositAddress', READ, self._deposit_address),
            ('POST', '/user/requestWithdrawal', WITHDRAW, self._request_withdrawal),
            ('DELETE', '/user/withdrawal', WITHDRAW, self._cancel_withdrawal),
            ('POST', '/user/logout', READ, lambda params, account: None),
            ('GET', '/userEvent', READ, lambda params, account: {'userEvents': []}),
            ('GET', '/apiKey', READ, self._api_keys),
            ('GET', '/instrument', PUBLIC, table('instrument')),
            ('GET', '/instrument/active', PUBLIC, lambda params,
             account: self._instruments(lambda one: not one.is_index)),
            ('GET', '/instrument/indices', PUBLIC, lambda params, account: self._instruments(lambda one: one.is_index)),
            ('GET', '/instrument/activeAndIndices', PUBLIC, lambda params,
             account: self._instruments(lambda one: True)),
            ('GET', '/instrument/activeIntervals', PUBLIC, self._intervals),
            ('GET', '/instrument/compositeIndex', PUBLIC, self._composite),
            ('GET', '/instrument/usdVolume', PUBLIC, self._usd_volume),
            ('GET', '/trade', PUBLIC, table('trade', most=MOST_PUBLIC_ROWS)),
            ('GET', '/trade/bucketed', PUBLIC, lambda params, account: self._bucketed('tradeBin', params)),
            ('GET', '/quote', PUBLIC, table('quote', most=MOST_PUBLIC_ROWS)),
            ('GET', '/quote/bucketed', PUBLIC, lambda params, account: self._bucketed('quoteBin', params)),
            ('GET', '/orderBook/L2', PUBLIC, self._book),
            ('GET', '/funding', PUBLIC, table('funding')),
            ('GET', '/settlement', PUBLIC, table('settlement')),
            ('GET', '/insurance', PUBLIC, table('insurance')),
            ('GET', '/liquidation', PUBLIC, table('liquidation')),
            ('GET', '/stats', PUBLIC, self._stats),
            ('GET', '/stats/history', PUBLIC, nothing),
            ('GET', '/stats/historyUSD', PUBLIC, nothing),
            ('GET', '/announcement', PUBLIC, nothing),
            ('GET', '/announcement/urgent', READ, nothing),
            ('GET', '/globalNotification', READ, nothing),
            ('GET', '/leaderboard', PUBLIC, nothing),
            ('GET', '/leaderboard/name', READ, lambda params, account: {'name': 'Account-{}'.format(account.id)}),
            ('GET', '/chat', PUBLIC, nothing),
            ('GET', '/chat/channels', PUBLIC, lambda params, account: CHANNELS),
            ('GET', '/chat/connected', PUBLIC, lambda params, account: {'users': len(exchange.accounts), 'bots': 0}),
            ('GET', '/chat/pinned', PUBLIC, lambda params, account: {}),
            ('GET', '/schema', PUBLIC, self._schema),
            ('GET', '/schema/websocketHelp', PUBLIC, lambda params, account: schema.WEBSOCKET_HELP),
            ('GET', '/wallet/assets', PUBLIC, lambda params, account: ASSETS),
            ('GET', '/wallet/networks', PUBLIC, lambda params, account: NETWORKS),
        ]

    def _select(self, rows: Rows, table: str, params: Params, most: int = queries.MOST_ROWS) -> Rows:
        keys, types = schema.TABLES[table][:2]
        return queries.select(rows, params, types, keys, self.exchange.instruments, most)

    # -- orders ------------------------------------------------------------------------------------

    @staticmethod
    def _ids(params: Params) -> Params:
        """Let the ids of a cancel be sent as a JSON array in text."""
        params = dict(params)
        for name in ('orderID', 'clOrdID'):
            value = params.get(name)
            if isinstance(value, str) and value.lstrip().startswith('['):
                params[name] = queries.json_value(value, 'Invalid {}'.format(name))
        return params

    def _cancel_all_after(self, params: Params, account: Any) -> Dict[str, Any]:
        if not given(params.get('timeout')):
            raise Refusal(400, "'timeout' is a required arg.")
        return self.exchange.cancel_all_after(account, params['timeout'])  # type: ignore[no-any-return]

    def _trade_history(self, params: Params, account: Any) -> Rows:
        rows = [row for row in self.exchange.history('execution', account) if row['execType'] in BALANCE_TYPES]
        return self._select(rows, 'execution', params)

    def _execution_history(self, params: Params, account: Any) -> Rows:
        """Return what moved the balance on one contract during the session (day) that begins at ``timestamp``."""
        for name in ('symbol', 'timestamp'):
            if not given(params.get(name)):
                raise Refusal(400, "'{}' is a required arg.".format(name))
        begin = queries.moment(params['timestamp'], 'timestamp is invalid')
        named = queries.symbols_of(params['symbol'], self.exchange.instruments)
        return [row for row in self.exchange.history('execution', account)
                if row['execType'] in BALANCE_TYPES and named(row.get('symbol'))
                and begin <= (seconds_of(row['timestamp']) or 0) < begin + DAY]

    # -- users -------------------------------------------------------------------------------------

    def _user(self, params: Params, account: Any) -> Dict[str, Any]:
        return {'id': account.id, 'username': 'account{}'.format(account.id), 'accountName': 'Main', 'isUser': True,
                'email': 'account{}@localhost'.format(account.id), 'created': account.opened,
                'lastUpdated': account.opened,
                'preferences': {}, 'TFAEnabled': '', 'country': 'SC', 'geoipCountry': 'SC', 'typ': 'Trader',
                'isRestricted': account.restricted, 'roles': []}

    def _by_currency(self, table: str, params: Params, account: Any) -> Any:
        """Return one row as an object, or with currency=all one row a currency."""
        rows = self.exchange.rows(table, account)
        currency = params.get('currency')
        if not given(currency):
            currency = 'XBt'
        if currency == 'all':
            return rows
        if not isinstance(currency, str) or currency.lower() not in [name.lower() for name in contracts.SETTLE_SCALES]:
            raise Refusal(400, 'Invalid currency')
        for row in rows:
            if row['currency'].lower() == currency.lower():
                return row
        name = next(name for name in contracts.SETTLE_SCALES if name.lower() == currency.lower())
        return self.exchange.empty_row(table, account, name)

    def _wallet_history(self, params: Params, account: Any) -> Rows:
        currency = params.get('currency') if given(params.get('currency')) else 'XBt'
        rows = [row for row in self.exchange.history('transact', account) if currency in ('all', row['currency'])]
        for purse in account.purses.values():
            if currency in ('all', purse.currency) and purse.upnl:
                stamp = self.exchange.stamp()
                rows.append({'transactID': PENDING_ID, 'account': account.id, 'currency': purse.currency,
                             'transactType': 'UnrealisedPNL', 'amount': purse.upnl, 'fee': 0,
                             'transactStatus': 'Pending',
                             'address': '', 'transactTime': stamp, 'timestamp': stamp, 'walletBalance': purse.wallet,
                             'marginBalance': purse.balance})
        params = {name: value for name, value in params.items() if name in ('count', 'start', 'reverse')}
        types = dict(schema.TABLES['transact'][1], marginBalance='long')
        return queries.select(rows, params, types, ['transactID'], self.exchange.instruments, MOST_WALLET_ROWS,
                              MOST_WALLET_ROWS, True)

    def _wallet_summary(self, params: Params, account: Any) -> Rows:
        currency = params.get('currency') if given(params.get('currency')) else 'XBt'
        sums = {}  # type: Dict[Tuple[str, str, str], List[int]]
        for row in self.exchange.history('transact', account):
            if currency in ('all', row['currency']) and row['transactStatus'] == 'Completed':
                entry = sums.setdefault((row['currency'], row['transactType'], row['address']), [0, 0])
                entry[0] += row['amount']
                entry[1] += row['fee']
        rows = [{'account': account.id, 'currency': name, 'transactType': kind, 'symbol': symbol, 'amount': amount,
                 'fee': fee}
                for (name, kind, symbol), (amount, fee) in sorted(sums.items())]  # type: Rows
        for purse in account.purses.values():
            if currency in ('all', purse.currency):
                rows.append({'account': account.id, 'currency': purse.currency, 'transactType': 'Total', 'symbol': '',
                             'amount': purse.wallet, 'fee': 0, 'walletBalance': purse.wallet,
                             'marginBalance': purse.balance})
        return rows

    def _commission(self, params: Params, account: Any) -> Dict[str, Any]:
        return {tape.symbol: {'maxFee': tape.instrument.commission, 'makerFee': tape.instrument.maker_fee,
                              'takerFee': tape.instrument.taker_fee,
                              'settlementFee': tape.instrument.row['settlementFee']}
                for tape in self.exchange.tapes.values()}

    def _deposit_address(self, params: Params, account: Any) -> str:
        for name in ('currency', 'network'):
            if not given(params.get(name)):
                raise Refusal(400, "'{}' is a required arg.".format(name))
        return 'local-{}-{}'.format(account.id, str(params['currency'])[:8])

    def _request_withdrawal(self, params: Params, account: Any) -> Dict[str, Any]:
        for name in ('currency', 'network', 'amount'):
            if not given(params.get(name)):
                raise Refusal(400, "'{}' is a required arg.".format(name))
        asset = next((one for one in ASSETS if one['currency'] == params['currency']), None)
        if asset is None:
            raise Refusal(400, 'Invalid currency')
        network = next((one for one in asset['networks'] if one['asset'] == params['network']), None)
        if network is None:
            raise Refusal(400, 'Invalid network')
        target = next((params[name] for name in ('address', 'addressId', 'targetUserId') if given(params.get(name))),
                      None)
        if target is None:
            raise Refusal(400, 'address, addressId or targetUserId must be sent.')
        amount = whole(params['amount'], 'Invalid amount')
        fee = whole(params['fee'], 'Invalid fee') if given(params.get('fee')) else network['withdrawalFee']
        if amount < asset['minWithdrawalAmount']:
            raise Refusal(400, 'Invalid amount')
        if not 0 <= fee <= network['maxFee']:
            raise Refusal(400, 'Invalid fee')
        more = {'network': network['asset']}
        for name in ('text', 'memo'):
            if isinstance(params.get(name), str) and params[name]:
                more[name] = params[name][:1000]
        self.exchange.settle()
        row = self.exchange.banker.request_withdrawal(account.purse(asset['currency']), amount, fee, str(target)[:200],
                                                      **more)
        return dict(row)

    def _cancel_withdrawal(self, params: Params, account: Any) -> Dict[str, Any]:
        if not given(params.get('transactID')):
            raise Refusal(400, "'transactID' is a required arg.")
        return dict(self.exchange.banker.cancel_withdrawal(account, params['transactID']))

    def _api_keys(self, params: Params, account: Any) -> Rows:
        """Return the keys of the account, without their secrets."""
        return [{'id': key.key, 'name': 'local', 'nonce': 0, 'cidr': key.cidr or '0.0.0.0/0',
                 'permissions': key.permissions,
                 'enabled': key.enabled, 'userId': account.id, 'created': key.created} for key in account.keys]

    # -- the market --------------------------------------------------------------------------------

    def _instruments(self, wanted: Callable[[Any], bool]) -> Rows:
        self.exchange.settle()
        return [one.row for one in self.exchange.instruments.values() if wanted(one)]

    def _intervals(self, params: Params, account: Any) -> Dict[str, Any]:
        pairs = [('{}:{}'.format(one.row['rootSymbol'], 'perpetual' if one.expires is None else 'weekly'), one.symbol)
                 for one in self.exchange.instruments.values() if not one.is_index and one.row['state'] == 'Open']
        return {'intervals': [pair[0] for pair in pairs], 'symbols': [pair[1] for pair in pairs]}

    def _composite(self, params: Params, account: Any) -> Rows:
        """Return the index's own prints; it has no constituents here."""
        prints = [(row['timestamp'], row['symbol'], row['price']) for row in self.exchange.index_prints]
        printed = {symbol for _, symbol, _ in prints}
        prints += [(one.row['timestamp'], one.symbol, one.row['lastPrice'])
                   for one in self.exchange.instruments.values()
                   if one.is_index and one.symbol not in printed]
        rows = [{'timestamp': stamp, 'symbol': symbol, 'indexSymbol': symbol, 'reference': 'BMI', 'lastPrice': price,
                 'logged': stamp} for stamp, symbol, price in prints]
        columns = ('timestamp', 'symbol', 'indexSymbol', 'reference', 'lastPrice', 'weight', 'logged')
        return queries.select(rows, params, columns, ['timestamp', 'symbol'], self.exchange.instruments)

    def _usd_volume(self, params: Params, account: Any) -> Rows:
        rows = []  # type: Rows
        for tape in self.exchange.tapes.values():
            turnover = int(tape.instrument.row['foreignNotional24h'])
            rows.append({'symbol': tape.symbol, 'currency': tape.instrument.row['quoteCurrency'],
                         'turnover24h': turnover, 'turnover30d': turnover})
        return queries.select(rows, {name: params[name] for name in ('symbol', 'columns') if name in params},
                              ('symbol', 'currency', 'turnover24h', 'turnover30d'), ['symbol'],
                              self.exchange.instruments)

    def _bucketed(self, table: str, params: Params) -> Rows:
        size = params.get('binSize') if given(params.get('binSize')) else '1m'
        if not isinstance(size, str) or size not in SIZES:
            raise Refusal(400, 'binSize is invalid')
        rows = self.exchange.history(table + size)  # type: Rows
        partial = given(params.get('partial')) and queries.truth(params['partial'], 'partial is invalid')
        if partial and table == 'tradeBin':
            now = self.exchange.now
            rows = rows + [tape.bins.unfinished(size, now) for tape in self.exchange.tapes.values()]
        return self._select(rows, table + size, params, MOST_PUBLIC_ROWS)

    def _book(self, params: Params, account: Any) -> Rows:
        if not given(params.get('symbol')):
            raise Refusal(400, "'symbol' is a required arg.")
        named = queries.symbols_of(params['symbol'], self.exchange.instruments)
        depth = DEFAULT_DEPTH
        if given(params.get('depth')):
            depth = queries.whole_between(params['depth'], 0, 10 ** 6, 'depth is invalid')
        self.exchange.settle()
        for tape in self.exchange.tapes.values():
            if named(tape.symbol):
                return tape.book_rows(depth)  # type: ignore[no-any-return]
        raise Refusal(400, 'Unknown or expired symbol')

    def _stats(self, params: Params, account: Any) -> Rows:
        self.exchange.settle()
        sums = {}  # type: Dict[Tuple[str, str], List[int]]
        for tape in self.exchange.tapes.values():
            row = tape.instrument.row
            values = [row['volume24h'], row['turnover24h'], row['openInterest'], row['openValue']]
            for key in ((row['rootSymbol'], row['settlCurrency']), ('Total', row['settlCurrency'])):
                before = sums.setdefault(key, [0, 0, 0, 0])
                sums[key] = [one + other for one, other in zip(before, values)]
        names = ('volume24h', 'turnover24h', 'openInterest', 'openValue')
        order = sorted(sums, key=lambda key: (key[0] == 'Total', key))
        return [dict(zip(names, sums[key]), rootSymbol=key[0], currency=key[1]) for key in order]

    def _schema(self, params: Params, account: Any) -> Dict[str, Any]:
        name = params.get('model')
        if not given(name):
            return {one: schema.model(one) for one in schema.MODELS}
        if not isinstance(name, str) or name not in schema.MODELS:
            raise Refusal(404, 'Not Found')
        return schema.model(name)


def sorted_row(row: Dict[str, Any]) -> Dict[str, Any]:
    """Return a row with its keys in order, as BitMEX's answers to orders have them."""
    return {name: row[name] for name in sorted(row)}
