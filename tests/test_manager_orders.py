"""OrderManager and ExchangeInterface on a connector without sockets: what is sent, when, and what is never sent."""
import logging

import pytest

from fake_exchange import FakeBitMEX, make
from market_maker.market_maker import ExchangeInterface, OrderManager, settings
from market_maker.utils import errors


class Quiet(OrderManager):
    """Wants what the test writes into ``wanted``."""

    wanted = ()

    def place_orders(self):
        buys = [dict(order) for order in self.wanted if order['side'] == 'Buy']
        sells = [dict(order) for order in self.wanted if order['side'] == 'Sell']
        return self.converge_orders(buys, sells)


def want(side, price, size=100, **more):
    return dict({'side': side, 'price': price, 'orderQty': size}, **more)


def build(monkeypatch, wanted=(), connector=None, **names):
    manager, bitmex = make(monkeypatch, type('Strategy', (Quiet,), {'wanted': list(wanted)}), connector, **names)
    return manager, bitmex


# The ladder


def test_twelve_orders_rest_after_the_start(monkeypatch):
    _, bitmex = make(monkeypatch)

    assert len(bitmex.resting()) == 12
    assert bitmex.sent('POST') == 12


def test_the_inner_levels_go_out_first(monkeypatch):
    _, bitmex = make(monkeypatch)

    prices = [order['price'] for verb, order in bitmex.requests if verb == 'POST']
    asks, bids = [price for price in prices if price > 50000], [price for price in prices if price < 50000]
    assert set(prices[:2]) == {min(asks), max(bids)}


def test_nothing_is_sent_when_nothing_has_changed(monkeypatch):
    manager, bitmex = make(monkeypatch)
    del bitmex.requests[:]

    manager.place_orders()

    assert bitmex.requests == []


def test_one_tick_inside_the_tolerance_costs_nothing(monkeypatch):
    manager, bitmex = make(monkeypatch)
    del bitmex.requests[:]
    bitmex.quote(50000.5, 50001.5)

    manager.sanity_check()
    manager.place_orders()

    assert bitmex.requests == []


def test_an_outer_fill_costs_one_request(monkeypatch):
    manager, bitmex = make(monkeypatch)
    del bitmex.requests[:]
    outermost = min(bitmex.rows.values(), key=lambda row: row['price'])
    bitmex.fill(outermost, outermost['leavesQty'])

    manager.place_orders()

    assert bitmex.sent('POST') == 1 and len(bitmex.requests) == 1


def test_a_partial_fill_is_topped_up(monkeypatch, caplog):
    manager, bitmex = build(monkeypatch, [want('Sell', 50100.0)])
    row = next(iter(bitmex.rows.values()))
    bitmex.fill(row, 1)
    caplog.set_level(logging.INFO)

    manager.place_orders()

    change = {'orderID': row['orderID'], 'side': 'Sell', 'orderQty': 101, 'price': 50100.0}
    assert bitmex.requests[-1] == ('PUT', change)
    assert 'Amending Sell: 99 @ 50100.0 to 100 @ 50100.0 (+0.0)' in caplog.text


