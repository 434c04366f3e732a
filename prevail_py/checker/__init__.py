"""The independent checker of certificates (``docs/certificates.md``): no domains, no verifier, no fixpoint."""
