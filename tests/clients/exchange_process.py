"""A local exchange in a process of its own, as a user starts it."""
import os
import re
import signal
import subprocess
import sys
import tempfile

import requests

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

KEY, SECRET = 'a-client-that-others-wrote', 'its-secret'
OTHER_KEY, OTHER_SECRET = 'the-other-side', 'another-secret'
FEES = '-0.0001,0.0005'   # a rebate for makers: ccxt tells makers from takers by the sign of the fee


class Exchange:
    """A running ``marketmaker testnet``: where it is, and who has an account there."""

    def __init__(self, process, log, base, token):
        self.process = process
        self.log = log                               # the file that it logs to
        self._token = token                          # of the control interface
        self.base = base                             # http://host:port
        self.url = base + '/api/v1/'
        self.ws_url = 'ws' + base[len('http'):] + '/realtime'
        self.key, self.secret = KEY, SECRET
        self.other = (OTHER_KEY, OTHER_SECRET)


    def control(self, verb, path, **body):
        """Ask for what no trader can do; return the answer."""
        answer = requests.request(verb, '{}/local-exchange/control/{}'.format(self.base, path), json=body or None,
                                  headers={'Authorization': 'Bearer ' + self._token}, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()


def start(*words):
    """Return an Exchange of ``marketmaker testnet WORDS`` on a free port."""
    # Every fill is a line in its log: a pipe that nobody reads would be full one day, and the exchange would wait.
    log = tempfile.TemporaryFile(mode='w+')
    process = subprocess.Popen(
        [sys.executable, '-m', 'market_maker', 'testnet', '--port', '0', '--control', '--fees=' + FEES,
         '--account', KEY + ':' + SECRET, '--account', OTHER_KEY + ':' + OTHER_SECRET] + list(words),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=log, universal_newlines=True)
    said = []
    while not said or 'Ctrl-C ends it.' not in said[-1]:
        said.append(process.stdout.readline())
        assert said[-1], 'marketmaker testnet ended: ' + ''.join(said)
    base = re.search(r'Local exchange at (http://\S+)/api/v1/', ''.join(said)).group(1)
    return Exchange(process, log, base, re.search(r'Bearer (\w+)', ''.join(said)).group(1))


def stop(exchange):
    """End the exchange; whatever it complained about fails the tests that used it."""
    exchange.process.send_signal(signal.SIGINT)
    said = exchange.process.communicate(timeout=20)[0]
    with exchange.log as log:
        log.seek(0)
        complaints = [line for line in log if ' - INFO - ' not in line]
    assert said == 'The local exchange has ended.\n' and complaints == [], said + ''.join(complaints)
