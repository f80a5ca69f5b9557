"""The benchmarks: `make bench ARGS="stage flush --quick"`. What is measured: design section 9."""
