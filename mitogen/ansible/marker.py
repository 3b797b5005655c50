"""
What stands for a command while a become plugin wraps it. Ring 1, pure, and small, as workers import it.

Plugins quote what they wrap, each in its way and up to twice. The quote in MARKER tells how often, so that another
command can take its place.
"""

MARKER = "mitogen'command"

#: How often a plugin may quote: su does it twice.
MAX_LEVELS = 5


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
