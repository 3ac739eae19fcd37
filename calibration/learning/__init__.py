"""From a record to a profile: times of ops, phases, power, and how far all that misses."""
