"""
Where each context is, and what may come from there: the routing decisions of a context that has children.

Ring 1, pure: no descriptor, lock, thread or clock; links are opaque. `mitogen.parent.Router` asks, and carries
out, on the broker thread. A leaf needs none of this: all that it gets is from its parent.
"""

import itertools

import mitogen.core
from mitogen.core import FIRST_FREE_HANDLE, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Tuple

    Link = Any


#: No handle has this number, or a higher one: the header of a message has no room for it.
END_OF_HANDLES = 1 << 32


def handles(first: int, taken: 'Any') -> 'Iterator[int]':
    """Numbers for handles from `first` on, and again and again, without those in `taken` at the time. A message has 32
    bits for one, and a program that does nothing but call has used them in a day. Any thread: nothing of this is in
    Python, so none can find it at work."""
    again = itertools.repeat(range(FIRST_FREE_HANDLE, END_OF_HANDLES))
    return itertools.filterfalse(taken.__contains__, itertools.chain(range(first, END_OF_HANDLES),
                                                                     itertools.chain.from_iterable(again)))


#: Ids in one answer. A child asks for a few at once; one that wants more is refused, so that none can use them all up.
MAX_IDS = 1024
#: Who knows whom, of those behind one link: of a loss all must hear. One that speaks in the name of all ids that it can
#: have, to everybody, would fill the memory.
MAX_PAIRS = 1 << 17
#: Ways that are remembered, one for each two contexts that talk with each other. Beyond, all are found anew.
MAX_FLOWS = 1 << 12


def id_request(msg: Message) -> 'Tuple[int, int, Message]':
    """Read a request for ids of new contexts, for whoever gives them out.

    :returns: id of the context that will start them; how many, 0: it is no such request; an answer that refuses.
    """
    try:
        owner, count = msg.unpickle()
    except (mitogen.core.Error, TypeError, ValueError):
        owner = count = None
    # What is no number is not shown: it may be larger than any memory when it is text.
    shown = owner if type(owner) is int else 'of that kind'
    good = type(owner) is type(count) is int and 0 < count <= MAX_IDS
    return owner if good else 0, count if good else 0, Message.dead('ids for context %s refused' % shown)


