"""The solver's part: everything that speaks to Z3, loaded only where it is used."""
