/* GaussianJitter, a thread for each element; compiled for float and double. */
KERNEL NAME(jitter)(const int *records, const u32 *identity, const u32 *key, const float *normals,
                    const PIXEL *sigma, const PIXEL *own, PIXEL *out, int features, int multiplies, int gate,
                    int fields, int count)
{
    u64 thread = THREAD, sample = thread / features, feature = thread % features;
    if (sample >= (u64)count) return;
    PIXEL value = own[thread];
    if (records[sample * fields + gate]) {
        PIXEL z = (PIXEL)quantile_of(element_word(key, identity + 5 * sample, feature), normals);
        PIXEL step = z * sigma[feature];
        value = multiplies ? value * (step + (PIXEL)1) : value + step;
    }
    out[thread] = value;
}
