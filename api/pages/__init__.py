"""Pages served as they are; they load nothing from other hosts."""
