/* MixUp, a thread for each element; compiled for u8, float and double. gate: the share lies behind it. */
KERNEL NAME(blend)(const int *records, const PIXEL *own, const PIXEL *other, PIXEL *out, int size, int gate,
                   int fields, int count)
{
    u64 thread = THREAD, sample = thread / size;
    if (sample >= (u64)count) return;
    const int *record = records + sample * fields + gate;
    float share = int_as_float(record[1]);
#if IS_WHOLE
    u32 weight = (u32)(share * 65536.0f);
    out[thread] = (PIXEL)((own[thread] * weight + other[thread] * (65536u - weight) + 32768u) >> 16);
#else
    PIXEL weight = (PIXEL)share, rest = (PIXEL)1 - weight;
    out[thread] = record[0] ? own[thread] * weight + other[thread] * rest : own[thread];
#endif
}