def test_log_lines_of_creates_amends_and_cancels(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    manager, bitmex = build(monkeypatch, [want('Buy', 49900.0, 200), want('Buy', 50000.0), want('Sell', 50100.0)])
    manager.wanted = [want('Buy', 49000.0)]
    manager.place_orders()

    lines = [record.getMessage() for record in caplog.records]
    start = lines.index('Creating 3 orders:')
    assert lines[start:start + 4] == [
        'Creating 3 orders:', 'Sell 100 @ 50100.0', ' Buy 100 @ 50000.0', ' Buy 200 @ 49900.0']
    assert lines[start + 4:] == ['Canceling 2 orders:', ' Buy 200 @ 49900.0', 'Sell 100 @ 50100.0',
                                 'Amending  Buy: 100 @ 50000.0 to 100 @ 49000.0 (-1000.0)']


def test_the_strategys_lists_and_dicts_stay_as_they_are(monkeypatch):
    manager, bitmex = build(monkeypatch)
    buys = [want('Buy', 49000.0), {'price': 49500.0, 'orderQty': 100}]
    before = [dict(order) for order in buys]

    assert manager.converge_orders(buys, []) is None

    assert buys == before
    assert len(bitmex.resting()) == 2


def test_extra_keys_reach_the_exchange(monkeypatch):
    stop = want('Sell', 48000.0, stopPx=48100.0, ordType='StopLimit', execInst='LastPrice, Close', clOrdID='my-stop')
    _, bitmex = build(monkeypatch, [stop])

    sent = [order for verb, order in bitmex.requests if verb == 'POST'][0]
    assert {name: sent[name] for name in stop} == stop


def test_an_order_under_the_strategys_own_name_is_ours(monkeypatch):
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0, clOrdID='my-own')])

    assert [order['clOrdID'] for order in manager.exchange.get_orders()] == ['my-own']
    manager.place_orders()
    assert bitmex.sent('POST') == 1
    assert manager.exchange.cancel_everything() == (0, '')
    assert bitmex.resting() == []


# Late echoes, lost answers, refusals


def test_an_order_that_the_tables_do_not_show_yet_is_not_created_again(monkeypatch):
    bitmex = FakeBitMEX()
    bitmex.echo = False
    manager, _ = make(monkeypatch, connector=bitmex)

    for _ in range(5):
        manager.place_orders()

    assert bitmex.sent('POST') == 12
    assert len(manager.exchange.get_orders()) == 12
    bitmex.catch_up()
    manager.place_orders()
    assert (bitmex.sent('POST'), bitmex.sent('PUT', 'DELETE')) == (12, 0)


def test_an_amend_that_the_tables_do_not_show_yet_is_not_sent_again(monkeypatch):
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    bitmex.echo = False
    manager.wanted = [want('Buy', 47000.0)]

    manager.place_orders()
    manager.place_orders()

    assert bitmex.sent('PUT') == 1
    assert manager.exchange.get_orders()[0]['price'] == 47000.0


def test_a_cancelled_order_that_the_tables_still_show_is_gone(monkeypatch):
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    bitmex.echo = False
    manager.wanted = []

    manager.place_orders()
    manager.place_orders()

    assert bitmex.sent('DELETE') == 1
    assert manager.exchange.get_orders() == []


def test_an_order_that_filled_before_its_answer_came_is_not_believed_to_rest(monkeypatch):
    bitmex = FakeBitMEX()
    manager, _ = build(monkeypatch, [], bitmex)
    place = bitmex.place

    def filled_at_once(*args, **more):
        row = place(*args, **more)
        answer = dict(row)
        bitmex.fill(row, row['leavesQty'])
        return answer

    bitmex.place = filled_at_once
    manager.wanted = [want('Buy', 49000.0)]
    manager.place_orders()

    assert manager.exchange.get_orders() == []


def test_a_create_of_unknown_fate_is_not_sent_again_but_looked_up(monkeypatch):
    manager, bitmex = build(monkeypatch)

    def lose_the_answer(verb, order):
        if verb == 'POST':
            bitmex.place(order['clOrdID'], order['side'], order['price'], order['orderQty'])
            return errors.OutcomeUnknown('no answer', [order['clOrdID']])

    bitmex.refuse = lose_the_answer
    bitmex.echo = False
    manager.wanted = [want('Buy', 49000.0)]

    manager.place_orders()
    manager.place_orders()
    assert bitmex.sent('POST') == 1
    assert manager.exchange.get_orders() == []

    manager.exchange.resolve()
    manager._mm_pass()
    assert len(manager.exchange.get_orders()) == 1
    assert bitmex.sent('POST') == 1


