"""The inputs that a model is priced on: as given, as its source tells, or as guessed; and where their batch stands."""
