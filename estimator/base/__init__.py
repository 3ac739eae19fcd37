"""The ground: errors, facts with their sources, units, packaged tables, whole files, words shown safely."""
