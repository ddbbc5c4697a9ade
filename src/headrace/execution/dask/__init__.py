"""Where dask meets headrace: an executor on a cluster, and collections to and from data sets."""
