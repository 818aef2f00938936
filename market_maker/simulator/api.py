"""BitMEX's REST API without HTTP: a verb, a path and parameters in, a status and plain data out.

What comes in is as the client sent it: numbers may be text, anything may be missing or nonsense.  Whatever cannot be
carried out raises Refusal with BitMEX's status and text; nothing else is ever raised.  The same object serves the local
exchange and a backtest.  Pure: the moment is handed in with every request.
"""
from typing import Any, Callable, Dict, List, Optional, Tuple  # noqa: F401

from market_maker import contracts
from market_maker.simulator import authentication, queries, schema, statistics
from market_maker.simulator.account import Account
from market_maker.simulator.bins import SIZES
from market_maker.simulator.orders import NO_ID, given, whole
from market_maker.simulator.refusal import Refusal
from market_maker.simulator.timestamps import DAY, iso

BASE = '/api/v1'
MOST_PUBLIC_ROWS = 1000          # of trades, quotes and their bins in one answer
MOST_WALLET_ROWS = 10000
DEFAULT_DEPTH = 25
DEFAULT_INDEX = '.BXBT'
BALANCE_TYPES = ('Trade', 'Funding', 'Settlement', 'Liquidation', 'Bankruptcy', 'Insurance')

Params = Dict[str, Any]
Rows = List[Dict[str, Any]]

