"""A tree of seven contexts, joined in memory, for tests of routing and authority."""

import itertools

import pytest

import mitogen.testing
from mitogen.core import ChannelError, Message, Receiver

#: A handle that is free in every context.
MAILBOX = 500

#: Name -> name of the parent. Every kind of relation occurs: grandparent, sibling, uncle, cousin.
PARENTS = {'web': 'master', 'db': 'master', 'app': 'web', 'cache': 'web', 'disk': 'db', 'job': 'app'}

NAMES = ['master', *PARENTS]

PAIRS = list(itertools.product(NAMES, NAMES))


def above(name):
    """Names of the contexts above one, nearest first."""
    found = []
    while name in PARENTS:
        name = PARENTS[name]
        found.append(name)
    return found


def below(name):
    """Names of the contexts below one."""
    return [other for other in NAMES if name in above(other)]


def related(one, other):
    """Whether one is above the other, or they are the same."""
    return one == other or one in above(other) or other in above(one)


class Seven(mitogen.testing.Tree):
    """The tree; its nodes are attributes."""

    def __init__(self, unidirectional_below=None, **kwargs):
        mitogen.testing.Tree.__init__(self, **kwargs)
        for name, parent in PARENTS.items():
            unidirectional = True if name == unidirectional_below else None
            setattr(self, name, self.add(self[parent], name, unidirectional))

    def __getitem__(self, name):
        return getattr(self, name)


def listen(node, **kwargs):
    return Receiver(node.router, MAILBOX, **kwargs)


def taken(receiver):
    """Values of all messages that have arrived."""
    return [receiver.get(block=False).unpickle() for _ in range(receiver.size())]


def why(receiver):
    """Reason of the one dead message that has arrived."""
    assert receiver.size() == 1, 'nobody has answered'
    with pytest.raises(ChannelError) as caught:
        receiver.get(block=False)
    return str(caught.value)


def ask(node, other, handle=MAILBOX, **kwargs):
    """Have a context ask another; return the receiver of the answer. A leaf grows by this."""
    return node.context_of(other).send_async(Message.pickled('question', handle=handle, **kwargs))
