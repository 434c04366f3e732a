"""Object files: ELF, BTF and maps, turned into programs."""
