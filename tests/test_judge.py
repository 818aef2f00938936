"""The judge of a bot finds nothing in a clean run, and each planted breach of an invariant."""
import pytest

from judged import CONTRACT, KEY, OTHER, RULES, Run, a_clean_run, name
from market_maker.judge import money
from market_maker.judge.evidence import (BotFill, Books, Command, Contract, Process, Request, Summary, Trouble, Wanted)
from market_maker.judge.verdict import INVARIANTS, is_kept, judge

LETTERS = [letter for letter, _, _ in INVARIANTS]


def words(evidence, letter):
    """Return what the judge finds for one invariant, having seen that it finds nothing else."""
    findings = judge(evidence)
    others = [(one.letter, one.words) for one in findings if not one.is_kept and one.letter != letter]
    assert others == []
    return next(one.words for one in findings if one.letter == letter)


def test_a_clean_run_passes():
    """Creates, amends, fills, a lost reply and a reconnect in good order break nothing."""
    findings = judge(a_clean_run().evidence(summary=Summary(2, 100, 100, 0, 19910000)))

    assert [(one.letter, one.words) for one in findings] == [(letter, '') for letter in LETTERS]
    assert is_kept(findings)
    assert LETTERS == list('abcdefgh')


# (a)

@pytest.mark.parametrize('process, said', [
    (Process((99.0, 104.0), None, 0, 130.0, None, 130.5), 'started 2 times'),
    (Process((99.0,), 104.0, 1, None, None, 104.0), 'ended by itself at 4.00 s with exit code 1'),
    (Process((99.0,), None, 1, 130.0, None, 130.5), 'told to stop and ended with exit code 1'),
    (Process((), 104.0, 2, None, None, 104.0), 'never started'),
])
def test_another_process_is_seen(process, said):
    """(a) A restart, a death and a bad end are found, with the last request before them."""
    run = Run()
    run.open()
    run.create(1)
    run.cancel(name(1))

    evidence = run.evidence(process=process, wanted=[Wanted(99.5, 99.6, ((100.0, 100),), ())])

    assert said in words(evidence, 'a')


# (b)

def test_a_position_beyond_its_limit_is_seen():
    """(b) The fill that takes the position beyond the limit is found, with the request that made the order."""
    run = Run()
    run.open()
    run.want(buys=[(100.0, 300)])
    bid = run.create(1, size=300)
    run.fill(bid, 300, 100.0, -300000000, 150000)
    run.wallet = -150000

    said = words(run.evidence(rules=RULES._replace(highest=250)), 'b')

    assert '#1' in said and '300 can exceed 250' in said


def test_a_fill_beyond_the_limit_is_seen_by_itself():
    """(b) What a strategy sends past converge_orders counts for the position."""
    run = Run()
    run.open()
    for number in (1, 2, 3):
        bid = run.create(number, converged=False)
        run.fill(bid, 100, 100.0, -100000000, 50000)
    run.wallet = -150000

    said = words(run.evidence(), 'b')

    assert said.startswith('position 300 above its limit 200 by a fill of #3')


def test_bids_that_could_exceed_the_limit_are_seen():
    """(b) Position and working orders together keep to the limit, whether or not they fill."""
    run = Run()
    run.open()
    run.want(buys=[(100.0, 100), (99.0, 100)])
    bid = run.create(1)
    run.fill(bid, 100, 100.0, -100000000, 50000)
    run.wallet = -50000
    run.want(buys=[(100.0, 100), (99.0, 100)])
    run.create(2)
    run.create(3, price=99.0)
    run.cancel(name(2), name(3))

    said = words(run.evidence(), 'b')

    assert said.startswith('position 100 and bids of 200 can exceed 200, after #3')


def test_more_at_work_than_was_wanted_is_seen():
    """(b) An order too many is found although the limits allow it."""
    run = Run()
    run.open()
    run.want(sells=[(101.0, 100)])
    run.create(1, side='Sell', price=101.0)
    run.create(2, side='Sell', price=101.0)
    run.cancel(name(1), name(2))

    said = words(run.evidence(), 'b')

    assert said.startswith('200 contracts work on the Sell side, wanted were 100, after #2')