def test_an_order_on_another_symbol_is_none_of_the_ladder(monkeypatch):
    """A strategy's hedge: our order table never shows it, so nobody waits for that."""
    manager, bitmex = build(monkeypatch)
    bitmex.symbol = 'ETHUSD'   # what the row of the answer will say
    bitmex.echo = False
    manager.exchange.create_orders([{'symbol': 'ETHUSD', 'side': 'Buy', 'price': 3000.0, 'orderQty': 1}])

    assert manager.exchange.get_orders() == [] and manager.exchange.in_flight() == []
    assert manager.exchange._commands.is_settled()


def test_an_amend_of_unknown_fate_counts_as_amended_until_the_tables_tell(monkeypatch):
    """And as no smaller than it was, so that a position limit holds either way."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0, 300)])
    order = manager.exchange.get_orders()[0]
    bitmex.refuse = lambda verb, order: errors.OutcomeUnknown('no answer', [order['orderID']])
    manager.wanted = [want('Buy', 47000.0, 100)]

    manager.place_orders()

    assert [(row['price'], row['leavesQty']) for row in manager.exchange.get_orders()] == [(47000.0, 300)]
    bitmex.refuse = None
    bitmex.rows[order['orderID']].update(price=47000.0, orderQty=100, leavesQty=100, timestamp=bitmex.now())
    bitmex.catch_up()
    assert [(row['price'], row['leavesQty']) for row in manager.exchange.get_orders()] == [(47000.0, 100)]


def test_one_refused_order_does_not_take_down_the_ladder(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    bitmex = FakeBitMEX()
    bitmex.refuse = lambda verb, order: (errors.OrderRejected('Invalid price', status=400)
                                         if order.get('price') == 49500.0 else None)
    manager, _ = build(monkeypatch, [want('Buy', 49500.0), want('Buy', 49000.0), want('Sell', 51000.0)], bitmex)

    assert [price for price, _, _ in bitmex.resting()] == [49000.0, 51000.0]
    manager.place_orders()
    assert bitmex.sent('POST') == 3
    assert 'Refused for now, next attempt in 1 s: Buy 100 @ 49500.0 (Invalid price)' in caplog.text


def test_a_refused_level_waits_longer_each_time(monkeypatch):
    from market_maker.orders.commands import Patience
    patience = Patience(first=1.0, longest=5.0)

    waits = [patience.refused('level', 0.0) for _ in range(4)]

    assert waits == [1.0, 2.0, 4.0, 5.0]
    assert patience.must_wait('level', 4.9) and not patience.must_wait('level', 5.0)
    patience.served('level')
    assert patience.refused('level', 9.0) == 1.0


def test_an_amend_that_comes_too_late_means_a_fresh_pass_from_the_loop(monkeypatch):
    """The filled order is not amended again, and its level is created anew within the same turn of the loop."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    calls = []
    place_orders = manager.place_orders
    manager.place_orders = lambda: calls.append(len(bitmex.requests)) or place_orders()
    bitmex.echo = False
    row = next(iter(bitmex.rows.values()))
    bitmex.fill(row, 100, moves_position=False)
    manager.wanted = [want('Buy', 47000.0)]
    del bitmex.requests[:]

    manager._mm_pass()

    assert [verb for verb, _ in bitmex.requests] == ['PUT', 'POST']
    assert calls == [0, 1]
    assert bitmex.resting() == [(47000.0, 'Buy', 100)]


def refusing_amends(message, bitmex, count=1):
    """Let the exchange refuse so many amends with a message."""
    left = [count]

    def refuse(verb, order):
        if verb == 'PUT' and left[0]:
            left[0] -= 1
            return errors.APIError('refused', status=400, message=message)
        return None
    bitmex.refuse = refuse


