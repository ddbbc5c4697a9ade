"""Chains on a CUDA device: one module of kernels, and the reference on CuPy where there is no kernel."""