def test_an_amend_beyond_the_ladder_is_seen():
    """(b) An amend that makes an order larger than wanted is found; what was wanted at its sending counts too."""
    run = Run()
    run.open()
    run.want(buys=[(100.0, 100)])
    bid = run.create(1)
    run.amend(bid, orderQty=200)
    run.cancel(bid)

    assert 'wanted were 100, after #2' in words(run.evidence(), 'b')

    run = Run()
    run.open()
    run.want(buys=[(100.0, 100)])
    late = run.request('POST', '/order', clOrdID=name(1), side='Buy', orderQty=100, price=100.0)
    run.want(buys=[])
    run.names.add(name(1))
    run.commands.append(Command('create', name(1), '', 'done', 1.0))
    run.order(late, name(1), side='Buy', price=100.0, orderQty=100, leavesQty=100)
    run.reply(late, rows=[('id-' + name(1), name(1))])
    run.cancel(name(1))

    assert words(run.evidence(), 'b') == ''


def test_an_order_that_no_ladder_asked_for_is_seen():
    """(b) Where nothing was wanted yet, nothing may work."""
    run = Run()
    run.open()
    run.create(1)
    run.cancel(name(1))

    assert 'wanted were 0' in words(run.evidence(), 'b')


# (c)

def a_ladder():
    run = Run()
    run.open()
    run.want(buys=[(100.0, 1000)], sells=[(101.0, 1000)])
    return run


NO_LIMITS = RULES._replace(lowest=None, highest=None)


def test_an_order_that_the_ledger_lacks_is_seen():
    """(c) Every accepted order is in the ledger."""
    run = a_ladder()
    run.create(1)
    run.create(2, in_ledger=False)
    run.cancel(name(1), name(2))

    assert words(run.evidence(), 'c').startswith('the ledger does not have #2')


@pytest.mark.parametrize('state', ['absent', 'refused'])
def test_an_accepted_order_that_the_ledger_calls_absent_is_seen(state):
    """(c) What the ledger says became of an order is true."""
    run = a_ladder()
    run.create(1)
    run.cancel(name(1))
    run.commands[0] = run.commands[0]._replace(state=state)

    assert words(run.evidence(), 'c').startswith('the ledger has as {} what was accepted: #1'.format(state))


def test_an_order_that_never_was_is_seen():
    """(c) A create that the ledger calls done was accepted."""
    run = a_ladder()
    run.commands.append(Command('create', name(7), '', 'done', 1.0))

    assert 'never accepted: ' + name(7) in words(run.evidence(), 'c')


def test_a_command_that_stays_open_is_seen():
    """(c) Every command is resolved once its fate is certain, and only then has to be."""
    run = a_ladder()
    run.commands.append(Command('amend', name(1), '', 'unknown', 59.0))
    assert words(run.evidence(), 'c') == ''

    run.commands.append(Command('amend', name(1), '', 'sent', 63.0))
    assert 'still sent after 63.0 s' in words(run.evidence(), 'c')


@pytest.mark.parametrize('kind, state', [('create', 'unknown'), ('amend', 'sent'), ('cancel', 'sent')])
@pytest.mark.parametrize('reply', [{}, dict(status=400, text='Invalid ordStatus')])
def test_a_command_that_stays_open_although_it_was_answered_is_seen(kind, state, reply):
    """(c) What was clearly answered needs no time to become certain; what a lost answer or a stop cut off does."""
    for cut_off in ('', 'lost', 'stop', 'death'):
        run = a_ladder()
        run.create(1)
        verb, fields = {'create': ('POST', {'clOrdID': name(2)}), 'amend': ('PUT', {'orderID': 'id-' + name(1)}),
                        'cancel': ('DELETE', {'orderID': ['id-' + name(1)]})}[kind]
        run.reply(run.request(verb, '/order', **fields), **(dict(delivered=False) if cut_off == 'lost' else reply))
        moment = run.now if cut_off in ('stop', 'death') else run.now + 2.0
        if cut_off == 'lost' and kind == 'cancel':
            run.commands.append(Command(kind, '', 'id-' + name(1), state, 2.0))
            run.cancel(name(1))
            evidence = run.evidence()
        else:
            run.commands.append(Command(kind, name(2) if kind == 'create' else name(1),
                                        '' if kind == 'create' else 'id-' + name(1), state, 2.0))
            run.cancel(name(1))
            process = Process((99.0,), None, None, None, moment, moment) if cut_off == 'death' else (
                Process((99.0,), None, 0, moment, None, moment + 5.0))
            evidence = run.evidence(process=process)

        said = next(one.words for one in judge(evidence) if one.letter == 'c')

        assert (' is still {}, and was answered'.format(state) in said) == (cut_off == ''), (cut_off, said)


