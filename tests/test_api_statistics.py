"""What is told about the exchange and its people: turnovers, quote ratios, leaderboard, events, transfers."""
import pytest

from engine_world import NOW, a_market, check_laws, money, order
from market_maker.simulator.activity import HOURS_KEPT, Activity
from market_maker.simulator.api import Api
from market_maker.simulator.exchange import Refusal
from market_maker.simulator.timestamps import DAY, HOUR, iso

DAWN = NOW // DAY * DAY


class World(object):
    """An exchange with two customers, one of whom trades."""

    def __init__(self):
        self.exchange = a_market(bid=50000.0, ask=50000.1, size=10000000)
        self.one = self.exchange.open_account('key', 'secret')
        self.other = self.exchange.open_account('key2', 'secret2')
        self.api = Api(self.exchange)

    def get(self, path, account=None, **query):
        """Return the payload of a GET."""
        return self.api.request('GET', path, query, {}, account or self.one, self.exchange.now)[1]

    def post(self, path, body, account=None):
        """Return the payload of a POST, or the status and text of its refusal."""
        try:
            return self.api.request('POST', path, {}, body, account or self.one, self.exchange.now)[1]
        except Refusal as refusal:
            return refusal.status, refusal.message


@pytest.fixture
def world():
    return World()


def test_turnovers_of_days(world):
    """/stats/history has a row for each day and series, the running day too, and totals; USD rows add the days up."""
    world.exchange.place(world.one, order('Buy', 1000))
    world.exchange.advance(DAWN + DAY + 60)
    world.exchange.place(world.one, order('Sell', 400))

    history = world.get('/stats/history')
    assert [(row['date'], row['rootSymbol'], row['volume']) for row in history] == [
        (iso(DAWN), 'XBT', 1000), (iso(DAWN), 'Total', 1000),
        (iso(DAWN + DAY), 'XBT', 400), (iso(DAWN + DAY), 'Total', 400)]
    assert history[0]['currency'] == 'XBt' and history[0]['turnover'] == 10 * 200000
    turnovers = {'turnover24h': 1400, 'turnover30d': 1400, 'turnover365d': 1400, 'turnover': 1400}
    assert world.get('/stats/historyUSD') == [dict(turnovers, rootSymbol='XBT', currency='USD'),
                                              dict(turnovers, rootSymbol='Total', currency='USD')]
    assert world.get('/instrument/usdVolume') == [dict(turnovers, symbol='XBTUSD', currency='USD')]
    world.exchange.advance(DAWN + 2 * DAY + 120)
    assert world.get('/instrument/usdVolume')[0]['turnover24h'] == 0
    assert world.get('/instrument/usdVolume')[0]['turnover30d'] == 1400


