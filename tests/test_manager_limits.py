"""The limits at work in OrderManager and ExchangeInterface: what rests, what is taken back, what is said."""
import logging
import random

import pytest

from bot import until
from fake_exchange import FakeBitMEX, make
from market_maker.market_maker import OrderManager
from market_maker.state import losses
from market_maker.state.folder import StateFolder
from market_maker.utils import errors


def limits(lowest, highest):
    return {'CHECK_POSITION_LIMITS': True, 'MIN_POSITION': lowest, 'MAX_POSITION': highest}


def sides(bitmex):
    """Return the sides that rest, with their contracts."""
    found = {}
    for _, side, size in bitmex.resting():
        found[side] = found.get(side, 0) + size
    return found


def said(caplog, *beginnings):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(beginnings)]


class Direct(OrderManager):
    """Sends by itself, past ``converge_orders``."""

    def place_orders(self):
        self.answer = None

    def send(self, *orders):
        self.answer = self.exchange.create_orders(list(orders))
        return self.answer


def want(side, price, size=100, **more):
    return dict({'side': side, 'price': price, 'orderQty': size}, **more)


# Position limits


@pytest.mark.parametrize('lot, bids', [(1, {1}), (100, set())])
def test_ninety_nine_of_a_hundred_leaves_one_contract_rounded_down_to_the_lot(monkeypatch, lot, bids):
    bitmex = FakeBitMEX()
    bitmex.row['lotSize'] = lot
    bitmex.move_position(99, 50000.0)

    make(monkeypatch, connector=bitmex, **limits(-1000, 100))

    assert {size for _, side, size in bitmex.resting() if side == 'Buy'} == bids
    assert sides(bitmex)['Sell'] > 0


def trouble(bitmex, rng, verb, order):
    """Let some requests be refused, and the answers of some be lost, whether they were carried out or not."""
    luck = rng.random()
    if luck < 0.1:
        return errors.APIError('no', status=400) if verb == 'PUT' else errors.OrderRejected('no', status=400)
    if luck < 0.16:
        if luck < 0.13:
            try:
                (bitmex._create if verb == 'POST' else bitmex._amend)(order)
            except errors.APIError as error:
                return error
        return errors.OutcomeUnknown('lost', [order.get('clOrdID') or order['orderID']])
    return None


def meddle(exchange, rng):
    """Send what a strategy might send by itself, without much thought."""
    orders = exchange.get_orders()
    size = rng.choice([1, 100, 300, 600])
    if orders and rng.random() < 0.5:
        exchange.amend_orders([{'orderID': rng.choice(orders)['orderID'], 'orderQty': size} for _ in range(2)])
    else:
        side = rng.choice(['Buy', 'Sell'])
        exchange.create_orders([want(side, 47000.0 if side == 'Buy' else 53000.0, size) for _ in range(3)])


