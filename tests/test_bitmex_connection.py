"""Building a BitMEX, reading through it, and the calls that are no orders."""
import json
import logging
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

import http_server
from market_maker import bitmex, local
from market_maker.rest.transport import Transport
from market_maker.utils.clock import ManualClock
from market_maker.utils.errors import APIError, AuthenticationError, ConnectionLost, OutcomeUnknown, SettingsError

KEY, SECRET = 'LAqUlngMIQkIUjXMUreyu3qn', 'chNOOS4KvNXR_Xq4k4c9qsfoKWvnDecLATCRlcBwyKDYnWgO'


class Tables(object):
    """Live tables with one row of each kind; remembers how it was connected."""

    made = []
    failure = None

    def __init__(self, **options):
        self.options = options
        self.connected = None
        self.ended = 0
        Tables.made.append(self)

    def connect(self, *args, **options):
        self.connected = args, options
        if Tables.failure is not None:
            raise Tables.failure

    def exit(self):
        self.ended += 1

    def get_ticker(self, symbol):
        return {'last': 1.0, 'buy': 1.0, 'sell': 1.0, 'mid': 1.0, 'symbol': symbol}

    def get_instrument(self, symbol):
        return {'symbol': symbol, 'tickLog': 1}

    def position(self, symbol):
        row = {'symbol': symbol}
        if symbol == 'XBTUSD':
            row.update(currentQty=-100, homeNotional=-0.02)
        return row

    def funds(self):
        return {'marginBalance': 100}

    def recent_trades(self):
        return [{'price': 1}]

    def open_orders(self, prefix):
        return [{'clOrdID': prefix + '1'}]


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    Tables.made, Tables.failure = [], None
    monkeypatch.setattr(bitmex, 'BitMEXWebsocket', Tables)
    return Tables


@pytest.fixture
def server():
    with http_server.running() as running:
        yield running


@pytest.fixture
def bot(server):
    return bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url, KEY, SECRET),
                         clock=ManualClock(time.time()),
                         timeout=0.3)


def query(seen):
    return {name: values[0] for name, values in parse_qs(urlsplit(seen.path).query).items()}


def test_reads_come_from_the_tables(bot, server):
    """Ticker, instrument, position, funds, trades and open orders return from memory, for our symbol unless another
    is named."""
    assert bot.ticker_data()['symbol'] == 'XBTUSD' and bot.ticker_data('ETHUSD')['symbol'] == 'ETHUSD'
    assert bot.instrument()['symbol'] == 'XBTUSD' and bot.instrument(symbol='ETHUSD')['symbol'] == 'ETHUSD'
    assert bot.position('XBTUSD')['currentQty'] == -100 and bot.delta() == -0.02
    bot.symbol = 'ETHUSD'
    assert bot.delta() == 0
    assert bot.funds() == {'marginBalance': 100} and bot.recent_trades() == [{'price': 1}]
    assert bot.open_orders() == [{'clOrdID': 'mm_bitmex_1'}]
    assert server.seen == []


def test_market_depth_answers(bot, server):
    """The book comes over REST as rows, without arguments for our symbol."""
    book = [{'symbol': 'XBTUSD', 'id': 2, 'side': 'Sell', 'size': 342, 'price': 182.05},
            {'symbol': 'XBTUSD', 'id': 1, 'side': 'Buy', 'size': 160102, 'price': 182}]
    server.default = http_server.answer(book)
    assert bot.market_depth() == book and bot.market_depth('ETHUSD', depth=0) == book
    assert [query(seen) for seen in server.seen] == [{'symbol': 'XBTUSD', 'depth': '25'},
                                                     {'symbol': 'ETHUSD', 'depth': '0'}]
    assert server.seen[0].path.startswith('/api/v1/orderBook/L2?')


def test_all_instruments_come_page_by_page(bot, server):
    """More instruments than one answer holds are fetched to the end."""
    server.script = [http_server.answer([{'symbol': str(n)} for n in range(500)]),
                     http_server.answer([{'symbol': 'last'}])]
    assert len(bot.instruments(filter={'state': 'Open'})) == 501
    assert [query(seen) for seen in server.seen] == [{'filter': '{"state":"Open"}', 'count': '500', 'start': '0'},
                                                     {'filter': '{"state":"Open"}', 'count': '500', 'start': '500'}]


def test_open_orders_over_http_are_ours_only(bot, server):
    """Orders of others, and those without a name, are left out."""
    server.default = http_server.answer([{'clOrdID': 'mm_bitmex_1'}, {'clOrdID': 'somebody'}, {'orderID': '3'},
                                         {'clOrdID': ''}])
    assert bot.http_open_orders() == [{'clOrdID': 'mm_bitmex_1'}]
    assert json.loads(query(server.seen[0])['filter']) == {'ordStatus.isTerminated': False, 'symbol': 'XBTUSD'}
    assert query(server.seen[0])['count'] == '500'


