"""
What stands around a command: a shell, a become plugin's program. Ring 1, pure, and small, as every worker imports it.

A become plugin is given MARKER to wrap, so that another command can take its place. Plugins quote what they wrap, each
in its way and up to twice; the quote in MARKER tells how often.
"""

import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional, Tuple

MARKER = "mitogen'command"

#: Stands for the path of a private key, until it is known.
KEY = 'mitogen-private-key'

#: How often a plugin may quote: su does it twice.
MAX_LEVELS = 5

#: What 2.16 to 2.18 write behind every command, so that ssh with a terminal loses no output.
TRAILER = ' && sleep 0'


def quoted(text: str, levels: int) -> str:
    """Return text as it stands inside so many quotations of a shell."""
    for _ in range(levels):
        text = text.replace("'", "'\"'\"'")
    return text


def levels(wrapped: str) -> int:
    """How often MARKER was quoted in the command that a become plugin has built; 0: it cannot be told."""
    for number in range(MAX_LEVELS, 0, -1):
        if quoted(MARKER, number) in wrapped:
            return number
    return 0


def unwrap(command: str) -> 'Optional[Tuple[str, str]]':
    """Split ``/bin/sh -c TEXT`` into the shell and the text; None: it is something else."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if len(words) == 3 and command == '%s -c %s' % (words[0], shlex.quote(words[2])):
        return words[0], words[2]
    return None


def without_trailer(text: str) -> str:
    """Return the text of a command without what 2.16 adds."""
    return text[:-len(TRAILER)] if text.endswith(TRAILER) else text
