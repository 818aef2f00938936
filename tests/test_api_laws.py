"""Whatever is sent, the API answers or refuses: it never breaks, and a refused request changes nothing."""
import json

import pytest

from engine_world import NOW, a_market, check_laws, money, order
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Refusal

hypothesis = pytest.importorskip('hypothesis', reason='the laws are checked with hypothesis')
st = hypothesis.strategies

NAMES = ('symbol side orderQty price displayQty stopPx clOrdID clOrdLinkID pegOffsetValue pegPriceType ordType '
         'timeInForce execInst contingencyType text orderID origClOrdID leavesQty timeout leverage enabled riskLimit '
         'amount filter columns count '
         'start reverse startTime endTime binSize partial depth currency network address fee transactID model '
         'timestamp simpleOrderQty').split()
words = st.sampled_from([
    'XBTUSD', 'xbtusd', '.BXBT', 'XBT', 'XBT:perpetual', 'Buy', 'Sell', 'Limit', 'Market', 'Stop', 'StopLimit',
    'Pegged',
    'MarketIfTouched', 'LimitIfTouched', 'GoodTillCancel', 'Day', 'ImmediateOrCancel', 'FillOrKill', 'ReduceOnly',
    'Close',
    'ParticipateDoNotInitiate', 'LastPrice,Close', 'IndexPrice', 'Fixed', 'TrailingStopPeg', 'PrimaryPeg', 'MarketPeg',
    'OneCancelsTheOther', 'OneTriggersTheOther', 'a', 'b', '1m', 'all', 'XBt', 'btc', 'true', 'false', '{"open": true}',
    '{"a": 1}', '{',
    '["a"]', '[1, 2]', '{"side": ["Buy", null]}', '{"price": "x"}', '{"timestamp.time": "05:01"}', '2026-05-03', '',
    ' ', '-5',
    '100', '50000', '1e3', '50000.1', '-100', 'nan', 'inf', '0', '99999999999999999999999', '\x00', 'é', '٣'])
numbers = st.one_of(st.sampled_from([0, 1, -1, 100, 200, -300, 49000, 50000, 50000.1, 51000, 10 ** 30, -10 ** 30, 1e308,
                                     5e-324]),
                    st.integers(-10 ** 6, 10 ** 6), st.floats())
values = st.recursive(st.one_of(words, numbers, st.booleans(), st.none(), st.text(max_size=5)),
                      lambda inner: st.one_of(st.lists(inner, max_size=3),
                                              st.dictionaries(st.sampled_from(NAMES), inner, max_size=2)),
                      max_leaves=4)
anything = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
sensible = st.fixed_dictionaries({'symbol': st.sampled_from(['XBTUSD', 'xbtusd', 'ETHUSD', None]), 'orderQty': numbers,
                                  'price': st.sampled_from([None, 49000, 50000, 50000.1, 51000, '50000']),
                                  'side': st.sampled_from(['Buy', 'Sell', None])})


def a_client():
    """Return (exchange, account, api) with some orders, and the list of routes."""
    exchange = a_market(bid=50000.0, ask=50000.1)
    account = exchange.open_account('key', 'secret')
    exchange.place(account, order('Buy', 300, clOrdID='m'))
    exchange.place(account, order('Buy', 100, 49000, clOrdID='a'))
    exchange.place(account, order('Sell', 100, ordType='Stop', stopPx=48000, clOrdID='b'))
    return exchange, account, Api(exchange)


ROUTES = sorted(a_client()[2]._routes)
PHASES = [hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate, hypothesis.Phase.shrink]
law = hypothesis.settings(max_examples=80, deadline=None, phases=PHASES,
                          suppress_health_check=[hypothesis.HealthCheck.too_slow])


@law
@hypothesis.given(st.lists(st.tuples(st.sampled_from(ROUTES), anything, st.one_of(anything, sensible)), min_size=1,
                           max_size=8))
def test_nothing_breaks_the_api(requests):
    """Any parameters on any route: a payload that is plain data, or a Refusal with a BitMEX body; money and sums stay
    true.
    """
    exchange, account, api = a_client()
    before = money(exchange)
    for (verb, path), query, body in requests:
        merged = dict(query)
        merged.update(body)
        try:
            status, payload = api.request(verb, path, query, body, account, NOW)
        except Refusal as refusal:
            assert refusal.status in (400, 404), (verb, path, refusal.message)
            payload = refusal.body()
            assert payload['error']['message'] and payload['error']['name'] in ('HTTPError', 'CodedHTTPError')
        else:
            assert status == 200
        json.dumps(payload)
    for change in exchange.drain():
        json.dumps(change.rows)
    check_laws(exchange)
    assert money(exchange) == before


@law
@hypothesis.given(st.sampled_from(['POST', 'PUT', 'DELETE']), anything)
def test_a_refused_request_changes_nothing(verb, body):
    """After a refusal no table has changed."""
    exchange, account, api = a_client()
    exchange.advance(NOW)
    exchange.drain()
    before = [json.dumps(exchange.rows(table, account), sort_keys=True)
              for table in ('order', 'position', 'margin', 'orderBookL2', 'wallet')]
    try:
        api.request(verb, '/order', {}, body, account, NOW)
    except Refusal:
        assert not exchange.drain()
        assert before == [json.dumps(exchange.rows(table, account), sort_keys=True)
                          for table in ('order', 'position', 'margin', 'orderBookL2', 'wallet')]