def test_leverage_and_withdrawal(bot, server):
    """Leverage may be set again when in doubt; a withdrawal is never asked for twice."""
    server.script = [http_server.html(502, 'x'), http_server.answer({'symbol': 'XBTUSD', 'leverage': 3})]
    assert bot.isolate_margin('XBTUSD', 3)['leverage'] == 3
    assert [seen.data for seen in server.seen] == [{'symbol': 'XBTUSD', 'leverage': 3}] * 2
    server.script = [http_server.answer({'transactID': '1'}), http_server.reset]
    assert bot.withdraw(1000, None, 'address', otpToken='123456', network='btc') == {'transactID': '1'}
    assert server.seen[2].path == '/api/v1/user/requestWithdrawal'
    assert server.seen[2].data == {'amount': 1000, 'currency': 'XBt', 'address': 'address', 'otpToken': '123456',
                                   'network': 'btc'}
    with pytest.raises(OutcomeUnknown):
        bot.withdraw(1000, 500, 'address')
    assert len(server.seen) == 4


def test_calls_of_forks(bot, server):
    """Any path, with or without a slash, any verb, positionally: candles, trades of a symbol, an order by name, a
    body with DELETE."""
    server.default = http_server.answer([1])
    bot._curl_bitmex('trade/bucketed', {'binSize': '1m', 'symbol': 'XBTUSD', 'partial': False})
    bot._curl_bitmex('/order', {'filter': json.dumps({'clOrdID': 'a/b'})}, None, 3)
    bot._curl_bitmex(path='order/all', postdict={'symbol': 'XBTUSD'}, verb='DELETE', max_retries=1)
    bot._curl_bitmex('order/cancelAllAfter', None, {'timeout': 60000})
    assert [(seen.verb, seen.path) for seen in server.seen] == [
        ('GET', '/api/v1/trade/bucketed?binSize=1m&partial=false&symbol=XBTUSD'),
        ('GET', '/api/v1/order?filter=%7B%22clOrdID%22%3A+%22a%2Fb%22%7D'),
        ('DELETE', '/api/v1/order/all'), ('POST', '/api/v1/order/cancelAllAfter')]
    server.default = http_server.error(500, 'Server Error')
    with pytest.raises(APIError):
        bot._curl_bitmex('order', max_retries=2)
    assert len(server.seen) == 4 + 3


def test_refusal_can_be_had_as_a_plain_error(bot, server):
    """With rethrow_errors a refused key ends no process."""
    server.default = http_server.error(401, 'Invalid API Key.')
    for options, ends in (({}, True), ({'rethrow_errors': True}, False)):
        with pytest.raises(AuthenticationError) as caught:
            bot._curl_bitmex('position', **options)
        assert isinstance(caught.value, SystemExit) is ends


def test_log_lines_carry_this_modules_name(bot, server, caplog):
    """What is sent is told at DEBUG, trouble at WARNING, under bitmex; no secret is in either."""
    server.script = [http_server.html(502, '502 Bad Gateway')]
    with caplog.at_level(logging.DEBUG):
        bot.isolate_margin('XBTUSD', 3)
    ours = [record for record in caplog.records if record.name == 'root']
    assert {record.module for record in ours} == {'bitmex'}
    assert [(record.levelname, record.getMessage().partition(' {')[0]) for record in ours
            if record.levelno == logging.DEBUG] == [
        ('DEBUG', 'sending req POST /position/leverage')] * 2
    assert any(record.levelname == 'WARNING' and '502 Bad Gateway' in record.getMessage() for record in ours)
    assert not any(SECRET in record.getMessage() or KEY in record.getMessage() for record in caplog.records)


# Building one

def test_tables_are_connected_with_the_key(bot, server, tables):
    """They get the same key, the REST address, the symbol and the time that they may take."""
    made = tables.made[0]
    assert (made.options['api_key'], made.options['api_secret']) == (KEY, SECRET)
    assert made.connected == ((server.url, 'XBTUSD'), {'shouldAuth': True, 'timeout': 30})
    bot.exit()
    bot.exit()
    assert made.ended == 2 and bot.ws is made


def test_positional_arguments_are_those_of_old(server):
    """Address, symbol, key and secret come first, then prefix, authentication, post-only and time-out."""
    bot = bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, 'mine_', True, True, 3, transport=Transport(server.url),
                        ws=Tables())
    assert (bot.orderIDPrefix, bot.postOnly, bot.timeout, bot.symbol, bot.base_url) == ('mine_', True, 3, 'XBTUSD',
                                                                                        server.url)


