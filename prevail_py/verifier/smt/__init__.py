"""Programs on terms of the solver: discharge, witnesses, equality.  Z3 is loaded only where it is used."""
