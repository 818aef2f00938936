"""ccxt.pro's bitmex class: the asynchronous methods, and every stream of it followed while an account trades."""
import asyncio
import time

import ccxt.pro
from local_client import Client

BTC = 'BTC/USD:BTC'
STREAMS = ('ticker', 'book', 'trades', 'candles', 'balance', 'orders', 'my trades', 'positions', 'liquidations')


def pro_client(exchange, **options):
    """Return a client that knows nothing but addresses and key; its own throttle stays on."""
    return ccxt.pro.bitmex(dict({'apiKey': exchange.key, 'secret': exchange.secret, 'urls': {'api': {
        'public': exchange.base, 'private': exchange.base, 'ws': exchange.ws_url}}}, **options))


def test_the_asynchronous_methods(still):
    """The same requests as the synchronous class makes, over its other HTTP library."""
    async def use():
        client = pro_client(still)
        try:
            await client.load_markets()
            ticker, book, balance = await asyncio.gather(
                client.fetch_ticker(BTC), client.fetch_order_book(BTC), client.fetch_balance())
            made = await client.create_order(BTC, 'limit', 'buy', 100, 59000)
            edited = await client.edit_order(made['id'], BTC, 'limit', 'buy', 200, 59001)
            resting = await client.fetch_open_orders(BTC)
            canceled = await client.cancel_all_orders(BTC)
            filled = await client.create_order(BTC, 'market', 'sell', 100)
            trades = await client.fetch_my_trades(BTC)
            positions = await client.fetch_positions([BTC])
            leverage = await client.set_leverage(3, BTC)
            await client.close_position(BTC)
            await client.set_margin_mode('cross', BTC)
            candles = await client.fetch_ohlcv(BTC, '1m', limit=3)
        finally:
            await client.close()
        assert (ticker['bid'], book['asks'][0][0], balance['total']['BTC']) == (60000.0, 60000.5, 10.0)
        assert [order['price'] for order in resting] == [59001.0] == [edited['price']]
        assert [order['id'] for order in canceled] == [made['id']]
        assert filled['id'] in [trade['order'] for trade in trades]
        assert [(one['side'], one['contracts']) for one in positions] == [('short', 100.0)]
        assert leverage['leverage'] == 3 and candles
    asyncio.run(use())


class Follower:
    """Follows every stream until it is told to stop, and keeps what they said."""

    def __init__(self, client):
        self.client = client
        self.seen = dict.fromkeys(STREAMS, 0)
        self.trades = {}      # trade id -> trade
        self.mine = {}        # execution id -> my trade
        self.orders = {}      # order id -> its last state
        self.crossed = []     # books whose bid was not below the ask
        self.tasks = []

    def start(self):
        """Follow all streams, one task each."""
        client = self.client
        self._follow('ticker', lambda: client.watch_ticker(BTC))
        self._follow('book', lambda: client.watch_order_book(BTC), self._book)
        self._follow('trades', lambda: client.watch_trades(BTC), self._trades)
        self._follow('candles', lambda: client.watch_ohlcv(BTC, '1m'))
        self._follow('balance', client.watch_balance)
        self._follow('orders', client.watch_orders, self._orders)
        self._follow('my trades', client.watch_my_trades, self._mine)
        self._follow('positions', client.watch_positions)
        # Of liquidations there is an empty image and, without a liquidation, nothing else.
        self._follow('liquidations', lambda: client.watch_liquidations(BTC))

    async def stop(self):
        """End the tasks; a stream that failed raises here."""
        failed = [task for task in self.tasks if task.done()]
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for task in failed:
            task.result()

    def _follow(self, name, watch, keep=lambda answer: None):
        async def forever():
            while True:
                keep(await watch())
                self.seen[name] += 1
        self.tasks.append(asyncio.ensure_future(forever()))

    def _book(self, book):
        if not book['bids'][0][0] < book['asks'][0][0]:
            self.crossed.append((book['bids'][0], book['asks'][0]))

    def _trades(self, trades):
        self.trades.update((trade['id'], trade) for trade in trades)

    def _orders(self, orders):
        self.orders.update((order['id'], order) for order in orders)

    def _mine(self, trades):
        self.mine.update((trade['info']['execID'], trade) for trade in trades)


async def settled(condition, timeout=20):
    """Return whether the condition came true."""
    deadline = time.time() + timeout
    while not condition() and time.time() < deadline:
        await asyncio.sleep(0.05)
    return condition()


async def edit(client, order):
    """Make an order larger, unless it has been filled meanwhile."""
    try:
        await client.edit_order(order['id'], BTC, 'limit', order['side'], 200, order['price'])
    except ccxt.BadRequest as refused:
        assert 'Invalid ordStatus: Filled' in str(refused), refused