def test_local_exchange_is_started_first(server, monkeypatch, tables):
    """On loopback the local exchange is made sure of, and its demo key is used where none is given."""
    asked = []

    def ensure(*args, **options):
        asked.append((args, options))
        return 'demo', 'demo-secret'
    monkeypatch.setattr(local, 'ensure', ensure)
    bot = bitmex.BitMEX(server.url, 'XBT7D', local_market='still', local_seed=7)
    bot.isolate_margin('XBT7D', 1)
    assert asked == [((server.url, '', ''), {'market': 'still', 'seed': 7, 'symbols': ('XBT7D',)})]
    assert tables.made[0].options['api_key'] == 'demo' and server.seen[0].headers['api-key'] == 'demo'


def test_key_that_the_local_exchange_refuses(server, monkeypatch):
    """The refusal is the same error as elsewhere."""
    def ensure(*args, **options):
        raise AuthenticationError('it has accounts of its own')
    monkeypatch.setattr(local, 'ensure', ensure)
    with pytest.raises(bitmex.KeyRefused):
        bitmex.BitMEX(server.url, 'XBTUSD')


def test_public_use_needs_no_key(server, tables):
    """Without authentication there is nothing to sign; with it, a missing key is told at once."""
    bot = bitmex.BitMEX(server.url, 'XBTUSD', shouldWSAuth=False, transport=Transport(server.url))
    bot.market_depth()
    assert 'api-key' not in server.seen[0].headers and tables.made[0].connected[1]['shouldAuth'] is False
    with pytest.raises(bitmex.KeyRefused) as caught:
        bitmex.BitMEX('https://www.bitmex.com/api/v1/', 'XBTUSD')
    assert 'API_KEY and API_SECRET are not set' in str(caught.value)


@pytest.mark.parametrize('failure, kind', [(AuthenticationError('Signature not valid.'), bitmex.KeyRefused),
                                           (ConnectionLost('no image of margin'), ConnectionLost)])
def test_tables_that_cannot_be_connected(server, tables, failure, kind):
    """The error passes through, a refusal as the one that scripts know, and nothing is left running."""
    tables.failure = failure
    with pytest.raises(kind) as caught:
        bitmex.BitMEX(server.url, 'XBTUSD', KEY, SECRET, transport=Transport(server.url))
    assert str(caught.value) == str(failure) and tables.made[0].ended == 1


@pytest.mark.parametrize('url',
                         ['https://testnet.bitmex.com/api/v1/', 'https://www.bitmex.com/api/v1/',
                          'https://bitmex.com/api/v1'])
def test_closed_exchange_is_told_with_the_way_out(tables, url):
    """Every settings file in the world names a host that is gone: one line says since when, and what to do."""
    tables.failure = ConnectionLost('cannot reach wss://testnet.bitmex.com (Name or service not known)')
    with pytest.raises(ConnectionLost) as caught:
        bitmex.BitMEX(url, 'XBTUSD', KEY, SECRET)
    text = str(caught.value)
    assert text.startswith(str(tables.failure)) and '\n' not in text
    for part in ('23 September 2026, 04:00 UTC', 'BASE_URL', '--local', '127.0.0.1'):
        assert part in text
    assert text.count('23 September') == 1 and caught.value.exit_code == 4


def test_closed_exchange_is_told_over_rest_too(monkeypatch):
    """The same line follows a REST call whose host has no address."""
    import socket

    def no_address(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
    monkeypatch.setattr(socket, 'getaddrinfo', no_address)
    bot = bitmex.BitMEX('https://testnet.bitmex.com/api/v1/', 'XBTUSD', KEY, SECRET, ws=Tables(), clock=ManualClock())
    with pytest.raises(ConnectionLost) as caught:
        bot.market_depth()
    assert str(caught.value).startswith('cannot reach https://testnet.bitmex.com (Name or service not known): '
                                        'BitMEX and its testnet closed')


def test_other_hosts_get_no_such_advice(tables):
    """Only the closed exchange's own hosts do."""
    for url in ('https://exchange.test/api/v1/', 'https://notbitmex.com/', 'https://bitmex.com.example/'):
        tables.failure = ConnectionLost('cannot reach it')
        with pytest.raises(ConnectionLost) as caught:
            bitmex.BitMEX(url, 'XBTUSD', KEY, SECRET)
        assert str(caught.value) == 'cannot reach it'


def test_bad_address_is_refused_at_the_door(tables):
    """Nothing is connected for an address that is none."""
    with pytest.raises(SettingsError):
        bitmex.BitMEX('testnet', 'XBTUSD', KEY, SECRET)
    assert tables.made == []


def test_calls_from_several_threads(bot, server):
    """No call waits for another's answer."""
    gate = threading.Event()

    def slow(exchange):
        gate.wait(5)
        http_server.answer([])(exchange)
    server.script = [slow]
    blocked = threading.Thread(target=lambda: bot._curl_bitmex('trade', timeout=5))
    blocked.start()
    http_server.wait_for(lambda: server.seen)
    assert bot._curl_bitmex('trade') == []
    gate.set()
    blocked.join(5)
    assert server.connections == 2