@pytest.mark.parametrize('reply', [
    dict(delivered=False), dict(status=502, text='Bad Gateway'), dict(status=0, delivered=False),
    dict(status=503, text='Service unavailable')])
def test_a_create_that_is_sent_again_in_doubt_is_seen(reply):
    """(c) After an answer that leaves the fate open, the order is looked up before anything else is sent for it."""
    for look in (False, True):
        run = a_ladder()
        first = run.request('POST', '/order', clOrdID=name(1), side='Buy', orderQty=100, price=100.0)
        run.reply(first, **reply)
        if look:
            run.reply(run.request('GET', '/order', filter='{}'), rows=[('id-' + name(1), name(1))])
        run.create(1)
        run.cancel(name(1))

        said = words(run.evidence(), 'c')

        assert said == '' if look else '#2' in said and 'nobody knew what became of #1' in said


@pytest.mark.parametrize('reply', [
    dict(status=503, text='The system is currently overloaded. Please try again later.'),
    dict(status=429, wait=0.001), dict(status=400, text='Duplicate clOrdID')])
def test_what_was_certainly_refused_may_be_sent_again(reply):
    """(c) An order that never reached the engine may be sent again under its name."""
    run = a_ladder()
    first = run.request('POST', '/order', clOrdID=name(1), side='Buy', orderQty=100, price=100.0)
    run.reply(first, **reply)
    run.create(1)
    run.cancel(name(1))

    assert words(run.evidence(), 'c') == ''


def test_a_name_that_is_used_twice_is_seen():
    """(c) No clOrdID names a second order."""
    run = a_ladder()
    run.create(1)
    run.cancel(name(1))
    run.create(1)
    run.cancel(name(1))

    assert 'used a name again that #1' in words(run.evidence(), 'c')


def test_two_commands_for_one_order_at_once_are_seen():
    """(c) At most one amend is under way for an order."""
    run = a_ladder()
    run.create(1)
    first = run.request('PUT', '/order', orderID='id-' + name(1), price=100.1)
    second = run.request('PUT', '/order', orderID='id-' + name(1), price=100.2)
    run.reply(first)
    run.reply(second)
    run.cancel(name(1))

    assert '#3' in words(run.evidence(), 'c') and 'while #2' in words(run.evidence(), 'c')


# (d)

def filled():
    run = a_ladder()
    bid = run.create(1)
    run.fill(bid, 100, 100.0, -100000000, 50000)
    run.wallet = -50000
    return run


def test_a_fill_that_was_not_booked_is_seen():
    """(d) Each execution of an own order is in the bot's account."""
    run = filled()
    run.fills.pop()

    assert words(run.evidence(), 'd').startswith('fill e1 (Buy 100 @ 100.0 of ' + name(1) + ') was never booked')


@pytest.mark.parametrize('fills, said', [
    ([BotFill('e1', 'Buy', 100, 100.0, 50000)] * 2, 'fill e1 was booked twice'),
    ([BotFill('e1', 'Sell', 100, 100.0, 50000)], 'fill e1 is booked as'),
    ([BotFill('e1', 'Buy', 100, 100.0, 49999)], 'fill e1 is booked as'),
    ([BotFill('e1', 'Buy', 100, 100.0, 50000), BotFill('e9', 'Buy', 100, 100.0, 0)], 'fill e9 was booked and never'),
])
def test_a_fill_that_was_booked_wrongly_is_seen(fills, said):
    """(d) Each once, as it was, and no other."""
    assert words(filled().evidence(fills=fills), 'd').startswith(said)


