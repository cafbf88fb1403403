"""Values of the billing domain: no input, no output, nothing of ours imported from outside this package."""
