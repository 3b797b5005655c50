"""Start many children from one coroutine group, call each, and take what the first of them sends as it comes.

usage: gather.py [number of children]; default 20.
"""

import asyncio
import os
import sys

from mitogen import aio
from mitogen.core import Receiver


def square(number):
    return number * number


def count(sender, last):
    for number in range(last):
        sender.send(number)
    sender.close()


async def one(router, number):
    context = await aio.connect(router.fork)
    return context, await aio.call(context, square, number)


async def main():
    number = int(sys.argv[1]) if sys.argv[1:] else 20
    async with aio.router() as router:
        found = await asyncio.gather(*(one(router, n) for n in range(number)))
        contexts = [context for context, _ in found]
        print('squares:', sum(result for _, result in found))

        receiver = Receiver(router)
        contexts[0].call_no_reply(count, receiver.to_sender(), 5)
        print('counted:', [msg.unpickle() async for msg in aio.iterate(receiver)])

        with aio.Executor(contexts) as executor:
            print('processes:', len(set(executor.map(pid, range(number)))))


def pid(_):
    return os.getpid()


if __name__ == '__main__':
    asyncio.run(main())
