"""How a message is looked for that names the argument, the rule and what came."""

import re


def pattern(message):
    """A regular expression for a message in which `*` stands for any text."""
    return ".*".join(map(re.escape, message.split("*")))
