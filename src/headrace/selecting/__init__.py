"""Which samples take part: filters, samples, splits and folds, all of them planned before a batch is built."""