def tape(monkeypatch, seed, steps, lowest=-500, highest=500):
    """Play fills, late rows, late positions, refused and lost requests, moving quotes and a strategy that meddles.

    Fail where what rests could take the true position beyond a limit.  Return how many contracts traded.
    """
    rng = random.Random(seed)
    manager, bitmex = make(monkeypatch, ORDER_PAIRS=4, ORDER_START_SIZE=rng.choice([100, 200]), API_REST_INTERVAL=0,
                           **limits(lowest, highest))
    bitmex.refuse = lambda verb, order: trouble(bitmex, rng, verb, order)
    manager._mm_patience.refused = lambda name, now: 0.0
    unseen, truth, traded = [], 0, 0
    for _ in range(steps):
        step = rng.randrange(7)
        open_rows = [row for row in bitmex.rows.values() if row['leavesQty']]
        if step in (0, 1) and open_rows:
            row = rng.choice(open_rows)
            size = rng.choice([1, row['leavesQty'] // 2 + 1, row['leavesQty']])
            bitmex.fill(row, min(size, row['leavesQty']), moves_position=False, shows=False)
            signed = min(size, row['cumQty']) if row['side'] == 'Buy' else -min(size, row['cumQty'])
            truth, traded = truth + signed, traded + abs(signed)
            unseen.append(signed)
        elif step == 2:
            bitmex.move_position(sum(unseen), 50000.0)
            del unseen[:]
        elif step == 3:
            bitmex.catch_up()
        elif step == 4:
            bitmex.echo = not bitmex.echo
        elif step == 5:
            bid = rng.choice([49000.0, 50000.0, 51000.0])
            bitmex.quote(bid, bid + rng.choice([0.5, 100.0]))
        elif step == 6:
            meddle(manager.exchange, rng)
        if rng.random() < 0.8:
            manager._mm_guarded(manager._mm_pass)
        resting = sides(bitmex)
        assert truth + resting.get('Buy', 0) <= highest, seed
        assert truth - resting.get('Sell', 0) >= lowest, seed
    return traded


def test_random_tapes_never_exceed_the_limits(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    assert sum(tape(monkeypatch, seed, 40) for seed in range(40)) > 20000


@pytest.mark.slow
def test_a_thousand_random_tapes_never_exceed_the_limits(monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    assert sum(tape(monkeypatch, seed, 8) for seed in range(1000, 2000)) > 200000


def test_a_position_limit_is_told_once_when_it_is_reached_and_once_when_it_is_not(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    manager, bitmex = make(monkeypatch, **limits(-1000, 400))
    for contracts in (500, 0, 0, -500, 0):
        bitmex.move_position(contracts, 50000.0)
        manager._mm_guarded(manager._mm_pass)

    assert said(caplog, 'Position limit ') == [
        'Position limit reached: 500 contracts, at most 400 are allowed. No bids.',
        'Position limit no longer reached: 0 contracts. There are bids again.']


def test_what_a_strategy_sends_by_itself_is_held_against_the_limits_too(monkeypatch):
    manager, bitmex = make(monkeypatch, Direct, **limits(-200, 200))

    answer = manager.send(want('Buy', 49000.0, 150), want('Buy', 48000.0, 51), want('Sell', 51000.0, 200),
                          want('Sell', 52000.0, 1), want('Sell', 53000.0, 500, execInst='ReduceOnly'))

    assert [(price, size) for price, _, size in bitmex.resting()] == [(49000.0, 150), (51000.0, 200), (53000.0, 500)]
    assert [order['price'] for order, _ in answer.errors] == [48000.0, 52000.0]
    assert all(isinstance(error, errors.LimitReached) for _, error in answer.errors)
    assert len(answer) == 3


def test_numbers_may_be_sent_as_text_and_a_negative_size_sells(monkeypatch):
    manager, bitmex = make(monkeypatch, Direct, **limits(-200, 200))

    answer = manager.send(want('Buy', '49000.0', '200'), {'price': 51000.0, 'orderQty': -300})

    assert [str(error)[:10] for _, error in answer.errors] == ['not sent: '] and len(answer) == 1


def test_a_strategy_that_tries_again_and_again_is_told_once(monkeypatch, caplog):
    manager, _ = make(monkeypatch, Direct, **limits(-200, 200))
    for size in (300, 400, 300, 100, 300):
        manager.send(want('Buy', 49000.0, size, clOrdID=None))

    assert len([line for line in said(caplog, 'Buy') if 'not sent' in line]) == 2


@pytest.mark.parametrize('named', ['orderID', 'clOrdID', 'origClOrdID'])
def test_an_amend_of_a_strategys_own_may_not_grow_beyond_the_limit(monkeypatch, named):
    """However it names the order, and whether it gives the total or what shall be left."""
    manager, bitmex = make(monkeypatch, Direct, **limits(-200, 200))
    row, = manager.send(want('Buy', 49000.0, 150))
    bitmex.fill(row, 50)
    name = {named: row['orderID' if named == 'orderID' else 'clOrdID']}
    amended = []
    bitmex.amend_orders = lambda orders: amended.extend(orders) or []

    for change in ({'orderQty': 201}, {'leavesQty': 151}, {'orderQty': '300'}, {'price': 99000.0}):
        assert len(manager.exchange.amend_orders([dict(name, **change)]).errors) == 1
    assert amended == []
    for change in ({'orderQty': 200, 'price': 49500.0}, {'leavesQty': 150}, {'orderQty': 60}, {'orderQty': 'nonsense'},
                   {'price': float('nan')}):
        manager.exchange.amend_orders([dict(name, **change)])
    assert len(amended) == 3


def test_a_strategys_own_orders_must_make_sense_too(monkeypatch):
    manager, bitmex = make(monkeypatch, Direct, ORDER_COUNT_LIMIT=2)

    answer = manager.send(want('Buy', 99000.0), want('Buy', float('nan')), want('Buy', 49000.0), want('Buy', 48000.0),
                          want('Buy', 47000.0))

    assert [price for price, _, _ in bitmex.resting()] == [48000.0, 49000.0]
    assert ['PRICE_BAND' in str(error) or 'sense' in str(error) or 'ORDER_COUNT_LIMIT' in str(error)
            for _, error in answer.errors] == [True] * 3


# Brakes and the account


def test_a_side_that_is_hit_too_often_is_taken_back_and_comes_again(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    manager, bitmex = make(monkeypatch, ORDER_PAIRS=2, FILLED_LIMIT=150, FILLED_WINDOW=0.5)
    for row in list(bitmex.rows.values()):
        if row['side'] == 'Buy':
            bitmex.fill(row, 100)

    manager._mm_guarded(manager._mm_pass)
    assert set(sides(bitmex)) == {'Sell'}
    until(lambda: manager._mm_guarded(manager._mm_pass) or 'Buy' in sides(bitmex), 10, 'no bids came back')

    assert said(caplog, 'Limit', 'No longer') == [
        'Limit: 200 contracts bought within 0.5 s, FILLED_LIMIT is 150: no bids for now.',
        'No longer limited by FILLED_LIMIT Buy.']


def test_a_fast_move_takes_all_quotes_back(monkeypatch):
    manager, bitmex = make(monkeypatch, ORDER_PAIRS=2, MOVE_LIMIT=0.01, MOVE_WINDOW=60)
    bitmex.quote(51000.0, 51000.5)

    manager._mm_guarded(manager._mm_pass)

    assert bitmex.resting() == []


def test_a_thin_margin_leaves_the_side_that_closes(monkeypatch):
    bitmex = FakeBitMEX()
    bitmex.move_position(250, 50000.0)
    bitmex.margin['maintMargin'] = 95000000

    make(monkeypatch, connector=bitmex, FREE_MARGIN_LIMIT=0.1)

    assert sides(bitmex) == {'Sell': 200}   # all that closes, in whole lots


# Losses


@pytest.fixture
def account(tmp_path):
    """A connector whose state folder is the test's."""
    bitmex = FakeBitMEX()
    bitmex.state = StateFolder('http://fake/api/v1/', 'key', 'instance', str(tmp_path / 'state'))
    bitmex.remember = lambda: bitmex.state
    return bitmex


def lose(bitmex, XBT):
    bitmex.margin['marginBalance'] -= int(XBT * 1e8)


def test_a_loss_ends_quoting_until_somebody_resumes(monkeypatch, caplog, account):
    caplog.set_level(logging.INFO)
    manager, bitmex = make(monkeypatch, connector=account, ORDER_PAIRS=2, LOSS_LIMIT=0.1)
    assert len(bitmex.resting()) == 4
    lose(bitmex, 0.11)

    for _ in range(3):
        manager._mm_guarded(manager._mm_pass)
    assert bitmex.resting() == []
    restarted, _ = make(monkeypatch, connector=account, ORDER_PAIRS=2, LOSS_LIMIT=0.1)
    assert bitmex.resting() == []
    path = bitmex.state.file(losses.file_name('XBTUSD mm_bitmex_'))
    assert losses.Losses(path).resume()
    monkeypatch.setattr(losses, 'LOOK_EVERY', 0.0)
    restarted._mm_guarded(restarted._mm_pass)

    assert len(bitmex.resting()) == 4
    told = said(caplog, 'Limit', 'No longer')
    assert len(told) == 3 and told[0] == told[1] and 'LOSS_LIMIT is 0.1' in told[0]
    assert told[2] == 'No longer limited by LOSS_LIMIT.'


def test_after_a_loss_a_strategys_own_orders_are_taken_back_but_not_what_reduces(monkeypatch, account):
    manager, bitmex = make(monkeypatch, Direct, connector=account, LOSS_LIMIT=0.1)
    manager.send(want('Buy', 49000.0), want('Sell', 48000.0, 100, stopPx=48500.0, execInst='Close,LastPrice'))
    lose(bitmex, 0.1)

    manager._mm_guarded(manager._mm_pass)

    assert bitmex.resting() == [(48000.0, 'Sell', 100)]
    assert manager.send(want('Buy', 47000.0)).errors
    assert not manager.send(want('Sell', 51000.0, execInst='ReduceOnly')).errors


def test_a_closed_side_that_cannot_be_cleared_now_is_cleared_later(monkeypatch, account, caplog):
    """The exchange's failure is no failure of the strategy."""
    manager, bitmex = make(monkeypatch, Direct, connector=account, LOSS_LIMIT=0.1)
    manager.send(want('Buy', 49000.0))
    lose(bitmex, 0.1)
    real = bitmex._curl_bitmex

    def broken(*args, **kwargs):
        raise errors.APIError('500 Server Error', status=500)
    bitmex._curl_bitmex = broken

    manager._mm_guarded(manager._mm_pass)
    assert len(bitmex.resting()) == 1 and 'could not be cancelled yet: 500' in caplog.text
    assert 'The strategy failed' not in caplog.text
    bitmex._curl_bitmex = real
    manager._mm_guarded(manager._mm_pass)

    assert bitmex.resting() == []


def test_no_balance_no_quotes(monkeypatch, account):
    """The watch fails closed."""
    del account.margin['marginBalance']
    account.margin['marginBalance'] = None

    manager, bitmex = make(monkeypatch, Direct, connector=account, LOSS_LIMIT=0.1, DRY_RUN=False)

    assert manager.send(want('Buy', 49000.0)).errors


def test_a_dry_run_has_nothing_to_lose(monkeypatch, account, caplog):
    caplog.set_level(logging.INFO)
    account.margin['marginBalance'] = None

    make(monkeypatch, connector=account, ORDER_PAIRS=2, LOSS_LIMIT=0.1, DRY_RUN=True)

    assert said(caplog, 'Creating') == ['Creating 4 orders:']