@pytest.mark.parametrize('summary', [
    Summary(2, 100, 0, 100, -50000), Summary(1, 200, 0, 100, -50000), Summary(1, 100, 100, 100, -50000),
    Summary(1, 100, 0, 0, -50000), Summary(1, 100, 0, 100, -49999)])
def test_closing_words_that_are_wrong_are_seen(summary):
    """(d) Fills, volume, position and result of the summary are those of the exchange, to the satoshi."""
    run = filled()

    assert words(run.evidence(summary=Summary(1, 100, 0, 100, -50000)), 'd') == ''
    assert words(run.evidence(summary=summary), 'd').startswith('the bot sums up')


@pytest.mark.parametrize('books', [Books(100, -50001), Books(0, -50000)])
def test_books_that_do_not_add_up_are_seen(books):
    """(d) The exchange's own position and wallet follow from its executions."""
    assert 'the executions add up' in words(filled().evidence(books=books), 'd')


@pytest.mark.parametrize('wrong', [{'execCost': -100000001}, {'execComm': 49999}])
def test_an_execution_with_wrong_money_is_seen(wrong):
    """(d) Cost and fee are worked out by the judge, not believed."""
    run = filled()
    run.events[-1].row.update(wrong)

    assert words(run.evidence(), 'd').startswith('execution e1: Buy 100 @ 100.0 cost -100000000 and 50000 in fees')


# (e)

def test_a_request_that_the_limits_refused_is_seen():
    """(e) A refusal by the real limits is the bot's fault; an injected one is not."""
    run = a_ladder()
    run.reply(run.request('GET', '/order'), status=429, wait=1.0, limited=True, charged=False)
    assert words(run.evidence(), 'e').startswith('the limits refused #1')

    run = a_ladder()
    run.reply(run.request('GET', '/order'), status=429, wait=1.0, charged=False)
    assert words(run.evidence(), 'e') == ''


@pytest.mark.parametrize('status, verb, is_late, expected', [
    (429, 'POST', False, True), (429, 'POST', True, False), (429, 'DELETE', False, False), (403, 'DELETE', False, True),
    (403, 'GET', True, False)])
def test_a_silence_that_is_broken_is_seen(status, verb, is_late, expected):
    """(e) After 429 nothing but cancels comes before its time, after 403 nothing at all."""
    run = a_ladder()
    run.reply(run.request('PUT', '/order', orderID='x', price=1.0), status=status, wait=3.0, charged=False)
    run.now += 3.1 if is_late else 1.0
    run.reply(run.request(verb, '/position'))

    said = words(run.evidence(), 'e')

    assert bool(said) == expected
    assert not said or 's after silence of 3.00 s was asked for' in said


def test_more_than_the_limits_allow_is_seen():
    """(e) The judge counts for himself: ten orders a second, a hundred and twenty requests a minute."""
    run = a_ladder()
    for number in range(12):
        run.events.append(Request(run.now, number + 1, KEY, 'PUT', '/order', {'orderID': 'x{}'.format(number)}))
        run.reply(number + 1)
        run.now -= 0.01
    assert 'one more than 10 in 1 s' in words(run.evidence(), 'e')

    run = a_ladder()
    for _ in range(125):
        run.reply(run.request('GET', '/position'))
        run.now -= 0.01
    assert '#12' in words(run.evidence(), 'e') and 'one more than 120 in 60 s' in words(run.evidence(), 'e')
    assert words(run.evidence(rules=RULES._replace(minute=None)), 'e') == ''


@pytest.mark.parametrize('words_of_it, gained', [
    ('other clock-skew offset=10.0,rate=1.0', 20), ('other clock-skew offset=-10.0,rate=1.0', 20),
    ('other clock-skew every=5.0,offset=10.0', 120), ('other lag delay=4.0', 0)])
