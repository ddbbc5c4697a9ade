/* One series stage, a thread for each element: the passes of headrace.augment.fused.series.program.
 *
 * This text is compiled once for each kind of element: PIXEL. Kinds with IS_WHOLE 1 are moved and never computed with.
 * An element that comes out is traced back through the passes to where it lies in the source. TimeWarp and WindowSlice
 * read two places each, so that with n of them 2^n places are traced, one for each number of n bits; going forward,
 * each of them makes one value of two. The reference is headrace.augment.series.
 */

#define S_LEAVES 8 /* of at most three passes that read two places */

__device__ __forceinline__ int NAME(series_performed)(const int *row, const int *record)
{
    return row[S_KIND] == S_CROP || record[row[S_APPLIED]] != 0;
}

/* Where WARP and WINDOW read step t, in 2^-16 of a step. */
__device__ __forceinline__ long long NAME(series_place)(const int *row, const int *record, long long t)
{
    long long steps = row[S_BEFORE], last = steps - 1 > 1 ? steps - 1 : 1, wide = row[S_A];
    if (row[S_KIND] == S_WINDOW) {
        return ((long long)record[row[S_P0]] << 16) + ((t * (wide - 1)) << 16) / last;
    }
    long long piece = t * wide / last;
    piece = piece < wide - 1 ? piece : wide - 1;
    long long rest = t * wide - piece * last, before = record[row[S_P0] + piece];
    long long after = record[row[S_P0] + piece + 1], step = (after - before) * rest;
    /* Division that rounds down; a warp never goes back, but a step may be 0. */
    long long share = before + (step >= 0 ? step / last : -((-step + last - 1) / last));
    return (share * (steps - 1)) >> SERIES_PLACE_SHIFT;
}

/* Where step t after one pass lies before it; -1 where a value is filled in. */
__device__ __forceinline__ long long NAME(series_back)(const int *row, const int *record, long long t, int second)
{
    long long steps = row[S_BEFORE];
    int kind = row[S_KIND];
    if (kind == S_CROP) return t + record[row[S_P0]];
    if (kind == S_REVERSE) return steps - 1 - t;
    if (kind == S_SHIFT) {
        long long from = t - record[row[S_P0]];
        if (row[S_A]) return (from % steps + steps) % steps;
        return from < 0 || from >= steps ? -1 : from;
    }
    if (kind == S_PERMUTE) {
        long long segments = record[row[S_P0]], length = steps / segments, longer = steps % segments, to = 0;
        for (int place = 0; place < segments; ++place) {
            long long piece = record[row[S_P1] + place], size = length + (piece < longer);
            if (t < to + size) return piece * length + (piece < longer ? piece : longer) + t - to;
            to += size;
        }
        return t;
    }
    if (kind == S_WARP || kind == S_WINDOW) {
        long long place = (NAME(series_place)(row, record, t) >> 16) + second;
        return place < steps ? place : steps - 1;
    }
    return t;
}

/* Where step t after the last pass lies after pass `pass`, by the way that the bits of `leaf` say; -1 if nowhere. */
__device__ __forceinline__ long long NAME(series_trace)(
    const int *passes, int count, const int *record, int pass, long long t, int pairs, int leaf)
{
    for (int at = count - 1; at > pass && t >= 0; --at) {
        const int *row = passes + at * S_PASS_WORDS;
        if (!NAME(series_performed)(row, record)) continue;
        int is_pair = row[S_KIND] >= S_WARP;
        pairs -= is_pair;
        t = NAME(series_back)(row, record, t, is_pair && (leaf >> pairs & 1));
    }
    return t;
}

__device__ __forceinline__ int NAME(series_masked)(const int *row, const int *record, long long t, int channel)
{
    int place = row[S_C] ? channel : (int)t, found = 0;
    for (int band = 0; band < row[S_A]; ++band) {
        int start = record[row[S_P0] + band];
        found |= place >= start && place < start + record[row[S_P1] + band];
    }
    return found;
}

KERNEL NAME(series)(const int *passes, const PIXEL *values, const int *records, const u32 *identity, const u32 *keys,
                    const float *normals, const PIXEL *source, PIXEL *out, int passes_count, int fields, int count)
{
    const int *first = passes, *last = passes + (passes_count - 1) * S_PASS_WORDS;
    u64 thread = THREAD, elements = (u64)last[S_AFTER] * last[S_CHANNELS];
    if (thread >= elements * count) return;
    int sample = (int)(thread / elements), element = (int)(thread % elements), channels = last[S_CHANNELS];
    long long t = last[S_APART] ? element % last[S_AFTER] : element / channels;
    int channel = last[S_APART] ? element / last[S_AFTER] : element % channels, pairs = 0, done = 0;
    const int *record = records + (u64)sample * fields;
    for (int at = 0; at < passes_count; ++at) {
        const int *row = passes + at * S_PASS_WORDS;
        pairs += row[S_KIND] >= S_WARP && NAME(series_performed)(row, record);
    }
    PIXEL v[S_LEAVES];
    for (int leaf = 0; leaf < 1 << pairs; ++leaf) {
        long long from = NAME(series_trace)(passes, passes_count, record, -1, t, pairs, leaf);
        u64 place = first[S_APART] ? (u64)channel * first[S_BEFORE] + from : (u64)from * channels + channel;
        v[leaf] = from < 0 ? (PIXEL)0 : source[(u64)sample * first[S_BEFORE] * channels + place];
    }
    for (int at = 0; at < passes_count; ++at) {
        const int *row = passes + at * S_PASS_WORDS;
        int kind = row[S_KIND];
        if (!NAME(series_performed)(row, record)) continue;
        for (int leaf = 0; leaf < 1 << pairs; leaf += 1 << done) {
            long long here = NAME(series_trace)(passes, passes_count, record, at, t, pairs, leaf);
            if (here < 0 || (kind >= S_WARP && (leaf >> done & 1))) continue;
            if (kind == S_MASK) {
                if (NAME(series_masked)(row, record, here, channel)) v[leaf] = values[row[S_B]];
            } else if (kind == S_SHIFT) {
                if (NAME(series_back)(row, record, here, 0) < 0) v[leaf] = values[row[S_B]];
            }
#if !IS_WHOLE
            else if (kind == S_JITTER) {
                u64 number = row[S_APART] ? (u64)channel * row[S_BEFORE] + here : (u64)here * channels + channel;
                u32 word = element_word(keys + 2 * row[S_A], identity + 5 * (u64)sample, number);
                v[leaf] = v[leaf] + (PIXEL)int_as_float(record[row[S_P0]]) * (PIXEL)quantile_of(word, normals);
            } else if (kind == S_SCALE) {
                v[leaf] = v[leaf] * ((PIXEL)record[row[S_P0] + channel] * (PIXEL)1.52587890625e-05f);
            } else if (kind >= S_WARP) {
                long long rest = NAME(series_place)(row, record, here) & 65535;
                PIXEL weight = (PIXEL)rest * (PIXEL)1.52587890625e-05f, x = v[leaf];
                if (rest) v[leaf] = x + (v[leaf | 1 << done] - x) * weight;
            }
#endif
        }
        done += kind >= S_WARP;
    }
    (void)identity, (void)keys, (void)normals;
    out[thread] = v[0];
}
#undef S_LEAVES