def test_an_order_that_is_called_finished_and_still_shown_is_cancelled(monkeypatch):
    """An amend is refused with `Invalid ordStatus` and no state, and the table shows the order: it may still rest where
    it is not wanted, so it goes, and its level is created anew within the same turn of the loop."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    refusing_amends('Invalid ordStatus', bitmex)
    manager.wanted = [want('Buy', 47000.0)]
    del bitmex.requests[:]

    manager._mm_pass()

    assert [verb for verb, _ in bitmex.requests] == ['PUT', 'DELETE', 'POST']
    assert bitmex.resting() == [(47000.0, 'Buy', 100)]


def test_an_order_that_cannot_be_moved_for_now_is_cancelled(monkeypatch):
    """While a refused amend waits for its next attempt, the order does not stay where it is not wanted."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    refusing_amends('Account is restricted', bitmex)
    manager.wanted = [want('Buy', 47000.0)]
    manager._mm_pass()
    assert bitmex.resting() == [(49000.0, 'Buy', 100)]

    manager._mm_pass()

    assert bitmex.resting() == []
    manager._mm_pass()
    assert bitmex.resting() == [(47000.0, 'Buy', 100)]


def test_an_order_that_cannot_be_made_larger_for_now_stays(monkeypatch):
    """It stands where it is wanted, and is only smaller."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    refusing_amends('Account is restricted', bitmex)
    manager.wanted = [want('Buy', 49000.0, 200)]
    manager._mm_pass()

    manager._mm_pass()

    assert bitmex.resting() == [(49000.0, 'Buy', 100)]


# Position limits


def limits(lowest, highest):
    return {'CHECK_POSITION_LIMITS': True, 'MIN_POSITION': lowest, 'MAX_POSITION': highest}


def test_the_ladder_is_cut_to_what_the_limit_leaves(monkeypatch):
    _, bitmex = make(monkeypatch, **limits(-300, 700))

    sizes = {side: sorted(size for _, its, size in bitmex.resting() if its == side) for side in ('Buy', 'Sell')}
    assert sizes == {'Buy': [100, 100, 200, 300], 'Sell': [100, 200]}


def test_a_side_is_not_quoted_beyond_its_limit(monkeypatch, caplog):
    bitmex = FakeBitMEX()
    bitmex.move_position(500, 50000.0)
    caplog.set_level(logging.INFO)

    make(monkeypatch, connector=bitmex, **limits(-1000, 400))

    assert {side for _, side, _ in bitmex.resting()} == {'Sell'}
    assert 'Position limits: -1000/400' in caplog.text
    assert 'Position limit reached: 500 contracts, at most 400 are allowed. No bids.' in caplog.text


def test_ninety_nine_of_a_hundred_leaves_no_bid_where_the_lot_is_a_hundred(monkeypatch):
    bitmex = FakeBitMEX()
    bitmex.move_position(99, 50000.0)

    make(monkeypatch, connector=bitmex, **limits(-1000, 100))
    assert {side for _, side, _ in bitmex.resting()} == {'Sell'}


def test_a_fill_that_the_position_does_not_show_yet_counts(monkeypatch):
    """The order's row is updated first: without care the bot would bid the full limit again."""
    manager, bitmex = build(monkeypatch, [want('Buy', 50000.0, 100)], **limits(-100, 100))
    row = next(iter(bitmex.rows.values()))
    bitmex.fill(row, 100, moves_position=False)

    manager.place_orders()

    assert bitmex.resting() == []
    bitmex.move_position(100)
    manager.place_orders()
    assert bitmex.resting() == []
    bitmex.move_position(-100)
    manager.place_orders()
    assert bitmex.resting() == [(50000.0, 'Buy', 100)]


