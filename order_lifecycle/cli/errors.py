"""Exceptions that end a command with a message instead of an answer."""


class CommandError(Exception):
    """The system refused. The command prints the message and exits."""


class CommandInterruptedError(CommandError):
    """The user pressed Ctrl-C while the command waited for an answer."""


class AnswerNotWrittenError(CommandError):
    """Standard output does not accept the answer. The message says what the command has changed."""