def test_trading_volume_and_quote_ratios(world):
    """Orders and amends are quotes, fills deal; the ratios are of this hour and of seven days, the volume of thirty."""
    for price in (49000, 49001, 49002):
        row = world.exchange.place(world.one, order('Buy', 100, price))
    world.exchange.amend(world.one, {'orderID': row['orderID'], 'price': 49003})
    world.exchange.place(world.one, order('Buy', 30000))

    assert world.get('/user/tradingVolume') == [{'advUsd': 1000.0, 'advUsdSpot': 0, 'advUsdContract': 1000.0}]
    assert world.get('/user/quoteFillRatio') == {
        'date': iso(DAWN), 'account': world.one.id, 'quoteCount': 5, 'dealtCount': 1, 'quotesMavg7': 0.7143,
        'dealtMavg7': 0.1429, 'quoteFillRatioMavg7': 0.2}
    value = world.get('/user/quoteValueRatio')
    assert (value['timestamp'], value['symbol'], value['quoteCount']) == (iso(NOW // HOUR * HOUR), 'XBTUSD', 5)
    assert value['volumeXBT'] == pytest.approx(0.6, rel=1e-4) and value['QVR'] == pytest.approx(5 / 0.6, rel=1e-4)
    world.exchange.advance(NOW + 2 * HOUR)
    assert 'QVR' not in world.get('/user/quoteValueRatio')
    activity = world.one.activity
    assert activity.volume_row(NOW + 29 * DAY)['advUsd'] == 1000 and activity.volume_row(NOW + 31 * DAY)['advUsd'] == 0
    assert activity.fill_ratio_row(1, NOW + 6 * DAY)['quoteFillRatioMavg7'] == 0.2
    assert activity.fill_ratio_row(1, NOW + 7 * DAY)['quoteFillRatioMavg7'] == 0


def test_activity_keeps_a_month(world):
    """However long an account trades, a month of hours is what is remembered."""
    activity = Activity()
    for hour in range(3 * HOURS_KEPT):
        activity.note_quote(hour * HOUR, 'XBTUSD')

    assert len(activity._hours) == HOURS_KEPT


def test_a_refused_order_is_no_quote(world):
    """Only what was accepted counts."""
    assert world.post('/order', order('Buy', 100, 0.05))[0] == 400
    assert world.get('/user/quoteFillRatio')['quoteCount'] == 0


def test_the_leaderboard(world):
    """The best come first, by what they won or by its part of what they paid in."""
    world.exchange.place(world.one, order('Buy', 100000))
    world.exchange.set_mark('XBTUSD', 60000)

    rows = world.get('/leaderboard')
    assert [row['name'] for row in rows] == ['account{}'.format(world.one.id), 'account{}'.format(world.other.id)]
    assert rows[0]['profit'] == world.get('/user/margin')['marginBalance'] - 1000000000 > 0
    assert world.get('/leaderboard', method='ROE')[0]['profit'] == round(rows[0]['profit'] / 1e9, 4)
    assert world.get('/leaderboard/name') == {'name': rows[0]['name']}
    with pytest.raises(Refusal):
        world.get('/leaderboard', method='luck')


def test_a_transfer_moves_money_between_accounts(world):
    """Both sides see it in their wallet and its history; money is conserved; nothing is sent that is not there."""
    before = money(world.exchange)
    world.exchange.drain()
    row = world.post('/user/walletTransfer', {'currency': 'XBt', 'amount': '250', 'targetAccountId': world.other.id,
                                              'fromAccountId': world.one.id})

    assert (row['transactType'], row['amount'], row['address'], row['transactStatus']) == (
        'Transfer', -250, str(world.other.id), 'Completed')
    assert world.get('/user/walletHistory')[0]['walletBalance'] == 1000000000 - 250
    assert world.get('/user/walletHistory', world.other)[0]['amount'] == 250
    assert [world.get('/user/wallet', account)[name] for account, name in (
        (world.one, 'transferOut'), (world.other, 'transferIn'))] == [250, 250]
    assert [row['profit'] for row in world.get('/leaderboard')] == [0, 0]
    assert sorted(change.account_id for change in world.exchange.drain() if change.table == 'transact') == [
        world.one.id, world.other.id]
    assert money(world.exchange) == before
    check_laws(world.exchange)


@pytest.mark.parametrize('changes, status, message', [
    ({'currency': None}, 400, "'currency' is a required arg."), ({'amount': ''}, 400, "'amount' is a required arg."),
    ({'targetAccountId': None}, 400, "'targetAccountId' is a required arg."),
    ({'currency': 'DOGE'}, 400, 'Invalid currency'), ({'amount': 0}, 400, "Invalid amount"),
    ({'amount': -5}, 400, 'Invalid amount'), ({'amount': 1.5}, 400, 'Invalid amount'),
    ({'targetAccountId': 5}, 400, 'Invalid targetAccountId'), ({'targetAccountId': []}, 400, 'Invalid targetAccountId'),
    ({'targetAccountId': 100001}, 400, 'Invalid targetAccountId'), ({'fromAccountId': 100002}, 403, 'Access Denied'),
    ({'amount': 10 ** 12}, 400, 'Account has insufficient Available Balance, 1000000000000 XBt required'),
])
def test_transfers_that_are_refused(world, changes, status, message):
    """Each bad parameter has its text."""
    body = dict({'currency': 'XBt', 'amount': 5, 'targetAccountId': world.other.id}, **changes)

    assert world.post('/user/walletTransfer', body) == (status, message)


def test_events_of_an_account(world):
    """Keys, deposits, transfers and withdrawals, oldest first, in BitMEX's envelope."""
    world.post('/user/walletTransfer', {'currency': 'XBt', 'amount': 5, 'targetAccountId': world.other.id})
    sent = world.post('/user/requestWithdrawal', {'currency': 'XBt', 'network': 'btc', 'amount': 5000, 'address': 'b'})
    world.api.request('DELETE', '/user/withdrawal', {}, {'transactID': sent['transactID']}, world.one, NOW)

    rows = world.get('/userEvent')['userEvents']
    assert [row['type'] for row in rows] == ['apiKeyCreated', 'depositConfirmed', 'depositConfirmed',
                                             'transferCompleted', 'withdrawalRequested', 'withdrawalCanceled']
    assert [row['id'] for row in world.get('/userEvent', startId=3, count='2')['userEvents']] == [3, 4]
    sent = world.post('/user/requestWithdrawal', {'currency': 'XBt', 'network': 'btc', 'amount': 5000, 'address': 'b'})
    world.exchange.advance(NOW + 1)
    world.exchange.banker.confirm_withdrawal(world.one, sent['transactID'])
    world.exchange.place(world.one, order('Buy', 800000))
    world.exchange.set_mark('XBTUSD', 5000)
    world.exchange.advance(NOW + 3)
    assert [row['type'] for row in world.get('/userEvent')['userEvents'][6:]] == [
        'withdrawalRequested', 'withdrawalCompleted', 'positionStateLiquidated']
    assert world.get('/userEvent', world.other)['userEvents'][-1]['type'] == 'transferReceived'


def test_requests_for_other_accounts_are_denied(world):
    """A key acts for its own account; naming that one, or all of one's own, is fine."""
    own = world.one.id
    assert world.get('/execution/tradeHistory', targetAccountId=str(own), targetAccountIds='[{}]'.format(own)) == []
    assert world.get('/user/quoteFillRatio', targetAccountIds='*')
    for parameters, status in (({'targetAccountId': world.other.id}, 403), ({'targetAccountIds': '[1]'}, 403),
                               ({'targetAccountIds': ['*', 7]}, 403), ({'targetAccountId': 'x'}, 400),
                               ({'targetAccountIds': '{'}, 400), ({'targetAccountIds': {'a': 1}}, 400)):
        with pytest.raises(Refusal) as caught:
            world.get('/execution/tradeHistory', **parameters)
        assert caught.value.status == status, parameters


def test_what_is_said_to_everybody(world):
    """One announcement says where one is; the chat can be read, and nobody has said anything."""
    row, = world.get('/announcement')
    assert row == world.exchange.rows('announcement')[0] and row['date'] == iso(NOW)
    assert world.get('/announcement', columns='["title"]') == [{'id': 1, 'title': 'This is a local exchange'}]
    assert world.get('/chat', channelID='1', count=5) == []
    assert {channel['isPrivate'] for channel in world.get('/chat/channels')} == {False}
    with pytest.raises(Refusal):
        world.get('/chat', channelID=99)
    with pytest.raises(Refusal) as caught:
        world.get('/chat/pinned', channelID=1)
    assert caught.value.status == 404
    assert world.get('/user/affiliateStatus') == world.exchange.rows('affiliate', world.one)[0]


def test_summary_of_a_wallet(world):
    """Each kind of transaction adds up to the wallet; times choose among them."""
    world.exchange.place(world.one, order('Buy', 100000))
    world.exchange.place(world.one, order('Sell', 100000))

    rows = world.get('/user/walletSummary')
    wallet = world.get('/user/wallet')['amount']
    assert rows[-1]['transactType'] == 'Total' and rows[-1]['walletBalance'] == wallet
    assert sum(row['amount'] for row in rows[:-1]) == wallet
    assert rows[1]['transactType'] == 'RealisedPNL' and rows[1]['realisedPnl'] == wallet - 1000000000
    assert [row['transactType'] for row in world.get('/user/walletSummary', startTime='2027-01-01')] == ['Total']
    with pytest.raises(Refusal):
        world.get('/user/walletSummary', endTime='tomorrow')
