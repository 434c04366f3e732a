"""Native code for programs that are proved: accesses relative to their region, without checks."""
