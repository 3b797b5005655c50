"""A worker of Ansible, its link to the broker process and what runs its modules, with a real ansible-core."""

import support
from hosts import lab

# A task's time runs out as Ansible has it: an alarm, whose handler raises no Exception up to 2.18.
LATE = '''
import signal, socket, sys
sys.path.insert(0, %r)
from mitogen.ansible import attach, connection, wire

class Late(BaseException):
    pass

class Connection(connection.Connection):
    transport = 'test'

def late(*signal_and_frame):
    raise Late()

ours, theirs = socket.socketpair()
plugin = Connection.__new__(Connection)
plugin._link, plugin._failure, plugin._login = attach.Link(ours), None, {}
signal.signal(signal.SIGALRM, late)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    plugin._ask({'op': 'exec', 'data': bytes(8 << 20)})     # nobody reads it
except Late:
    print('late', plugin._link)
try:
    wire.receive(theirs)
except wire.Closed as exc:
    print('closed:', exc)
'''


def test_a_request_that_the_end_of_a_task_cuts_in_half(programs):
    """Nothing more comes over that link: what did would be taken for the rest of it."""
    done = lab.run([programs / 'python', '-c', LATE % str(support.checkout())])
    assert done.stdout == 'late None\nclosed: it has closed the connection\n'


KILLED = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: first, ping: }
    - {name: kill, raw: "kill -9 $(cat /proc/$PPID/task/*/children | tr ' ' '\\n' | grep -vx $$ | head -1)"}
    - {name: lost, ping: , ignore_unreachable: true}
    - {name: next, ping: }
"""


def test_a_killed_template_costs_one_task(ansible, python):
    """The next one, which comes at once, has an interpreter of its own already."""
    inventory = ansible.inventory({'target': {}}, ansible_python_interpreter=python)
    status, output, results = ansible.play('mitogen.ansible.local', KILLED, inventory)
    assert status == 0, output
    found = {task: result for _, task, _, result in results}
    assert 'forks of has ended, with status -9' in found['lost']['msg'] and found['next']['ping'] == 'pong'
