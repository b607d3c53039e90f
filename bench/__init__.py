"""The benchmark: this product and its peers at the same job, on the same machine, in one run. See bench/README.md."""
