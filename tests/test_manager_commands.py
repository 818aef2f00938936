"""What is known of our orders before the tables show it, and of the position before it is updated."""
import pytest

from market_maker.orders.commands import MEMORY, Commands, FillWatch


def row(name, at, leaves=100, cum=0, price=50.0, side='Buy', **more):
    return dict({'orderID': name, 'clOrdID': 'name-' + name, 'side': side, 'price': price, 'orderQty': leaves + cum,
                 'leavesQty': leaves, 'cumQty': cum, 'ordStatus': 'New' if leaves else 'Filled',
                 'timestamp': stamp(at)}, **more)


def stamp(seconds):
    return '2026-01-01T00:00:{:06.3f}Z'.format(seconds)


def nothing(order_id):
    return None


def shown(commands, rows, finished=nothing, now=0.0):
    return [(each['orderID'], each['price'], each['leavesQty']) for each in commands.overlay(rows, finished, now)]


def test_rows_without_news_are_handed_on_as_they_are():
    rows = [row('a', 1)]

    answer = Commands().overlay(rows, nothing, 0.0)

    assert answer == rows and answer is not rows and answer[0] is rows[0]


def test_an_answer_stands_in_for_a_row_that_has_not_come():
    commands = Commands()
    commands.answered(row('a', 1), 0.0)

    assert shown(commands, []) == [('a', 50.0, 100)]
    assert shown(commands, [row('a', 1)]) == [('a', 50.0, 100)]
    assert commands.is_settled()


@pytest.mark.parametrize('at, price', [(1.0, 60.0), (2.0, 60.0), (2.001, 50.0)])
def test_the_newer_of_row_and_answer_counts(at, price):
    """A row with the answer's own time stamp is behind as long as it differs from it."""
    commands = Commands()
    commands.answered(row('a', 2, price=60.0), 0.0)

    assert shown(commands, [row('a', at)]) == [('a', price, 100)]


def test_a_transact_time_tells_too():
    commands = Commands()
    commands.answered(row('a', 3, price=60.0, transactTime=stamp(2)), 0.0)

    assert shown(commands, [row('a', 2.9, price=60.0, transactTime=stamp(2))]) == [('a', 60.0, 100)]
    assert commands.is_settled()


def test_a_cancelled_order_stays_away_even_when_its_rows_come_late():
    commands = Commands()
    commands.answered(row('a', 1), 0.0)
    commands.answered(row('a', 2, leaves=0, ordStatus='Canceled'), 0.0)

    assert shown(commands, []) == []
    assert shown(commands, [row('a', 1)]) == []
    assert shown(commands, [], now=MEMORY + 1) == [] and commands.is_settled()


def test_an_older_answer_changes_nothing():
    commands = Commands()
    commands.answered(row('a', 5, price=60.0), 0.0)
    commands.answered(row('a', 4, price=40.0), 0.0)

    assert shown(commands, []) == [('a', 60.0, 100)]


def test_an_order_that_is_finished_in_the_tables_is_finished():
    commands = Commands()
    commands.answered(row('a', 1), 0.0)

    assert shown(commands, [], finished=lambda order_id: row('a', 2, leaves=0)) == []
    assert commands.is_settled()


def overdue(commands, rows, now, finished=nothing):
    return [each['orderID'] for each in commands.overdue(rows, finished, now, 15.0)]


@pytest.mark.parametrize('answer, rows, is_missed', [
    (row('a', 9), [], True),                                       # a create that does not show
    (row('a', 9), [row('a', 9)], False),
    (row('a', 9, price=60.0), [row('a', 1)], True),                # an amend
    (row('a', 9, price=60.0), [row('a', 9, price=60.0)], False),
    (row('a', 9, price=60.0), [row('a', 10)], False),              # ... that something newer came upon
    (row('a', 9, leaves=0, ordStatus='Canceled'), [row('a', 1)], True),   # a cancel
    (row('a', 9, leaves=0, ordStatus='Canceled'), [], True)])      # of an order that has never shown
