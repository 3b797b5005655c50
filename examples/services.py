"""A service in a child: called while the child's main thread is busy, and by another child."""

import threading

import mitogen.core
import mitogen.service
import mitogen.utils

finished = threading.Event()


class Counter(mitogen.service.Service):
    """Counts words for everybody; only parents may close it."""

    def __init__(self, router):
        mitogen.service.Service.__init__(self, router)
        self.words = {}

    @mitogen.service.expose(mitogen.service.AllowAny())
    @mitogen.service.arg_spec({'text': str})
    def add(self, text):
        for word in text.split():
            self.words[word] = self.words.get(word, 0) + 1
        return len(self.words)

    @mitogen.service.expose(mitogen.service.AllowParents())
    def close(self):
        finished.set()
        return self.words


def work_until_closed():
    """Keeps the main thread busy."""
    finished.wait()
    return 'closed'


def add_from(context, text):
    return context.call_service(Counter, 'add', text=text)


def close_from(context):
    context.call_service(Counter, 'close')


@mitogen.utils.with_router
def main(router):
    counting, other = router.local(), router.local()
    print('different words:', counting.call_service(Counter, 'add', text='to be or not to be'))
    busy = counting.call_async(work_until_closed)
    print('from a sibling: ', other.call(add_from, counting, 'that is the question'))
    try:
        other.call(close_from, counting)
    except mitogen.core.CallError as exc:
        print('refused:        ', exc.message.split(' may ')[1])
    print('words:          ', counting.call_service(Counter, 'close'))
    print('main thread:    ', busy.get().unpickle())


if __name__ == '__main__':
    main()