@pytest.mark.parametrize('more', [0, 2])
def test_a_clock_that_jumps_gains_what_it_jumped_over(words_of_it, gained, more):
    """(e) The exchange's buckets are refilled by its own clock: ten seconds are worth twenty requests a minute, and not
    one more; where the jumps are not known, the bucket may be full."""
    run = a_ladder()

    def ask(times):
        for _ in range(times):
            run.reply(run.request('GET', '/position'))
            run.now -= 0.01
    ask(119)
    began = run.now = run.now + 0.001
    ask(1)                                    # the exchange looks at its clock
    run.now += 0.001
    run.troubles.append(Trouble(began, run.now, words_of_it))
    if '-10' not in words_of_it and 'every' not in words_of_it:
        run.now -= 0.0005                     # still under way
    ask(gained + more)

    assert bool(words(run.evidence(), 'e')) == (more > 0)


# (f)

def quiet(run, seconds, session='s', leave_out=()):
    """Let time pass in which some tables are silent."""
    for _ in range(int(seconds)):
        run.now += 1.0
        for table in ('instrument', 'quote', 'trade'):
            if table not in leave_out:
                run.frame(table, session=session, touch=None if table == 'trade' else (run.now, run.now + 1))


def test_an_order_without_a_connection_is_seen():
    """(f) Nothing is created between a cut socket and the last new image."""
    run = a_ladder()
    run.close()
    run.now += 1.0
    run.create(1)
    run.now += 1.0
    run.open('s2')
    run.cancel(name(1))

    assert '#1' in words(run.evidence(), 'f') and 'after no connection' in words(run.evidence(), 'f')


def test_an_order_before_the_last_image_is_seen():
    """(f) A socket without the image of one table is no feed yet."""
    run = a_ladder()
    run.close()
    run.open('s2', images=('instrument', 'quote', 'order', 'execution', 'margin'))
    run.now += 1.0
    run.create(1)
    run.frame('position', 'partial', session='s2')
    run.cancel(name(1))

    assert '#1' in words(run.evidence(), 'f')


@pytest.mark.parametrize('silent, seconds, said', [
    (('instrument', 'quote', 'trade'), 13, 'silence of the socket'),
    (('instrument',), 18, 'silence about the instrument'),
    (('quote',), 20, 'quote and instrument disagree')])
def test_an_order_on_silent_data_is_seen(silent, seconds, said):
    """(f) A silent socket, a silent instrument, and a silent quote beside a moving instrument are stale data."""
    run = a_ladder()
    quiet(run, 3)
    quiet(run, seconds, leave_out=silent)
    run.create(1)
    run.cancel(name(1))
    assert said in words(run.evidence(), 'f')

    run = a_ladder()
    quiet(run, 3)
    quiet(run, 8, leave_out=silent)
    run.create(1)
    run.cancel(name(1))
    assert words(run.evidence(), 'f') == ''


def test_an_order_while_an_echo_is_missing_is_seen():
    """(f) A command that was accepted and that the order table does not show in time makes the data stale."""
    run = a_ladder()
    accepted = run.request('PUT', '/order', orderID='id-x', price=100.0)
    run.reply(accepted, rows=[('id-x', 'x')])
    run.pass_(17.0)
    run.create(1)
    run.frame('order', ids=['id-x'])
    run.cancel(name(1))

    assert 'silence about PUT id-x' in words(run.evidence(), 'f')


def test_an_order_that_stays_in_the_book_on_stale_data_is_seen():
    """(f) Quotes are taken back; that the exchange takes no cancels is no fault of the bot's."""
    for troubled in (False, True):
        run = a_ladder()
        bid = run.create(1)
        run.close()
        run.now += 1.0
        if troubled:
            run.reply(run.request('DELETE', '/order', orderID=['id-' + bid]), status=502, text='Bad Gateway')
        run.now += 7.0
        run.open('s2')
        run.cancel(bid)

        said = words(run.evidence(), 'f')

        assert said == '' if troubled else 'still rested' in said and '#1' in said


def test_what_only_reduces_is_no_quote():
    """(f) A reduce-only order may be sent at any time."""
    run = a_ladder()
    run.close()
    run.now += 1.0
    run.reply(run.request('POST', '/order', clOrdID='flat', side='Sell', execInst='Close'))
    run.open('s2')

    assert words(run.evidence(), 'f') == ''


