"""`marketmaker chaos`: what it prints, what it refuses, and that its verdict depends on the bot."""
import json
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip('aiohttp', reason='the local exchange needs the testnet extra')

from bot import until  # noqa: E402
from trials import project  # noqa: E402

from market_maker.commands import chaos, trial  # noqa: E402
from market_maker.judge.evidence import Finding  # noqa: E402
from market_maker.judge.verdict import judge  # noqa: E402
from market_maker.server.faults import PROFILES  # noqa: E402

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Strategies that break a promise each, and the promise.
WICKED = {
    # It takes the bot's own cancels away from it, so orders pile up where they are not wanted.
    'g': """
class Wicked(OrderManager):
    passes = 0

    def place_orders(self):
        self.passes += 1
        self.exchange.cancel_orders = lambda orders: orders
        self.exchange.pull = lambda orders: None
        self.exchange.amend_orders = lambda orders: []
        OrderManager.place_orders(self)

    def get_price_offset(self, index):
        price = OrderManager.get_price_offset(self, index) * (1 + 0.001 * self.passes * (1 if index > 0 else -1))
        return self.exchange.get_instrument()['tickSize'] * round(price / self.exchange.get_instrument()['tickSize'])
""",
    # It sends orders past converge_orders until the position is beyond its limit.
    'b': """
class Wicked(OrderManager):
    def place_orders(self):
        settings.CHECK_POSITION_LIMITS = False
        self.exchange.create_orders([{'side': 'Buy', 'orderQty': 500, 'ordType': 'Market'}])
        settings.CHECK_POSITION_LIMITS = True
        OrderManager.place_orders(self)
""",
    # It cancels all orders of the account.
    'h': """
class Wicked(OrderManager):
    def place_orders(self):
        OrderManager.place_orders(self)
        self.exchange.bitmex._curl_bitmex('order/all', postdict={}, verb='DELETE')
""",
    # It ends by itself.
    'a': """
class Wicked(OrderManager):
    passes = 0

    def place_orders(self):
        OrderManager.place_orders(self)
        self.passes += 1
        if self.passes > 5:
            self.exit()
""",
    # It asks for its position until it has used up the limits, and then goes on asking past the bot's own count.
    'e': """
class Wicked(OrderManager):
    def place_orders(self):
        OrderManager.place_orders(self)
        client = self.exchange.bitmex._client
        client.take_turn = lambda *arguments: None
        for _ in range(200):
            try:
                self.exchange.bitmex._curl_bitmex('position', max_retries=0)
            except Exception as error:
                logger.info('%s', error)
""",
}


def run(folder, *words, **options):
    """Run the command in a folder; return the CompletedProcess."""
    environment = dict(os.environ, PYTHONPATH=CHECKOUT)
    return subprocess.run([sys.executable, '-m', 'market_maker', 'chaos'] + list(words), cwd=str(folder),
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          timeout=options.get('timeout', 120))


@pytest.mark.slow
def test_a_short_run_of_everything_passes(tmp_path):
    """The default strategy under all survivable faults for some seconds: eight promises kept, exit code 0."""
    kept = tmp_path / 'kept'

    ended = run(project(tmp_path), '--seed', '12', '--seconds', '5', '--keep', str(kept))

    assert ended.returncode == 0, ended.stdout
    lines = ended.stdout.splitlines()
    assert lines[0].startswith('Seed 12, profile survivable, 5 s, kept in ')
    assert [line.split()[0] for line in lines[1:9]] == ['({})'.format(letter) for letter in 'abcdefgh']
    assert all(line.endswith(' pass') for line in lines[1:9])
    assert 'calls of converge_orders' in lines[9]
    assert sorted(os.listdir(str(kept / 'seed-12'))) == ['bot.log', 'diary.jsonl', 'exchange.jsonl', 'state']
    assert os.listdir(str(tmp_path / 'project')) == ['settings.py']


