"""Counting what a router exchanges with its direct children."""

import mitogen.core


class Meter:
    """Counts what goes through the streams of a router to its direct children."""

    def __init__(self, router):
        self.sent = self.received = self.bytes_sent = self.bytes_received = 0
        for stream in router.get_streams():
            self._wrap(stream)

    def _wrap(self, stream):
        send, route, receive = stream.send, stream.router._async_route, stream.receive

        def counted_send(msg):
            self.sent += 1
            self.bytes_sent += mitogen.core.HEADER.size + len(msg.data)
            send(msg)

        def counted_receive(data):
            self.bytes_received += len(data)
            receive(data)
        stream.send, stream.receive = counted_send, counted_receive
        if not hasattr(stream.router, 'metered'):
            stream.router.metered = True

            def counted_route(msg, stream):
                self.received += stream is not None
                route(msg, stream)
            stream.router._async_route = counted_route

    def take(self):
        """Return the figures since the last time."""
        figures = dict(sent=self.sent, received=self.received, bytes_sent=self.bytes_sent,
                       bytes_received=self.bytes_received)
        self.sent = self.received = self.bytes_sent = self.bytes_received = 0
        return figures
