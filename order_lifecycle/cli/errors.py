"""What a command raises to end with a message instead of an answer."""


class CommandError(Exception):
    """The system says no. The message is what the user reads."""


class CommandInterruptedError(CommandError):
    """Ctrl-C came while an answer was awaited."""


class AnswerNotWrittenError(CommandError):
    """Standard output does not take the answer. The message says what was done all the same."""