class Routes:
    """Where each context is, and what may come from there.

    Knows streams only as opaque links. Routes are granted from above: the master, who gives out ids, tells
    every router between itself and the context that asked. A child can only give routes up, so there is no
    announcement that a hostile one could forge.

    :ivar context_id: the id of the router that this table belongs to.
    :ivar parent_ids: ids of its parent, grandparent and so on; empty in the master.
    :ivar trusted: links to contexts that speak with our authority: see mitogen.unix.
    :ivar flows: (link, destination, source, authority) -> link: where messages go on that came so before, and were in
        order. What would decide otherwise now, empties it.
    :ivar remembers: whether anything gets in there.
    """

    def __init__(self, context_id: int = 0, parent_ids: 'Sequence[int]' = ()) -> None:
        self.context_id, self.parent_ids = context_id, list(parent_ids)
        self.parent_link: 'Link' = None
        self.trusted: 'Set[Link]' = set()
        self._links: 'Dict[int, Link]' = {}
        self._acquainted: 'Dict[int, Set[Link]]' = {}
        self.flows: 'Dict[Tuple[Any, ...], Link]' = {}
        self.remembers = True
        self._pairs: 'Dict[Link, int]' = {}     # link -> how many the sets of those behind it hold

    def link_to(self, context_id: int) -> 'Link':
        """The link that leads to a context: what is not known to be below is above. None: nowhere."""
        return self._links.get(context_id, self.parent_link)

    def below(self) -> 'List[Link]':
        """Links to the children."""
        return list(dict.fromkeys(self._links.values()))

    def add(self, context_id: int, link: 'Link') -> None:
        self.flows.clear()
        self._links[context_id] = link

    def grant(self, first: int, count: int, via: int) -> bool:
        """From above: `count` ids from `first` live behind the child that leads to `via`."""
        self.flows.clear()
        link = self._links.get(via)
        for context_id in range(first, first + count):
            if link is not None:
                self._links[context_id] = link
        return link is not None

    def forgery(self, msg: 'mitogen.core.Message', link: 'Link') -> 'Optional[str]':
        """Say what is wrong with a message that came over `link`, or None: the reverse path check.

        Source and authority must both be contexts that can only be reached over that very link.
        """
        links, above, source, authority = self._links, self.parent_link, msg.src_id or 0, msg.auth_id or 0
        if links.get(authority, above) is not link:
            return 'authority %d cannot come from there' % authority
        if source != authority and links.get(source, above) is not link:
            return 'source %d cannot come from there' % source
        return None

    def egress(self, msg: 'mitogen.core.Message', link: 'Link', unidirectional: bool = False) -> 'Tuple[Link, str]':
        """Where to send a message that came over `link` (None: from here): (link, '') or (None, why not).

        :param unidirectional: children may talk with us and those above, not with each other.
        """
        out = self._links.get(msg.dst_id, self.parent_link)
        if out is None or out is link:
            return None, 'context %d is unknown or gone (says context %d)' % (msg.dst_id, self.context_id)
        if link is not None:
            if self._pairs.get(link, 0) >= MAX_PAIRS and out is not self.parent_link \
                    and out not in self._acquainted.get(msg.src_id or 0, ()):
                return None, 'context %d, and those beside it, talk with too many others' % (msg.src_id or 0)
            if unidirectional and self.parent_link not in (link, out) and self.trusted.isdisjoint((link, out)):
                return None, 'context %d may not talk to its sibling %d' % (msg.src_id or 0, msg.dst_id)
            if link not in self._acquainted.get(msg.dst_id, ()):
                self._introduce(msg.dst_id, link)
            if out not in self._acquainted.get(msg.src_id or 0, ()):
                self._introduce(msg.src_id or 0, out)
        return out, ''

    def remember(self, msg: 'mitogen.core.Message', link: 'Link', out: 'Link') -> None:
        """A message that came over `link` goes to `out`: so will others like it. Not from one that speaks with our
        authority, which is ours to fill in."""
        if self.remembers and link not in self.trusted:
            if len(self.flows) >= MAX_FLOWS:
                self.flows.clear()
            self.flows[link, msg.dst_id, msg.src_id or 0, msg.auth_id or 0] = out

    def _introduce(self, context_id: int, link: 'Link') -> None:
        home = self._links.get(context_id)
        if home is not None:
            self._acquainted.setdefault(context_id, set()).add(link)
            self._pairs[home] = self._pairs.get(home, 0) + 1

    def behind(self, link: 'Link') -> 'List[int]':
        """Ids of the contexts that `link` leads to."""
        return [context_id for context_id, other in self._links.items() if other is link]

    def leads_to(self, link: 'Link', context_id: int) -> bool:
        """Whether a context is known to be behind `link`."""
        return self._links.get(context_id) is link

    def remove(self, ids: 'Iterable[int]') -> 'Dict[Link, List[int]]':
        """Forget contexts that are gone; return which links lead to somebody who must hear of which of them."""
        self.flows.clear()
        news: 'Dict[Link, List[int]]' = {}
        for context_id in ids:
            home, links = self._links.pop(context_id, None), self._acquainted.pop(context_id, ())
            if home in self._pairs:
                self._pairs[home] -= len(links)
            for link in links:
                news.setdefault(link, []).append(context_id)
        return news

    def forget_link(self, link: 'Link') -> None:
        """`link` is closed: nobody behind it needs news any more."""
        self.flows.clear()
        self.trusted.discard(link)
        self._pairs.pop(link, None)
        for context_id, links in self._acquainted.items():
            if link in links:
                links.discard(link)
                home = self._links.get(context_id)
                if home in self._pairs:
                    self._pairs[home] -= 1