def test_an_answer_that_the_tables_do_not_mirror_in_time_is_overdue(answer, rows, is_missed):
    commands = Commands()
    commands.answered(answer, 0.0)

    assert overdue(commands, rows, 15.0) == []
    assert overdue(commands, rows, 15.1) == (['a'] if is_missed else [])


def test_an_order_that_the_tables_saw_the_end_of_is_not_overdue():
    commands = Commands()
    commands.answered(row('a', 9), 0.0)

    assert overdue(commands, [], 16.0, finished=lambda order_id: row('a', 10, leaves=0)) == []


def test_a_doubtful_amend_is_not_overdue_and_can_be_taken_back():
    commands = Commands()
    commands.doubt(row('a', 1), {'price': 60.0}, 0.0)
    assert overdue(commands, [row('a', 1)], 16.0) == []
    assert shown(commands, [row('a', 1)]) == [('a', 60.0, 100)]

    commands.undoubt('a')

    assert shown(commands, [row('a', 1)]) == [('a', 50.0, 100)]


def test_images_know_what_was_answered_before_they_were_asked_for():
    commands = Commands()
    commands.answered(row('a', 9), 1.0)
    commands.answered(row('b', 9), 3.0)

    commands.imaged(2.0)

    assert shown(commands, []) == [('b', 50.0, 100)]


def test_a_create_holds_its_place_from_its_reservation_to_its_answer():
    commands = Commands()
    commands.reserve('name-a', {'side': 'Buy', 'price': 50.0, 'orderQty': 100})
    flying = commands.in_flight()
    assert [(each['price'], each['leavesQty'], each.get('orderID')) for each in flying] == [(50.0, 100, None)]
    assert commands.unanswered() == []

    commands.sent('name-a', 1.0)
    assert commands.unanswered() == ['name-a']

    commands.answered(row('a', 1), 2.0)
    assert commands.in_flight() == []


def test_a_create_whose_echo_comes_before_its_answer_is_in_flight_no_more():
    commands = Commands()
    commands.reserve('name-a', {'side': 'Buy', 'price': 50.0, 'orderQty': 100})
    commands.sent('name-a', 1.0)

    assert shown(commands, [row('a', 1)]) == [('a', 50.0, 100)]
    assert commands.in_flight() == []


def test_only_what_was_not_sent_is_released():
    commands = Commands()
    for name in ('sent', 'kept'):
        commands.reserve(name, {'side': 'Buy', 'price': 50.0, 'orderQty': 100})
    commands.sent('sent', 1.0)

    commands.release('sent')
    commands.release('kept')

    assert [each['clOrdID'] for each in commands.in_flight()] == ['sent']


def test_a_lost_create_is_looked_up_until_it_is_found_or_certainly_absent():
    commands = Commands()
    commands.reserve('name-a', {'side': 'Buy', 'price': 50.0, 'orderQty': 100})
    commands.sent('name-a', 0.0)
    commands.lost('name-a')

    assert commands.lost_names() == ['name-a']
    commands.absent('name-a', 59.0, 60.0)
    assert commands.in_flight()
    commands.absent('name-a', 61.0, 60.0)
    assert not commands.in_flight()


@pytest.mark.parametrize('order_at, position_at, side, bounds', [
    (2, 1, 'Buy', (10, 50)), (1, 2, 'Buy', (10, 10)), (2, 1, 'Sell', (-30, 10)), (1, 1, 'Sell', (10, 10))])
def test_what_traded_after_the_positions_time_stamp_is_not_in_it(order_at, position_at, side, bounds):
    watch = FillWatch()
    position = {'currentQty': 10, 'timestamp': stamp(position_at)}

    assert watch.bounds(position, [row('a', order_at, 60, 40, side=side)], nothing, 0.0) == bounds


def test_a_fill_is_counted_once():
    watch = FillWatch()
    order, position = row('a', 1, 60, 40), {'currentQty': 40, 'timestamp': stamp(1)}
    assert watch.bounds(position, [order], nothing, 0.0) == (40, 40)

    order.update(row('a', 2, 50, 50))

    assert watch.bounds(position, [order], nothing, 0.0) == (40, 50)
    assert watch.bounds({'currentQty': 50, 'timestamp': stamp(2)}, [order], nothing, 0.0) == (50, 50)


