"""NT-Xent with a Cauchy kernel, as a package beside `robustness`."""
