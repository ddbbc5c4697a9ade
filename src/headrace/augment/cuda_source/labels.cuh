/* Classes as shares, mixed: a thread for each class of each sample. What is no class becomes NaN. */
KERNEL NAME(labels)(const int *records, const PIXEL *own, const PIXEL *other, float *out, int classes, int share,
                    int fields, int count)
{
    u64 thread = THREAD, sample = thread / classes, number = thread % classes;
    if (sample >= (u64)count) return;
    float weight = int_as_float(records[sample * fields + share]), none = int_as_float(0x7fc00000);
    float first = own[sample] >= (u64)classes ? none : own[sample] == number ? 1.0f : 0.0f;
    float second = other[sample] >= (u64)classes ? none : other[sample] == number ? 1.0f : 0.0f;
    out[thread] = first * weight + second * (1.0f - weight);
}
