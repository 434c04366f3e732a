"""The kernel as an engine and an oracle: programs loaded and test-run through ``bpf(2)``, attached only in private."""