# (g)

def test_an_order_that_is_left_after_a_stop_is_seen():
    """(g) None rests once the process is gone."""
    run = a_ladder()
    run.create(1)

    assert words(run.evidence(), 'g').endswith('rested after the bot had stopped; it came with #1 at 0.02 s: POST '
                                               '/order clOrdID={} orderQty=100 price=100.0 side=Buy'.format(name(1)))


def killed(run, armed):
    if armed:
        run.reply(run.request('POST', '/order/cancelAllAfter', timeout=3000))
    run.create(1)
    process = Process((99.0,), None, -9, None, run.now, run.now)
    run.now += 5.0
    return run, process


def test_an_order_that_outlives_the_switch_is_seen():
    """(g) After SIGKILL nothing rests once the armed switch is over; without a switch nothing is promised."""
    run, process = killed(a_ladder(), armed=True)
    assert "rested after the dead man's switch" in words(run.evidence(process=process), 'g')

    run, process = killed(a_ladder(), armed=False)
    assert words(run.evidence(process=process), 'g') == ''

    run, process = killed(a_ladder(), armed=True)
    run.now -= 2.5
    run.order(None, name(1), ordStatus='Canceled', leavesQty=0, text='Canceled: Cancel All After')
    assert words(run.evidence(process=process), 'g') == ''


def cycles(run, count, buys):
    for _ in range(count):
        run.want(buys=buys)
        run.pass_(1.0)


def test_an_order_that_is_off_the_ladder_is_seen():
    """(g) Two whole cycles put every order where it is wanted."""
    run = a_ladder()
    run.create(1)
    cycles(run, 4, [(98.0, 100)])
    run.cancel(name(1))

    said = words(run.evidence(), 'g')

    assert 'is in no ladder of the last 2 cycles; it came with #1' in said


def test_an_order_too_many_is_seen():
    """(g) Two orders where one is wanted are found, although their prices are wanted."""
    run = a_ladder()
    run.want(buys=[(100.0, 100), (100.0, 100)])
    run.create(1)
    run.create(2)
    cycles(run, 4, [(100.0, 200)])
    run.cancel(name(1), name(2))

    assert '2 orders rest on the Buy side' in words(run.evidence(), 'g')


def test_trouble_excuses_until_it_ends():
    """(g) While a fault lasts nothing is asked for, and two cycles after its end everything."""
    for seconds, expected in ((60.0, False), (2.0, True)):
        run = a_ladder()
        run.create(1)
        run.troubles.append(Trouble(run.now, run.now + seconds, 'rest: every amend is refused'))
        cycles(run, 8, [(98.0, 100)])
        run.cancel(name(1))

        assert bool(words(run.evidence(), 'g')) == expected


@pytest.mark.parametrize('verb', ['POST', 'PUT'])
def test_an_order_of_unknown_fate_excuses_itself_alone(verb):
    """(g) Until its fate is certain it may rest where nobody wants it; the order beside it may not."""
    for doubtful, expected in ((1, False), (2, True)):
        run = a_ladder()
        run.want(buys=[(100.0, 100), (98.0, 100)])
        run.create(1)
        run.create(3, price=98.0)
        request = run.request(verb, '/order', **(
            {'clOrdID': name(doubtful)} if verb == 'POST' else {'orderID': 'id-' + name(doubtful)}))
        run.own.add(name(doubtful))
        run.reply(request, delivered=False)
        if verb == 'POST':
            run.commands.append(Command('create', name(doubtful), '', 'unknown', 10.0))
        cycles(run, 6, [(98.0, 100)])
        run.cancel(name(1), name(3))

        said = next(one.words for one in judge(run.evidence()) if one.letter == 'g')

        assert bool(said) == expected
        assert not expected or 'is in no ladder' in said and name(1) in said


def test_a_bot_that_hangs_is_seen():
    """(g) Without anything in its way the bot goes on with its cycles."""
    run = a_ladder()
    run.pass_(70.0)
    run.want()

    assert 'no cycle from' in words(run.evidence(), 'g')


# (h)