ASSETS = [
    {'asset': 'XBT', 'currency': 'XBt', 'majorCurrency': 'XBT', 'name': 'Bitcoin', 'currencyType': 'Crypto', 'scale': 8,
     'enabled': True, 'isMarginCurrency': True, 'minDepositAmount': 10000, 'minWithdrawalAmount': 1000,
     'maxWithdrawalAmount': 100000000000000, 'memoRequired': False,
     'networks': [{'asset': 'btc', 'depositEnabled': True, 'withdrawalEnabled': True, 'withdrawalFee': 1000,
                   'minFee': 5000, 'maxFee': 10000000}]},
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
CHANNELS = [{'id': number, 'name': name, 'isPrivate': False} for number, name in
            enumerate(('English', 'Chinese', 'Russian', 'Korean', 'Japanese'), 1)]  # type: Rows
INDEX_COLUMNS = schema.types_of('timestamp symbol indexSymbol reference lastPrice weight logged')
VOLUME_COLUMNS = schema.types_of('symbol currency ' + ' '.join(statistics.TURNOVERS))

TRANSFER = '/user/walletTransfer'  # the one route whose targetAccountId is somebody else
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
        if account is not None and path != TRANSFER and ('targetAccountId' in params or 'targetAccountIds' in params):
            self._check_target(params, account)
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

        def table(name: str, most: int = queries.MOST_ROWS) -> Callable[[Params, Any], Any]:
            return lambda params, account: self._search(name, account, params, most)

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
            ('GET', '/user/quoteFillRatio', READ, lambda params, account: account.activity.fill_ratio_row(
                account.id, exchange.now)),
            ('GET', '/user/quoteValueRatio', READ, lambda params, account: account.activity.value_ratio_row(
                account.id, exchange.now)),
            ('GET', '/user/tradingVolume', READ, lambda params, account: [account.activity.volume_row(exchange.now)]),
            ('GET', '/user/executionHistory', READ, self._execution_history),
            ('GET', '/user/affiliateStatus', READ, lambda params, account: statistics.affiliate_row(account)),
            ('GET', '/user/depositAddress', READ, self._deposit_address),
            ('GET', '/user/depositAddressInformation', READ, lambda params, account: {
                'address': self._deposit_address(params, account)}),
            ('POST', TRANSFER, WITHDRAW, self._transfer),
            ('POST', '/user/requestWithdrawal', WITHDRAW, self._request_withdrawal),
            ('DELETE', '/user/withdrawal', WITHDRAW, self._cancel_withdrawal),
            ('POST', '/user/logout', READ, lambda params, account: None),
            ('GET', '/userEvent', READ, self._events),
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
            ('GET', '/stats', PUBLIC, lambda params, account: statistics.stats(self._settled())),
            ('GET', '/stats/history', PUBLIC, lambda params, account: statistics.stats_history(exchange)),
            ('GET', '/stats/historyUSD', PUBLIC, lambda params, account: statistics.stats_in_dollars(self._settled())),
            ('GET', '/announcement', PUBLIC, lambda params, account: self._select(
                exchange.announcements, 'announcement', only(params, 'columns'))),
            ('GET', '/announcement/urgent', READ, nothing),
            ('GET', '/globalNotification', READ, nothing),
            ('GET', '/leaderboard', PUBLIC, lambda params, account: statistics.leaderboard(
                exchange, params['method'] if given(params.get('method')) else 'notional')),
            ('GET', '/leaderboard/name', READ, lambda params, account: {'name': statistics.name_of(account)}),
            ('GET', '/chat', PUBLIC, self._chat),
            ('GET', '/chat/channels', PUBLIC, lambda params, account: CHANNELS),
            ('GET', '/chat/connected', PUBLIC, lambda params, account: {'users': len(exchange.accounts), 'bots': 0}),
            ('GET', '/schema', PUBLIC, self._schema),
            ('GET', '/schema/websocketHelp', PUBLIC, lambda params, account: schema.WEBSOCKET_HELP),
            ('GET', '/wallet/assets', PUBLIC, lambda params, account: ASSETS),
            ('GET', '/wallet/networks', PUBLIC, lambda params, account: NETWORKS),
        ]

    @staticmethod
    def _check_target(params: Params, account: Account) -> None:
        """Refuse a request that is meant for an account other than the one whose key signed it."""
        for name in ('targetAccountId', 'targetAccountIds'):
            if given(params.get(name)):
                wanted = queries.json_value(params[name], '{} is invalid'.format(name)) if params[name] != '*' else '*'
                for one in wanted if isinstance(wanted, list) else [wanted]:
                    if one != '*' and whole(one, '{} is invalid'.format(name)) != account.id:
                        raise Refusal(403, 'Access Denied')

    def _settled(self) -> Any:
        """Return the exchange with all its rows up to date."""
        self.exchange.settle()
        return self.exchange

    def _search(self, table: str, account: Optional[Account], params: Params, most: int = queries.MOST_ROWS) -> Rows:
        """Answer a query of a table with the rows that are kept of it."""
        keys, types = schema.TABLES[table][:2]
        query = queries.Query(params, types, keys, self.exchange.instruments, most)
        return query.pick(self.exchange.stream(table, account, query.named, query.newest_first, query.only_open))

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
        self._require(params, 'timeout')
        return self.exchange.cancel_all_after(account, params['timeout'])  # type: ignore[no-any-return]

    def _trade_history(self, params: Params, account: Any) -> Rows:
        rows = [row for row in self.exchange.history('execution', account) if row['execType'] in BALANCE_TYPES]
        return self._select(rows, 'execution', params)

    @staticmethod
    def _require(params: Params, *names: str) -> None:
        """Refuse a request that lacks one of its parameters."""
        for name in names:
            if not given(params.get(name)):
                raise Refusal(400, "'{}' is a required arg.".format(name))

    def _execution_history(self, params: Params, account: Any) -> Rows:
        """Return what moved the balance on one contract during the session (day) that begins at ``timestamp``."""
        self._require(params, 'symbol', 'timestamp')
        begin = queries.moment(params['timestamp'], 'timestamp is invalid')
        first, end = iso(begin), iso(begin + DAY)
        named = queries.symbols_of(params['symbol'], self.exchange.instruments)
        return [row for row in self.exchange.history('execution', account)
                if row['execType'] in BALANCE_TYPES and named(row.get('symbol'))
                and first <= row['timestamp'] < end]

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
                rows.append({'transactID': NO_ID, 'account': account.id, 'currency': purse.currency,
                             'transactType': 'UnrealisedPNL', 'amount': purse.upnl, 'fee': 0,
                             'transactStatus': 'Pending',
                             'address': '', 'transactTime': stamp, 'timestamp': stamp, 'walletBalance': purse.wallet,
                             'marginBalance': purse.balance})
        types = dict(schema.TABLES['transact'][1], marginBalance='long')
        return queries.select(rows, only(params, 'count', 'start', 'reverse'), types, ['transactID'],
                              self.exchange.instruments, MOST_WALLET_ROWS, MOST_WALLET_ROWS, True)

    def _wallet_summary(self, params: Params, account: Any) -> Rows:
        """Return what each kind of transaction came to, of one currency or of ``all``, and where each purse stands."""
        currency = params.get('currency') if given(params.get('currency')) else 'XBt'
        tests = [queries.condition(name, params[name], {}) for name in ('startTime', 'endTime')
                 if given(params.get(name))]
        sums = {}  # type: Dict[Tuple[str, str, str], int]
        for row in self.exchange.history('transact', account):
            if currency in ('all', row['currency']) and row['transactStatus'] == 'Completed' and \
                    all(test(row) for test in tests):
                key = (row['currency'], row['transactType'], row['address'])
                sums[key] = sums.get(key, 0) + row['amount']
        rows = [self._summary(account, name, kind, symbol, amount)
                for (name, kind, symbol), amount in sorted(sums.items())]
        for purse in account.purses.values():
            if currency in ('all', purse.currency):
                rows.append(dict(self._summary(account, purse.currency, 'Total', '', purse.wallet),
                                 pendingDebit=purse.pending_debit, unrealisedPnl=purse.upnl,
                                 marginBalance=purse.balance, walletBalance=purse.wallet))
        return rows

    @staticmethod
    def _summary(account: Any, currency: str, kind: str, symbol: str, amount: int) -> Dict[str, Any]:
        return {'account': account.id, 'currency': currency, 'transactType': kind, 'symbol': symbol, 'amount': amount,
                'pendingDebit': 0, 'realisedPnl': amount if kind == 'RealisedPNL' else 0, 'walletBalance': amount,
                'unrealisedPnl': 0, 'marginBalance': amount}

    def _commission(self, params: Params, account: Any) -> Dict[str, Any]:
        return {tape.symbol: {'maxFee': tape.instrument.commission, 'makerFee': tape.instrument.maker_fee,
                              'takerFee': tape.instrument.taker_fee,
                              'settlementFee': tape.instrument.row['settlementFee']}
                for tape in self.exchange.tapes.values()}

    def _way(self, params: Params) -> Tuple[Dict[str, Any], Dict[str, Any]]:
        """Return the asset and the network that a request names for a deposit or a withdrawal."""
        self._require(params, 'currency', 'network')
        asset = next((one for one in ASSETS if one['currency'] == params['currency']), None)
        if asset is None:
            raise Refusal(400, 'Invalid currency')
        network = next((one for one in asset['networks'] if one['asset'] == params['network']), None)
        if network is None:
            raise Refusal(400, 'Invalid network')
        return asset, network

    def _deposit_address(self, params: Params, account: Any) -> str:
        asset, network = self._way(params)
        return 'local-{}-{}-{}'.format(network['asset'], asset['currency'], account.id)

    def _request_withdrawal(self, params: Params, account: Any) -> Dict[str, Any]:
        asset, network = self._way(params)
        self._require(params, 'amount')
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

    def _transfer(self, params: Params, account: Any) -> Dict[str, Any]:
        """Move money to another account of this exchange."""
        self._require(params, 'currency', 'amount', 'targetAccountId')
        if params['currency'] not in [asset['currency'] for asset in ASSETS]:
            raise Refusal(400, 'Invalid currency')
        if given(params.get('fromAccountId')) and whole(params['fromAccountId'], 'Invalid fromAccountId') != account.id:
            raise Refusal(403, 'Access Denied')
        target = self.exchange.accounts.get(whole(params['targetAccountId'], 'Invalid targetAccountId'))
        if target is None or target is account:
            raise Refusal(400, 'Invalid targetAccountId')
        amount = whole(params['amount'], 'Invalid amount')
        return dict(self._settled().banker.transfer(account.purse(params['currency']), target, amount))

    def _cancel_withdrawal(self, params: Params, account: Any) -> Dict[str, Any]:
        self._require(params, 'transactID')
        return dict(self.exchange.banker.cancel_withdrawal(account, params['transactID']))

    def _events(self, params: Params, account: Any) -> Dict[str, Any]:
        count = queries.DEFAULT_COUNT
        if given(params.get('count')):
            count = queries.whole_between(params['count'], 0, queries.MOST_ROWS, 'count is invalid')
        first = whole(params['startId'], 'startId is invalid') if given(params.get('startId')) else 0
        rows = [row for row in statistics.events(account) if row['id'] >= first]
        return {'userEvents': rows[:count]}

    def _api_keys(self, params: Params, account: Any) -> Rows:
        """Return the keys of the account, without their secrets."""
        rows = []  # type: Rows
        for key in account.keys:
            networks = (key.cidr or '0.0.0.0/0').split(',')
            row = {'id': key.key, 'name': 'local', 'nonce': 0, 'cidr': networks[0], 'permissions': key.permissions,
                   'enabled': key.enabled, 'userId': account.id, 'created': key.created}
            rows.append(row if len(networks) == 1 else dict(row, cidrs=networks))
        newest_first = given(params.get('reverse')) and queries.truth(params['reverse'], 'reverse is invalid')
        return rows[::-1] if newest_first else rows

    # -- the market --------------------------------------------------------------------------------

    def _instruments(self, wanted: Callable[[Any], bool]) -> Rows:
        self.exchange.settle()
        return [one.row for one in self.exchange.instruments.values() if wanted(one)]

    def _intervals(self, params: Params, account: Any) -> Dict[str, Any]:
        pairs = [('{}:{}'.format(one.row['rootSymbol'], one.timeframe), one.symbol)
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
        params = dict(params, symbol=params['symbol'] if given(params.get('symbol')) else DEFAULT_INDEX)
        return queries.select(rows, params, INDEX_COLUMNS, ['timestamp', 'symbol'], self.exchange.instruments)

    def _usd_volume(self, params: Params, account: Any) -> Rows:
        return queries.select(statistics.turnovers(self._settled()), only(params, 'symbol', 'columns'),
                              VOLUME_COLUMNS, ['symbol'], self.exchange.instruments)

    def _bucketed(self, table: str, params: Params) -> Rows:
        size = params.get('binSize') if given(params.get('binSize')) else '1m'
        if not isinstance(size, str) or size not in SIZES:
            raise Refusal(400, 'binSize is invalid')
        partial = given(params.get('partial')) and queries.truth(params['partial'], 'partial is invalid')
        if not partial:
            return self._search(table + size, None, params, MOST_PUBLIC_ROWS)
        rows = self.exchange.history(table + size)
        for tape in self.exchange.tapes.values():
            running = tape.bins.unfinished(size, self.exchange.now)
            rows.append(running if table == 'tradeBin' else dict(tape.quotes[-1], timestamp=running['timestamp']))
        return self._select(rows, table + size, params, MOST_PUBLIC_ROWS)

    def _book(self, params: Params, account: Any) -> Rows:
        self._require(params, 'symbol')
        named = queries.symbols_of(params['symbol'], self.exchange.instruments)
        depth = DEFAULT_DEPTH
        if given(params.get('depth')):
            depth = queries.whole_between(params['depth'], 0, 10 ** 6, 'depth is invalid')
        self.exchange.settle()
        for tape in self.exchange.tapes.values():
            if named(tape.symbol):
                return tape.book_rows(depth)  # type: ignore[no-any-return]
        raise Refusal(400, 'Unknown or expired symbol')

    def _chat(self, params: Params, account: Any) -> Rows:
        """Return what was said on a channel: nothing, for here nobody can speak."""
        channel = whole(params['channelID'], 'channelID is invalid') if given(params.get('channelID')) else 1
        if channel not in [one['id'] for one in CHANNELS]:
            raise Refusal(400, 'channelID is invalid')
        return self._select([], 'chat', only(params, 'count', 'start', 'reverse'))

    def _schema(self, params: Params, account: Any) -> Dict[str, Any]:
        name = params.get('model')
        if not given(name):
            return {one: schema.model(one) for one in schema.MODELS}
        if not isinstance(name, str) or name not in schema.MODELS:
            raise Refusal(404, 'Not Found')
        return schema.model(name)


def only(params: Params, *names: str) -> Params:
    """Return the parameters of these names; a route ignores all others."""
    return {name: params[name] for name in names if name in params}


def sorted_row(row: Dict[str, Any]) -> Dict[str, Any]:
    """Return a row with its keys in order, as BitMEX's answers to orders have them."""
    return {name: row[name] for name in sorted(row)}
