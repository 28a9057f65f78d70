"""One physical GPU from one layout to another: the record, what is seen, and the state machine. Pure."""
