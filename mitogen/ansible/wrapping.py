"""
What stands around a command: a shell, a become plugin's program. Ring 1, pure, and small, as every worker imports it.

A become plugin is given MARKER to wrap, so that another command can take its place. Plugins quote what they wrap, each
in its way and up to twice; the quote in MARKER tells how often.
"""

import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Tuple

MARKER = "mitogen'command"

#: Stands for the path of a private key, until it is known.
KEY = 'mitogen-private-key'

#: What makes words of a shell more than what stands between white space.
QUOTES = set('\'"\\')

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


def is_plain(text: str) -> bool:
    """Whether there are no quotes in a text, and no white space but blanks."""
    return text.isprintable() and not QUOTES.intersection(text)


def split(text: str) -> 'List[str]':
    """Split arguments of ssh as Ansible does, if there is more to it than white space: shlex takes a while."""
    return text.split() if is_plain(text) else [word.strip() for word in shlex.split(text) if word.strip()]


def unwrap(command: str) -> 'Optional[Tuple[str, str]]':
    """Split ``/bin/sh -c TEXT`` into the shell and the text, if that is quoted as shlex.quote() does; None: it is
    something else."""
    shell, _, quoted = command.partition(' -c ')
    text = quoted[1:-1].replace("'\"'\"'", "'") if quoted[:1] == "'" else quoted
    if shell and ' ' not in shell and is_plain(shell) and shlex.quote(text) == quoted:
        return shell, text
    return None


def without_trailer(text: str) -> str:
    """Return the text of a command without what 2.16 adds."""
    return text[:-len(TRAILER)] if text.endswith(TRAILER) else text
