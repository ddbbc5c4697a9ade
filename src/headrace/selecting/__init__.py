"""Which samples take part: filters, samples, splits and folds, planned before a batch is built."""
