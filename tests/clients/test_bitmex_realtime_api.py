"""BitMEX's own Node client, bitmex-realtime-api, in a process that answers what it knows (realtime.js)."""
import json
import os
import shutil
import subprocess
import time

import pytest
from exchange_process import HERE
from local_client import Client

MODULES = os.environ.get('CLIENT_NODE_MODULES') or ''
TURN = 0.2   # seconds between two decisions of the account that trades

if not shutil.which('node'):
    pytest.skip('node is not on this machine', allow_module_level=True)
if not os.path.isdir(os.path.join(MODULES, 'bitmex-realtime-api')):
    pytest.skip('npm has not installed bitmex-realtime-api: `make test-clients` does where npm is', True)


class Node:
    """The client's process."""

    def __init__(self, exchange, *key):
        self.process = subprocess.Popen(
            ['node', os.path.join(HERE, 'realtime.js'), exchange.ws_url, exchange.base + '/api/v1'] + list(key),
            env=dict(os.environ, NODE_PATH=MODULES), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            universal_newlines=True)

    def know(self):
        """Return what the client knows now."""
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def settled(self, condition, timeout=20):
        """Return whether the condition on what it knows came true."""
        deadline = time.time() + timeout
        while not condition(self.know()) and time.time() < deadline:
            time.sleep(0.05)
        return condition(self.know())

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def follow():
    """Start clients that are ended at the end."""
    made = []

    def start(exchange, *key):
        made.append(Node(exchange, *key))
        return made[-1]
    yield start
    for node in made:
        node.close()


def test_every_public_table_without_a_key(still, follow):
    node = follow(still)

    assert node.settled(lambda said: set(said['calls']) >= set((said.get('streams') or {'public': ['?']})['public']))
    said = node.know()
    assert said['errors'] == [] and said['tables']['instrument'][0]['symbol'] == 'XBTUSD'
    assert said['tables']['settlement'] == [] == said['tables']['liquidation']


def test_every_table_and_every_fill(lively, follow, seconds):
    """With a key the client follows every table that the help names, without an error, while the account trades."""
    plain = Client(lively)
    node = follow(lively, lively.key, lively.secret)
    assert node.settled(lambda said: set(said['calls']) >= set((said.get('streams') or {'all': ['?']})['all']))

    end, turn = time.time() + seconds, 0
    while time.time() < end or turn < 10:
        touch = node.know()['tables']['orderBook10'][0]
        plain.place(symbol='XBTUSD', side='Buy', orderQty=100, price=touch['bids'][0][0], clOrdID='n{}'.format(turn))
        plain.place(symbol='XBTUSD', side='Sell', orderQty=100, price=touch['asks'][0][0])
        if turn % 5 == 0:
            plain.place(symbol='XBTUSD', side='Buy' if turn % 2 else 'Sell', orderQty=100, ordType='Market')
            plain.send('DELETE', '/order/all', {})
        turn += 1
        time.sleep(TURN)
    plain.send('DELETE', '/order/all', {})

    filled = plain.get('/execution/tradeHistory?symbol=XBTUSD&count=500&reverse=true')   # funding, too
    assert len(filled) > 1
    assert node.settled(lambda said: set(said['executions']) >= {row['execID'] for row in filled})
    position = [row['currentQty'] for row in plain.get('/position') if row['symbol'] == 'XBTUSD']
    assert node.settled(lambda said: [row['currentQty'] for row in said['tables']['position']] == position)
    assert node.settled(lambda said: not [row for row in said['tables']['order'] if row['leavesQty']])
    assert node.know()['errors'] == []