def test_no_sequence_of_fills_and_delays_exceeds_the_limit(monkeypatch):
    """A thousand random steps: fills, late rows, late positions, refused requests, moving quotes."""
    import random
    rng = random.Random(5)
    manager, bitmex = make(monkeypatch, ORDER_PAIRS=4, **limits(-500, 500))
    bitmex.refuse = lambda verb, order: errors.OrderRejected('no', status=400) if rng.random() < 0.1 else None
    manager._mm_patience.refused = lambda name, now: 0.0
    behind, truth = [], [0]

    def check():
        working = {side: sum(size for _, its, size in bitmex.resting() if its == side) for side in ('Buy', 'Sell')}
        assert truth[0] + working['Buy'] <= 500 and truth[0] - working['Sell'] >= -500

    for _ in range(1000):
        step = rng.randrange(6)
        open_rows = [row for row in bitmex.rows.values() if row['leavesQty']]
        if step == 0 and open_rows:
            row = rng.choice(open_rows)
            size = rng.choice([1, row['leavesQty']])
            bitmex.fill(row, min(size, row['leavesQty']), moves_position=False, shows=False)
            signed = min(size, row['cumQty']) if row['side'] == 'Buy' else -min(size, row['cumQty'])
            truth[0] += signed
            behind.append(signed)
        elif step == 1:
            bitmex.move_position(sum(behind), 50000.0)
            del behind[:]
        elif step == 2:
            bitmex.catch_up()
        elif step == 3:
            bitmex.echo = not bitmex.echo
        elif step == 4:
            bid = rng.choice([49000.0, 50000.0, 51000.0])
            bitmex.quote(bid, bid + rng.choice([0.5, 100.0]))
        manager._mm_guarded(manager._mm_pass)
        check()


def test_our_own_orders_never_meet(monkeypatch):
    """When an ask could not be moved out of the way, the bid that would reach it is not placed."""
    manager, bitmex = build(monkeypatch, [want('Buy', 50000.0), want('Sell', 50100.0)])
    bitmex.refuse = lambda verb, order: errors.OrderRejected('no', status=400) if order['side'] == 'Sell' else None
    manager.wanted = [want('Buy', 51000.0), want('Sell', 51100.0)]

    manager.place_orders()

    assert bitmex.resting() == [(50000.0, 'Buy', 100), (50100.0, 'Sell', 100)]


def test_an_order_that_one_of_unknown_fate_keeps_from_its_place_does_not_stay(monkeypatch, caplog):
    """A bid that may or may not be there is in the way of the ask: until that is known there is no ask, for where it
    was nobody wants it any more."""
    caplog.set_level(logging.INFO)
    manager, bitmex = build(monkeypatch, [want('Sell', 50100.0)])
    bitmex.refuse = lambda verb, order: errors.OutcomeUnknown('no answer', [order['clOrdID']])
    manager.wanted = [want('Buy', 50000.0), want('Sell', 50100.0)]
    manager.place_orders()
    bitmex.refuse = None
    bitmex.row.update(bidPrice=48999.0, askPrice=49000.0)   # the market falls

    manager.wanted = [want('Buy', 48000.0), want('Sell', 49100.0)]
    manager.place_orders()

    assert bitmex.resting() == []
    assert 'it would meet our own order at 50000.0' in caplog.text
    manager.place_orders()
    assert bitmex.resting() == [] and bitmex.sent('POST') == 2   # the ask of the beginning, and the bid

    manager.exchange._commands.refused(manager.exchange.in_flight()[0]['clOrdID'])
    manager.place_orders()
    assert bitmex.resting() == [(48000.0, 'Buy', 100), (49100.0, 'Sell', 100)]


