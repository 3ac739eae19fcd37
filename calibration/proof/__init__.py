"""How far predictions are from measurements: nothing here is fitted on what it judges."""