@pytest.mark.slow
@pytest.mark.parametrize('letter', [letter if letter == 'h' else pytest.param(letter, marks=pytest.mark.soak)
                                    for letter in sorted(WICKED)])
def test_a_bot_that_breaks_a_promise_fails(tmp_path, letter):
    """The verdict is about the bot: a strategy that breaks a promise on a good day is found out, by that promise."""
    path = project(tmp_path)
    with open(os.path.join(path, 'wicked.py'), 'w') as file:
        file.write('from market_maker.market_maker import OrderManager, logger, settings\n\n' + WICKED[letter])
    plan = trial.a_plan('XBTUSD', seed=2, words=('--strategy', 'wicked.py'), by_hand=True)

    with trial.Trial(plan, str(tmp_path), path) as one:
        one.start()
        one.go_on(2.0)
        one.end()
        findings = judge(one.evidence())

    words = {finding.letter: finding.words for finding in findings}
    assert words[letter], words


@pytest.mark.slow
@pytest.mark.parametrize('ending', [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_the_bot_ends_with_the_command(tmp_path, ending):
    """Ctrl-C and SIGTERM leave no bot behind, and no files."""
    kept = tmp_path / 'kept'
    command = subprocess.Popen([sys.executable, '-m', 'market_maker', 'chaos', '--seed', '1', '--keep', str(kept)],
                               cwd=project(tmp_path), env=dict(os.environ, PYTHONPATH=CHECKOUT),
                               preexec_fn=hear_interrupts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               universal_newlines=True)
    diary = str(kept / 'seed-1' / 'diary.jsonl')
    until(lambda: os.path.exists(diary) and open(diary).read().endswith('\n'), 30, 'the bot did not start')
    with open(diary) as file:
        pid = json.loads(file.readline())['pid']

    command.send_signal(ending)

    assert command.wait(30) == 1
    assert 'interrupted' in command.communicate()[0]
    until(lambda: not is_running(pid), 10, 'the bot outlived the command')


def hear_interrupts():
    """Undo what a shell does to the jobs that it runs in the background, and what they hand on to their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_running(pid):
    """Tell whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_profiles_are_listed(tmp_path):
    """Each profile with what it is about, and the one without faults."""
    ended = run(tmp_path, '--list')

    assert ended.returncode == 0
    assert [line.split()[0] for line in ended.stdout.splitlines()] == list(PROFILES) + ['none']


@pytest.mark.parametrize('words, said', [
    (('--profile', 'rain'), '--profile rain: there is no such profile; there are overload,'),
    (('--seconds', '1'), '--seconds 1: 5 are the least'),
    (('--strategy', 'nothing.py'), '--strategy nothing.py: there is no such file'),
])
def test_what_cannot_be_run_is_refused_at_the_door(tmp_path, words, said):
    """Exit code 2 and one line, before anything is started."""
    ended = run(tmp_path, *words)

    assert ended.returncode == 2
    assert 'marketmaker: ' + said in ended.stdout


def test_a_folder_that_is_there_is_not_written_into(tmp_path):
    """--keep makes a folder for each seed, and overwrites none."""
    (tmp_path / 'kept' / 'seed-5').mkdir(parents=True)

    ended = run(tmp_path, '--keep', 'kept', '--seed', '5')

    assert ended.returncode == 2 and 'is there already; name a new folder' in ended.stdout


def test_the_table_shows_an_offence_below_its_promise():
    """A line for each invariant, and what happened at all."""
    findings = [Finding('a', 'one process', True, ''), Finding('b', 'position', False, 'too much, after #3')]
    figures = {'faults': 1, 'sockets': 2, 'requests': 3, 'fills': 4, 'cycles': 5}

    lines = chaos.table(trial.Outcome(findings, None, figures))

    assert [' '.join(line.split()) for line in lines] == [
        '(a) one process pass', '(b) position FAIL', 'too much, after #3',
        '1 faults, 2 connections, 3 requests, 4 fills, 5 calls of converge_orders']
