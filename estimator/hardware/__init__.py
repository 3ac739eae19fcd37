"""What a machine is: the catalogue, profiles from spec sheets and calibrations, and which of them is meant."""
