"""What may stand in a models file and must be refused by each of its readers, in the same words."""

# YAML whose values cannot be made: a month, a count of binary digits, more digits and levels than Python takes.
NO_VALUES = (b"models: 2026-13-45", b"models: 0b_", b"models: " + b"9" * 5000, b"models: " + b"[" * 3000)
# Parameters, and what is said of them.
NOT_JSON = (
    ("{since: 2026-01-02}", "since is a date, which JSON does not have; put it in quotes"),
    ("{of: [{since: 2026-01-02 03:04:05}]}", "of[0].since is a datetime, which JSON does not have; put it in quotes"),
    ("{key: !!binary /w==}", "key is a bytes, which JSON does not have; put it in quotes"),
    ("{of: !!set {a, b}}", "of is a set, which JSON does not have; put it in quotes"),
    ("{limit: .nan}", "limit is nan; write a finite number"),
    ("{limit: [1, -.inf]}", "limit[1] is -inf; write a finite number"),
    ("{names: {1: one, b: two}}", "names: the key 1 is no text; put it in quotes"),
    ("&it {self: *it}", "more than 20 levels, or something that holds itself; make it flatter"),
)