def test_an_order_within_the_tolerance_waits_for_one_of_unknown_fate(monkeypatch):
    """It is where it is wanted, and only smaller than it might be."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)], CHECK_POSITION_LIMITS=True, MAX_POSITION=300)
    bitmex.refuse = lambda verb, order: errors.OutcomeUnknown('no answer', [order['clOrdID']])
    manager.wanted = [want('Buy', 49000.0), want('Buy', 48000.0, 200)]
    manager.place_orders()
    bitmex.refuse = None

    manager.wanted = [want('Buy', 49000.0, 200), want('Buy', 48000.0, 100)]
    manager.place_orders()

    assert bitmex.resting() == [(49000.0, 'Buy', 100)]


# Orders that are not ours


def test_only_our_own_orders_are_seen_and_cancelled(monkeypatch):
    bitmex = FakeBitMEX()
    ours = 'mm_bitmex_' + 'A' * 22
    for name in ('', 'by-hand', 'mm_bitmex_', 'mm_bitmex_mine', 'mm_bitmex_2_' + 'A' * 22, ours):
        bitmex.place(name)

    manager, _ = build(monkeypatch, [], bitmex)

    assert [row['clOrdID'] for row in bitmex.rows.values() if row['leavesQty']] == [
        '', 'by-hand', 'mm_bitmex_', 'mm_bitmex_mine', 'mm_bitmex_2_' + 'A' * 22]
    assert manager.exchange.get_orders() == []
    assert manager.exchange.get_highest_buy() == {'price': -2 ** 32}
    assert manager.exchange.get_lowest_sell() == {'price': 2 ** 32}


# Dry run


def test_a_dry_run_sends_nothing_and_says_what_it_would_cost(monkeypatch, caplog):
    bitmex = FakeBitMEX()
    bitmex.place('mm_bitmex_' + 'A' * 22)
    caplog.set_level(logging.INFO)
    manager, _ = make(monkeypatch, connector=bitmex, DRY_RUN=True, DRY_BTC=2)

    manager.place_orders()

    assert bitmex.requests == []
    lines = [record.getMessage() for record in caplog.records]
    assert 'Current XBT Balance: 2.000000' in lines
    assert 'Creating 12 orders:' in lines
    assert any(line.startswith('Dry run: nothing is sent. Worth 0.08') for line in lines)
    assert any(line.startswith('Dry run: spread ') for line in lines)
    assert manager.exchange.get_orders() == []
    assert manager.exchange.get_margin()['marginBalance'] == 200000000
    assert manager.exchange.get_margin()['availableFunds'] == 2.0
    with pytest.raises(SystemExit):
        manager.exit()
    assert bitmex.requests == []


# Pieces


def test_a_position_that_never_was_is_zeros(monkeypatch):
    manager, bitmex = build(monkeypatch)
    bitmex.position = lambda symbol=None: {'symbol': symbol}

    row = manager.exchange.get_position('ETHUSD')

    assert (row['currentQty'], row['symbol'], row['openOrderBuyQty'], row['liquidationPrice']) == (0, 'ETHUSD', 0, 0)
    assert manager.exchange.get_delta('ETHUSD') == 0


def test_delta_of_the_portfolio(monkeypatch):
    manager, bitmex = build(monkeypatch, CONTRACTS=['XBTUSD'])
    bitmex.move_position(-100000, 50000.0)

    assert manager.exchange.get_portfolio() == {'XBTUSD': {
        'currentQty': -100000.0, 'futureType': 'Inverse', 'multiplier': 1.0, 'markPrice': 50000.4, 'spot': 50000.2}}
    delta = manager.exchange.calc_delta()
    assert delta['spot'] == pytest.approx(-100000 / 50000.2)
    assert delta['basis'] == pytest.approx(delta['mark_price'] - delta['spot'])


def test_sizes_that_are_no_multiple_of_the_lot_become_the_lot(monkeypatch, caplog):
    make(monkeypatch, ORDER_START_SIZE=150, ORDER_STEP_SIZE=30)

    assert (settings.ORDER_START_SIZE, settings.ORDER_STEP_SIZE) == (100, 100)
    assert 'ORDER_START_SIZE is 150 and must be a multiple of the lot size of XBTUSD: taking 100.' in caplog.text


def test_random_sizes_stay_as_long_as_their_orders_rest(monkeypatch):
    manager, bitmex = make(monkeypatch, RANDOM_ORDER_SIZE=True, MIN_ORDER_SIZE=100, MAX_ORDER_SIZE=900)
    del bitmex.requests[:]

    for _ in range(5):
        manager.place_orders()

    assert bitmex.requests == []
    assert {size % 100 for _, _, size in bitmex.resting()} == {0}


def test_cancel_all_orders_leaves_the_tables_without_orders(monkeypatch, caplog):
    manager, bitmex = make(monkeypatch)
    caplog.set_level(logging.INFO)

    manager.exchange.cancel_all_orders()

    assert manager.exchange.get_orders() == [] and bitmex.resting() == []
    assert 'Resetting current position. Cancelling all existing orders.' in caplog.text
    assert 'Canceling: Sell 100 @ ' in caplog.text
    assert bitmex.sent('DELETE') == 1


def test_interfaces_can_be_built_alone(monkeypatch):
    make(monkeypatch)

    exchange = ExchangeInterface(dry_run=True)

    assert exchange.dry_run and exchange.symbol == 'XBTUSD'
    assert exchange.create_bulk_orders([{'price': 1.0}]) == [{'price': 1.0}]
    assert exchange.amend_bulk_orders([]) == []
    assert exchange.cancel_bulk_orders([{'orderID': 'x'}]) == [{'orderID': 'x'}]


def test_results_count_each_execution_once(monkeypatch):
    manager, bitmex = make(monkeypatch)
    rows = sorted(bitmex.rows.values(), key=lambda row: row['price'])
    bitmex.fill(rows[0], 50)
    bitmex.fill(rows[-1], 20)
    foreign = bitmex.place('by-hand')
    bitmex.fill(foreign, 100)
    bitmex.ws.executions.add([{'execID': 'f', 'execType': 'Funding', 'execComm': 7}])

    manager.exchange.tally()
    results = manager.exchange.tally()

    assert (results.created, results.fills, results.bought, results.sold) == (12, 2, 50, 20)
    assert (results.fees, results.funding) == (10, 7)


def test_an_order_that_has_waited_is_held_against_the_position_of_now(monkeypatch):
    """What was within the limit when it was planned, and is not any more when its turn comes, does not go out."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)], **limits(-200, 200))
    assert bitmex.gate({'side': 'Buy', 'orderQty': 100, 'price': 48000.0, 'clOrdID': 'one'}) == ''

    bitmex.move_position(100, 50000.0)

    said = bitmex.gate({'side': 'Buy', 'orderQty': 100, 'price': 48000.0, 'clOrdID': 'one'})
    assert said == 'Buy 100 contracts beside the 100 at work would now pass the position limit, which leaves 100'
    row = next(iter(bitmex.rows.values()))
    assert bitmex.gate({'orderID': row['orderID'], 'orderQty': 100, 'price': 48000.0}) == ''
    assert 'Buy 100 contracts beside' in bitmex.gate({'orderID': row['orderID'], 'orderQty': 200})
    assert bitmex.gate({'side': 'Sell', 'orderQty': 300, 'price': 51000.0}) == ''
    assert bitmex.gate({'side': 'Buy', 'orderQty': 500, 'price': 1.0, 'execInst': 'ReduceOnly'}) == ''


