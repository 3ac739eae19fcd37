"""Networks and their ops, timed on a device of this machine, and the record that is kept of them."""