def test_an_order_that_left_the_tables_tells_by_its_last_state():
    watch = FillWatch()
    position = {'currentQty': 0, 'timestamp': stamp(1)}
    watch.bounds(position, [row('a', 1)], nothing, 0.0)

    done = row('a', 2, leaves=0, cum=100)
    assert watch.bounds(position, [], {'a': done}.get, 0.0) == (0, 100)
    assert watch.bounds({'currentQty': 100, 'timestamp': stamp(2)}, [], {'a': done}.get, 0.0) == (100, 100)


def test_an_order_that_may_have_filled_counts_as_filled_for_a_while():
    watch = FillWatch()
    position = {'currentQty': 0, 'timestamp': stamp(1)}
    watch.presume_filled(row('a', 1), until=5.0)

    assert watch.bounds(position, [], nothing, 4.0) == (0, 100)
    assert watch.bounds(position, [], nothing, 6.0) == (0, 0)
    assert watch.bounds(position, [], nothing, 4.0) == (0, 0)


def test_an_order_that_turned_out_to_be_cancelled_counts_no_more():
    watch = FillWatch()
    watch.presume_filled(row('a', 1), until=5.0)

    cancelled = row('a', 2, leaves=0, cum=0, ordStatus='Canceled')
    assert watch.bounds({'currentQty': 0, 'timestamp': stamp(1)}, [], {'a': cancelled}.get, 1.0) == (0, 0)


def test_an_end_that_the_tables_have_seen_is_settled_at_once():
    """A cancelled order is remembered only until the tables know of its end: then nothing is left to watch."""
    commands = Commands()
    commands.answered(row('a', 10, leaves=0), 0.0)
    assert commands.overlay([], nothing, 1.0) == [] and not commands.is_settled()
    assert commands.overlay([], lambda order_id: row('a', 10, leaves=0), 1.0) == [] and commands.is_settled()


def test_a_new_answer_does_not_grant_the_tables_more_time():
    """An order that is amended again and again is overdue when the first of these answers is; once the tables have
    caught up in between, the time begins anew."""
    commands = Commands()
    commands.answered(row('a', 1, price=50.0 + 1), 0.0)
    commands.answered(row('a', 2, price=50.0 + 2), 14.0)
    assert overdue(commands, [row('a', 0, price=50.0 + 0)], 15.1) == ['a']

    assert overdue(commands, [row('a', 2, price=50.0 + 2)], 15.2) == []
    commands.answered(row('a', 3, price=50.0 + 3), 16.0)
    assert overdue(commands, [row('a', 2, price=50.0 + 2)], 30.0) == []
    assert overdue(commands, [row('a', 2, price=50.0 + 2)], 31.1) == ['a']


def test_each_answer_of_an_order_has_its_own_time():
    """With a lag of three seconds and an amend every second the newest answer is never there; each one is in time."""
    commands = Commands()
    for second in range(40):
        commands.answered(row('a', second, price=50.0 + second), float(second))
        shown_by_now = max(0, second - 3)
        assert overdue(commands, [row('a', shown_by_now, price=50.0 + shown_by_now)], second + 0.9) == []


def test_an_order_that_ended_unseen_was_not_mirrored():
    """It was accepted, the table never showed it, and a cancel found it gone: that table is silent."""
    commands = Commands()
    commands.answered(row('a', 1), 0.0)
    commands.gone('a', 1.0)

    assert overdue(commands, [], 15.1) == ['a']
    assert overdue(commands, [], 15.1, finished=lambda order_id: row('a', 2, leaves=0)) == []


def test_what_the_exchange_does_not_know_may_not_stay_in_the_tables():
    commands = Commands()
    commands.gone('a', 0.0)
    commands.gone('b', 0.0)

    assert overdue(commands, [row('a', 1)], 15.1) == ['a']
    assert overdue(commands, [], 15.2) == []


def test_an_order_that_was_over_before_the_tables_began_needs_no_echo():
    commands = Commands()
    commands.answered(row('a', 1, leaves=0), 0.0, is_echoed=False)

    assert overdue(commands, [], 15.1) == []