@pytest.mark.parametrize('verb, path, field', [('DELETE', '/order', 'orderID'), ('PUT', '/order', 'orderID'),
                                               ('DELETE', '/order', 'clOrdID')])
def test_a_foreign_order_that_is_named_is_seen(verb, path, field):
    """(h) Naming somebody else's order is an offence, also where it comes to nothing."""
    run = a_ladder()
    run.foreign()
    value = 'by-hand' if field == 'clOrdID' else 'id-by-hand'
    run.reply(run.request(verb, path, **{field: [value] if verb == 'DELETE' else value}), status=400)

    assert 'by-hand of somebody else was named by #1' in words(run.evidence(), 'h')


def test_a_foreign_order_that_is_swept_away_is_seen():
    """(h) Neither DELETE /order/all nor the dead man's switch may take it."""
    run = a_ladder()
    run.foreign()
    sweep = run.request('DELETE', '/order/all')
    run.order(sweep, 'by-hand', ordStatus='Canceled', leavesQty=0)
    run.reply(sweep)
    assert 'by-hand of somebody else was ended by #1' in words(run.evidence(), 'h')

    run = a_ladder()
    run.foreign()
    run.order(None, 'by-hand', ordStatus='Canceled', leavesQty=0, text='Canceled: Cancel All After')
    assert "was ended by the dead man's switch" in words(run.evidence(), 'h')


def test_another_bot_may_have_a_prefix_that_begins_alike():
    """(h) Orders of a bot whose prefix only begins like ours are foreign; what their owner does is his business."""
    run = a_ladder()
    theirs = 'mm_2_' + 'A' * 22
    run.foreign(theirs)
    run.order(run.request('DELETE', '/order', key=OTHER, clOrdID=[theirs]), theirs, ordStatus='Canceled', leavesQty=0)
    assert words(run.evidence(), 'h') == ''

    run.foreign('mm_2_' + 'B' * 22)
    run.order(run.request('DELETE', '/order', clOrdID=['mm_2_' + 'B' * 22]), 'mm_2_' + 'B' * 22, ordStatus='Canceled')
    assert 'was named by' in words(run.evidence(), 'h')


def test_trading_with_a_foreign_order_is_no_touch():
    """(h) That the bot's order meets a foreign one in the book is the market's doing."""
    run = a_ladder()
    run.foreign(side='Sell', price=101.0)
    bid = run.request('POST', '/order', clOrdID=name(1), side='Buy', orderQty=100, price=101.0)
    run.order(bid, 'by-hand', ordStatus='Filled', leavesQty=0, cumQty=100)
    run.reply(bid, status=400)

    assert words(run.evidence(), 'h') == ''


# Money

@pytest.mark.parametrize('contract, side, size, price, cost', [
    (CONTRACT, 'Buy', 40000, 112826.6, -35452800),      # 88,632 satoshi a lot
    (CONTRACT, 'Sell', 100, 60000.0, 166667),
    (Contract('XBTUSDT', 'linear', 1, 100, 0.1), 'Buy', 200, 78184.5, 15636900),
    (Contract('ETHUSD', 'quanto', 100, 1, 0.01), 'Sell', 3, 2302.03, -690609),
])
def test_cost_is_that_of_whole_lots(contract, side, size, price, cost):
    """The value of a lot is rounded, halves up, and multiplied; buying an inverse contract counts negative."""
    assert money.cost(contract, side, size, price) == cost


def test_an_account_is_exact():
    """What leaves a position takes its share of the cost along; a turn closes first and opens then."""
    account = money.Account()
    account.trade(300, -300001, 5)
    account.trade(-100, 120000, 5)
    assert (account.quantity, account.cost, account.realised) == (200, -200001, -20000)

    account.trade(-400, 440000, -3)
    assert (account.quantity, account.cost, account.realised) == (-200, 220000, -20000 + 200001 - 220000)
    assert account.result == account.realised - 7


def test_fees_and_rebates_are_cut_off():
    """127,944 satoshi at 0.0005 are 63.972; at -0.0001 they are -12.7944."""
    assert [money.fee(CONTRACT, 100, 78159.5, rate) for rate in (0.0005, -0.0001, 0)] == [63, -12, 0]
