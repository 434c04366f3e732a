"""Proofs of the operators of abstract domains: the shipped code, run on terms of Z3, loaded where it is used."""
