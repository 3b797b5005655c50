"""Services for tests, and functions that call them from elsewhere."""

import os
import threading
import time

import mitogen.core
import mitogen.service


class Desk(mitogen.service.Service):
    """Offers a little of everything."""

    def __init__(self, router):
        mitogen.service.Service.__init__(self, router)
        self.runs = []
        self.door = threading.Event()

    @mitogen.service.expose(mitogen.service.AllowAny())
    @mitogen.service.arg_spec({'number': int})
    def double(self, number):
        return number * 2, os.getpid()

    @mitogen.service.expose(mitogen.service.AllowParents())
    def secret(self):
        return 'for parents'

    @mitogen.service.expose(mitogen.service.AllowAny())
    def fail(self):
        raise ValueError('not today')

    @mitogen.service.expose(mitogen.service.AllowAny())
    def unsendable(self):
        return threading.Lock()

    @mitogen.service.no_reply()
    @mitogen.service.expose(mitogen.service.AllowAny())
    def note(self, what):
        self.runs.append(what)

    @mitogen.service.expose(mitogen.service.AllowAny())
    def notes(self):
        return self.runs

    @mitogen.service.expose(mitogen.service.AllowAny())
    def caller(self, msg):
        return msg.src_id

    @mitogen.service.expose(mitogen.service.AllowAny())
    def wait(self):
        return self.door.wait(30)

    @mitogen.service.expose(mitogen.service.AllowAny())
    def open(self):
        self.door.set()

    def hidden(self):
        return 'never'


class _Counting(mitogen.service.Service):
    def __init__(self, router):
        mitogen.service.Service.__init__(self, router)
        self.now = self.most = self.runs = 0
        self.order = []

    @mitogen.service.expose(mitogen.service.AllowAny())
    def run(self, number):
        self.now += 1
        self.most = max(self.most, self.now)
        self.runs += 1
        self.order.append(number)
        time.sleep(0.02)        # long enough for another thread to come in, if one may
        self.now -= 1
        return number

    @mitogen.service.expose(mitogen.service.AllowAny())
    def report(self):
        return self.most, self.runs, self.order


class Serial(_Counting):
    invoker_class = mitogen.service.SerializedInvoker


class Shared(_Counting):
    invoker_class = mitogen.service.DeduplicatingInvoker


class SharedToo(Shared):
    """Inherits how it is called."""


def busy_until(event_file):
    while not os.path.exists(event_file):
        time.sleep(0.01)
    return 'done'


@mitogen.core.takes_router
def call_service_of(context, service, method, kwargs, router):
    return context.call_service(service, method, **kwargs)