async def trade(client, seconds):
    """Quote at the touch and take now and then, for some seconds; leave nothing open."""
    end, turn = time.time() + seconds, 0
    while time.time() < end or turn < 4:
        ticker = await client.fetch_ticker(BTC)
        for side, price in (('buy', ticker['bid']), ('sell', ticker['ask'])):
            await client.create_order(BTC, 'limit', side, 100, price)
        if turn % 3 == 0:
            await client.create_order(BTC, 'market', 'buy' if turn % 2 else 'sell', 100)
        resting = await client.fetch_open_orders(BTC)
        if resting:
            await edit(client, resting[0])
        if turn % 2:
            await client.cancel_all_orders(BTC)
        turn += 1
    await client.cancel_all_orders(BTC)


def every_row(plain, path, key):
    """Return all rows of a table by a key, page after page."""
    rows, start = {}, 0
    while True:
        page = plain.get('{}&count=500&start={}'.format(path, start))
        rows.update((row[key], row) for row in page)
        if len(page) < 500:
            return rows
        start += 500


def test_every_stream_for_a_while_and_every_fill_seen(lively, seconds):
    """What the streams said in the end is what REST knows: fills, public trades, orders, position and balance."""
    plain = Client(lively)

    async def use():
        client = pro_client(lively)
        follower = Follower(client)
        try:
            await client.load_markets()
            follower.start()
            assert await settled(lambda: all(follower.seen[name] for name in (
                'ticker', 'book', 'trades', 'balance', 'positions'))), str(follower.seen)
            # Positions were asked for last, so all topics are subscribed to now; these answer when something happens.
            first = await client.create_order(BTC, 'market', 'buy', 100)
            assert await settled(lambda: all(follower.seen[name] for name in (
                'orders', 'my trades'))), str(follower.seen)
            await trade(client, seconds)

            filled = {exec_id: row for exec_id, row in every_row(
                plain, '/execution/tradeHistory?symbol=XBTUSD', 'execID').items() if row['execType'] == 'Trade'}
            assert await settled(lambda: set(follower.mine) == set(filled))
            assert first['id'] in [row['orderID'] for row in filled.values()] and len(filled) > 3
            for exec_id, row in filled.items():
                assert follower.mine[exec_id]['amount'] == row['lastQty']
                assert follower.mine[exec_id]['fee']['cost'] == row['execComm']
            orders = every_row(plain, '/order?symbol=XBTUSD', 'orderID')
            wanted = {name: row['ordStatus'] for name, row in orders.items()}
            assert await settled(lambda: wanted == {
                name: order['info'].get('ordStatus') for name, order in follower.orders.items()})
            assert {row['ordStatus'] for row in orders.values()} <= {'Filled', 'Canceled'}
            begun = min(row['timestamp'] for row in follower.trades.values())
            printed = every_row(plain, '/trade?symbol=XBTUSD&startTime=' + client.iso8601(begun + 1), 'trdMatchID')
            assert await settled(lambda: set(printed) <= set(follower.trades))
            if seconds >= 60:
                assert follower.seen['candles'], 'a minute went by without a candle'

            await client.create_order(BTC, 'limit', 'buy', 100, 50000, {'execInst': 'ParticipateDoNotInitiate'})
            position = [row for row in plain.get('/position') if row['symbol'] == 'XBTUSD'][0]
            assert await settled(lambda: [one['info'].get('currentQty') for one in client.positions[-1:]]
                                 == [position['currentQty']])
        finally:
            await follower.stop()
            await client.close()
        assert not follower.crossed, follower.crossed[:3]
        assert follower.seen['book'] > 10 * seconds and follower.seen['ticker'] >= seconds / 2, follower.seen
    asyncio.run(use())


def test_short_books_and_several_symbols(lively):
    """The books of 25 levels, tickers and trades of two symbols over one connection."""
    async def use():
        client = pro_client(lively)
        try:
            await client.load_markets()
            for _ in range(5):
                book = await asyncio.wait_for(client.watch_order_book_for_symbols([BTC, 'ETH/USD:BTC'], 25), 20)
                assert 0 < len(book['bids']) <= 25 and book['bids'][0][0] < book['asks'][0][0]
            symbols = set()
            while len(symbols) < 2:
                symbols.update(await asyncio.wait_for(client.watch_tickers([BTC, 'ETH/USD:BTC']), 20))
            assert await asyncio.wait_for(client.watch_trades_for_symbols([BTC, 'ETH/USD:BTC']), 20)
        finally:
            await client.close()
    asyncio.run(use())


def test_a_liquidation_is_watched(ours):
    """Whoever watches liquidations sees one come."""
    async def use():
        client = pro_client(ours)
        try:
            await client.load_markets()
            await client.set_leverage(100, BTC)
            await client.create_order(BTC, 'market', 'buy', 1000000)
            held, = await client.fetch_positions([BTC])
            watching = asyncio.ensure_future(client.watch_liquidations(BTC))
            assert await settled(lambda: client.liquidations is not None), 'no image of the liquidations'
            ours.control('PUT', 'instruments/XBTUSD', markPrice=held['liquidationPrice'] - 1)
            return await asyncio.wait_for(watching, 20)
        finally:
            await client.close()
    seen = asyncio.run(use())

    assert (seen['symbol'], seen['side']) == (BTC, 'sell')
    assert seen['price'] > 0 and seen['info']['leavesQty'] > 0
