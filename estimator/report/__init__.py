"""Ways to show a `Footprint`: the JSON contract and text for a terminal."""