def test_at_the_end_known_orders_go_before_anything_is_asked(monkeypatch):
    """A question may have to wait for its turn at the exchange; the cancel of what we know does not."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0)])
    del bitmex.requests[:]

    assert manager.exchange.cancel_everything() == (0, '')

    assert [verb for verb, _ in bitmex.requests][:2] == ['DELETE', 'GET']
    assert bitmex.resting() == []


def test_an_order_that_cannot_be_cancelled_is_looked_up_and_not_tried_for_ever(monkeypatch):
    """It has traded, and the tables do not tell: its cancel is refused, and then the exchange is asked."""
    manager, bitmex = build(monkeypatch, [want('Buy', 49000.0), want('Buy', 48000.0)])
    bitmex.echo = False
    inner = next(row for row in bitmex.rows.values() if row['price'] == 49000.0)
    bitmex.fill(inner, 100, shows=False)

    manager.exchange.no_quotes('the test wants it')
    manager.exchange.no_quotes('the test wants it')

    assert manager.exchange.get_orders() == [] and bitmex.resting() == []
    assert bitmex.sent('DELETE') == 1


# What is said of it


@pytest.mark.parametrize('verb, word', [('POST', 'Creating'), ('PUT', 'Amending')])
def test_the_lines_of_a_list_are_written_once_and_do_not_hold_up_its_first_order(monkeypatch, caplog, verb, word):
    """The connector says when the first is on its way; each line tells of before and after as it was planned."""
    caplog.set_level(logging.INFO)
    ladder = [want('Buy', 49000.0), want('Buy', 48000.0), want('Sell', 51000.0)]
    manager, connector = build(monkeypatch, ladder if verb == 'PUT' else ())
    name = 'amend_orders' if verb == 'PUT' else 'create_orders'
    send, heard = getattr(connector, name), []

    def send_and_tell(orders):
        heard.append([line for line in caplog.messages if word in line])
        orders.begun()
        heard.append([line for line in caplog.messages if word in line])
        return send(orders)
    setattr(connector, name, send_and_tell)
    manager.wanted = [want('Buy', 49500.0), want('Buy', 48500.0), want('Sell', 52000.0)]
    caplog.clear()

    manager.place_orders()

    lines = {'PUT': ['Amending Sell: 100 @ 51000.0 to 100 @ 52000.0 (+1000.0)',
                     'Amending  Buy: 100 @ 49000.0 to 100 @ 49500.0 (+500.0)',
                     'Amending  Buy: 100 @ 48000.0 to 100 @ 48500.0 (+500.0)'], 'POST': ['Creating 3 orders:']}[verb]
    assert heard == [[], lines]
    assert [line for line in caplog.messages if word in line] == lines


def test_lines_are_written_before_orders_go_to_another_kind_of_exchange(monkeypatch, caplog):
    """A backtest's fills come at once: its lines must not tell of them before the order that they are of."""
    caplog.set_level(logging.INFO)

    class Instant(ExchangeInterface):
        def create_orders(self, orders):
            logging.getLogger('root').info('filled')
            return ExchangeInterface.create_orders(self, orders)
    manager, _ = build(monkeypatch)
    manager.exchange.__class__ = Instant
    manager.wanted = [want('Buy', 49000.0)]
    caplog.clear()

    manager.place_orders()

    assert [line.strip() for line in caplog.messages] == ['Creating 1 orders:', 'Buy 100 @ 49000.0', 'filled']


