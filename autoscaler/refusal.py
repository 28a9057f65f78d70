"""Asked for something that cannot be done as asked. The command line says it and starts nothing."""


class Refused(Exception):
    """The message has one line for each problem, with its remedy."""