def test_an_order_that_has_ended_is_told_of_by_its_own_size(monkeypatch):
    """What is left of it is nothing, which tells nobody which order that was."""
    manager, _ = make(monkeypatch)

    order = {'side': 'Buy', 'orderQty': 300, 'leavesQty': 0, 'price': 50000.0, 'ordStatus': 'Canceled'}
    assert manager.exchange.describe(order).strip() == 'Buy 300 @ 50000.0'
    assert manager.exchange.describe(dict(order, leavesQty=200)).strip() == 'Buy 200 @ 50000.0'


def test_a_look_that_fails_does_not_undo_a_cancel(monkeypatch, caplog):
    """One of two orders has ended already, and nobody answers what became of it: the other is cancelled."""
    manager, bitmex = make(monkeypatch)
    rows = [bitmex.place('mm_bitmex_' + 21 * 'x' + end, 'Buy', 50000.0, 100) for end in 'AB']
    bitmex.rows[rows[0]['orderID']].update(ordStatus='Filled', leavesQty=0)

    def out_of_reach(*_):
        raise errors.ConnectionLost('out of reach')
    monkeypatch.setattr(bitmex, 'look_up', out_of_reach)

    answer = manager.exchange.cancel_orders(rows)

    assert [row.get('ordStatus', row.get('error')) for row in answer] == ['Unable to cancel order', 'Canceled']
    assert 'What became of 1 orders that could not be cancelled is not known yet: out of reach' in caplog.text
